from __future__ import annotations

from pathlib import Path

import pytest

from embcompat.errors import InputError
from embcompat.upgrade.line import Upgrade, read_upgrade

BASE = 'gallery = "lancedb:///x#a.b"\ntext_column = "body"\nextractor = "words"\n'


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    names = {"gallery": "lancedb:///x#a.b", "text_column": 'a "b"', "extractor": "words"}
    upgrade = Upgrade(**names, options=["k=v"], weigh_queries=True)
    (tmp_path / "upgrade.toml").write_text(upgrade.to_toml())
    assert read_upgrade(tmp_path / "upgrade.toml", {}) == upgrade


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "upgrade.toml").write_text(BASE)
    variables = {"EMBCOMPAT_ROWS": "700", "EMBCOMPAT_GALLERY": "", "EMBCOMPAT_OPTIONS": "a=1\nb=2", "ROWS": "3"}
    upgrade = read_upgrade(tmp_path / "upgrade.toml", variables)
    assert (upgrade.rows, upgrade.gallery, upgrade.options) == (700, "lancedb:///x#a.b", ["a=1", "b=2"])
    with pytest.raises(InputError, match=r"upgrade.toml: rows: Input should be a valid integer"):
        read_upgrade(tmp_path / "upgrade.toml", {"EMBCOMPAT_ROWS": "many"})


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ("roows = 1\n", "upgrade.toml: roows: Extra inputs are not permitted"),
        ('old_queries = "a"\n', "upgrade.toml: old_queries and new_queries must be named together"),
        ('items = "a"\n', "items and title_column must be named together"),
        ('qrels = "a"\n', "qrels and queries must be named together"),
        ('queries = "a"\nqrels = "b"\n', "old_extractor must be named together with queries"),
        ('queries = "a"\nqrels = "b"\nold_queries = "c"\nnew_queries = "d"\n', "queries must come from one place"),
        (
            'queries = "a"\nqrels = "b"\nold_extractor = "c"\nold_space = "d@1"\n',
            "old_space must be left out where old_extractor is named",
        ),
        ("rows = \n", "is not TOML"),
    ],
)
def test_what_does_not_go_together_is_named(tmp_path: Path, lines: str, match: str) -> None:
    (tmp_path / "upgrade.toml").write_text(BASE + lines)
    with pytest.raises(InputError, match=match):
        read_upgrade(tmp_path / "upgrade.toml", {})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist. Write it with: embcompat upgrade init"):
        read_upgrade(tmp_path / "other.toml", {})
    (tmp_path / "upgrade.toml").write_text('gallery = "x"\n')
    with pytest.raises(InputError, match="upgrade.toml: text_column: Field required"):
        read_upgrade(tmp_path / "upgrade.toml", {})
