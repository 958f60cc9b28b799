from __future__ import annotations

from pathlib import Path

import pytest

from embcompat.embeddings import Embeddings
from embcompat.files import open_vectors
from embcompat.files.patterns import folder_of, is_folder, is_pattern, matches
from embcompat.testing import make_pairs


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.parquet", {"a.parquet", "b.parquet"}),
        ("?.parquet", {"a.parquet", "b.parquet"}),
        ("[!a].parquet", {"b.parquet"}),
        ("[ab].parquet", {"a.parquet", "b.parquet"}),
        ("**/*.parquet", {"a.parquet", "b.parquet", "x/y/c.parquet"}),
        ("x/**", {"x/y/c.parquet"}),
        ("x/*.parquet", set()),
        ("+.parquet", set()),
    ],
)
def test_a_pattern_fits_as_in_a_shell(pattern: str, names: set[str]) -> None:
    known = ["a.parquet", "b.parquet", "x/y/c.parquet"]
    assert {name for name in known if matches(Path(name), Path(pattern))} == names


def test_a_pattern_names_one_gallery_and_a_file_of_that_very_name_is_itself(tmp_path: Path) -> None:
    pairs = make_pairs(4, source_dim=3, target_dim=2).pairs
    for number in range(3):
        (tmp_path / f"day={number}").mkdir()
        pairs.source.select(range(number, number + 1)).save(tmp_path / f"day={number}" / "part.parquet")
    pattern = tmp_path / "day=[12]" / "*.parquet"
    assert is_pattern(pattern)
    assert is_folder(pattern)
    assert folder_of(pattern) == tmp_path
    assert Embeddings.load(pattern).ids.tolist() == pairs.source.ids.tolist()[1:3]
    assert open_vectors(pattern).schema.names[-1] == "day"
    pairs.source.save(tmp_path / "a*.parquet")
    assert not is_pattern(tmp_path / "a*.parquet")
    assert open_vectors(tmp_path / "a*.parquet").rows == 4
