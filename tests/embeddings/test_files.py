from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError, SpaceMismatchError
from embcompat.files.reading.parquet import read_space
from embcompat.files.vectors import vectors_from_arrow
from embcompat.files.writing.atomic import atomic_path
from embcompat.spaces import SpaceVersion

NAN = float("nan")
SPACE = SpaceVersion(name="toy", version="1", dim=4, similarity="dot", fingerprint={"prompt": "é"})


def made(count: int = 5, *, labels: bool = False, texts: bool = False) -> Embeddings:
    vectors = np.random.default_rng(0).standard_normal((count, 4))
    ids = [f"ü{row}" for row in range(count)]
    words = [f"text {row}" if row else "" for row in range(count)]
    return Embeddings(vectors, ids, SPACE, ["x"] * count if labels else None, words if texts else None)


def same(left: Embeddings, right: Embeddings) -> bool:
    columns = [(left.labels, right.labels), (left.texts, right.texts)]
    return (
        all((one is None) == (other is None) and (one is None or np.array_equal(one, other)) for one, other in columns)
        and left.space == right.space
        and np.array_equal(left.vectors, right.vectors)
        and np.array_equal(left.ids, right.ids)
    )


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_parquet_gives_back_what_was_saved(tmp_path: Path, count: int, labels: bool, texts: bool) -> None:
    one = made(count, labels=labels, texts=texts)
    one.save(tmp_path / "one.parquet")
    assert same(Embeddings.load(tmp_path / "one.parquet"), one)
    assert read_space(tmp_path / "one.parquet") == SPACE
    assert [path.name for path in tmp_path.iterdir()] == ["one.parquet"]


def test_a_missing_text_is_not_known_and_a_number_is_none(tmp_path: Path) -> None:
    made().save(tmp_path / "one.parquet")
    table = pq.read_table(tmp_path / "one.parquet")
    pq.write_table(table.append_column("text", pa.array(["a", None, "", "b", "c"])), tmp_path / "one.parquet")
    texts = Embeddings.load(tmp_path / "one.parquet").texts
    assert texts is not None
    assert texts.tolist() == ["a", "", "", "b", "c"]
    pq.write_table(table.append_column("text", pa.array([1, 2, 3, 4, 5])), tmp_path / "one.parquet")
    with pytest.raises(FileFormatError, match=r"one\.parquet: column text must hold strings. Row 0 is 1"):
        Embeddings.load(tmp_path / "one.parquet")


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_datasets_give_back_what_went_in(labels: bool, texts: bool) -> None:
    one = made(labels=labels, texts=texts)
    assert same(Embeddings.from_dataset(one.to_dataset()), one)
    assert same(Embeddings.from_dataset(one.to_dataset().select([0, 1, 2])), one.select([0, 1, 2]))


def test_npy_gives_back_what_was_saved(tmp_path: Path) -> None:
    one = made()
    np.save(tmp_path / "one.npy", one.vectors)
    assert same(Embeddings.from_npy(tmp_path / "one.npy", one.ids.tolist(), space=SPACE), one)
    assert Embeddings.from_npy(one.vectors, space=SPACE).ids.tolist() == ["0", "1", "2", "3", "4"]


def test_other_writers_files_are_read(tmp_path: Path) -> None:
    vectors = [[1.0, 2, 3, 4], [5, 6, 7, 8]]
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), 4)):
        values = np.array(vectors, np.float16) if pa.types.is_fixed_size_list(kind) else vectors
        table = pa.table({"id": ["a", "b"], "vector": pa.array(list(values), kind), "note": [1, 2]})
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(FileFormatError, match="does not name its space"):
            Embeddings.load(tmp_path / "x.parquet")
        assert Embeddings.load(tmp_path / "x.parquet", space=SPACE).vectors.tolist() == vectors


def test_a_slice_and_missing_values_are_not_confused() -> None:
    column = pa.array([[1.0, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2))
    assert vectors_from_arrow(column.slice(1, 2), 2, where="x").tolist() == [[3, 4], [5, 6]]
    with pytest.raises(FileFormatError, match="Row 11 is missing"):
        vectors_from_arrow(pa.array([[1.0, 2], None], pa.list_(pa.float32(), 2)), 2, where="x", first_row=10)
    with pytest.raises(FileFormatError, match="missing numbers. Row 1 "):
        vectors_from_arrow(pa.array([[1.0, 2], [3, None]], pa.list_(pa.float32(), 2)), 2, where="x")


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"id": ["a"]}, "must have a column of vectors: vector, embedding.*Got id"),
        ({"id": ["a"], "vector": ["text"]}, "column vector must hold numbers. Row 0 is 'text'"),
        ({"id": ["a"], "vector": [[True] * 4]}, "must be a list of float32. Got list<"),
        ({"id": ["a", "b"], "vector": [[1.0, 2, 3, 4], [1.0, 2]]}, "column vector .* length 4. Row 1 has length 2"),
        ({"id": ["a", "b"], "vector": [[1.0, 2, 3, 4], None]}, "Row 1 is missing"),
        (
            {"id": ["a", "b"], "vector": [[1.0, 2, 3, 4], [1, 2, 3, float("nan")]]},
            "column vector must be finite. Row 1",
        ),
        ({"id": ["a", "a"], "vector": [[1.0, 2, 3, 4]] * 2}, "column id must be unique"),
        ({"id": [1.5, 2], "vector": [[1.0, 2, 3, 4]] * 2}, "column id must hold a string or an integer. Row 0 is 1.5"),
        ({"id": ["a"], "vector": [[1.0, 2, 3, 4]], "label": [None]}, "column label .* Row 0"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, columns: dict[str, list[object]], match: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(FileFormatError, match=match) as caught:
        Embeddings.load(tmp_path / "bad.parquet", space=SPACE)
    assert "bad.parquet" in str(caught.value)


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    made(2_000).save(tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(FileFormatError, match=r"x\.parquet is not a complete Parquet file"):
        Embeddings.load(tmp_path / "x.parquet")
    with pytest.raises(FileFormatError, match="does not exist"):
        Embeddings.load(tmp_path / "y.parquet")
    np.save(tmp_path / "x.npy", made().vectors)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(FileFormatError, match=r"x\.npy is not a complete"):
        Embeddings.from_npy(tmp_path / "x.npy", space=SPACE)


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError, match="not a complete .npy file of numbers"):
        Embeddings.from_npy(tmp_path / "x.npy", space=SPACE)


def test_a_file_of_another_space_is_refused(tmp_path: Path) -> None:
    made().save(tmp_path / "x.parquet")
    with pytest.raises(SpaceMismatchError, match="toy@2"):
        Embeddings.load(tmp_path / "x.parquet", space=SPACE.model_copy(update={"version": "2"}))


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(InputError, match="folder of .* does not exist"), atomic_path(tmp_path / "no" / "x"):
        pass


def test_reading_vectors_imports_no_pandas(tmp_path: Path) -> None:
    # pyarrow imports it, where it is installed, for arrays that need none of it: half a second of every command.
    path = tmp_path / "vectors.parquet"
    made().save(path)
    code = f"import sys, embcompat as ec; ec.Embeddings.load({str(path)!r}); print('pandas' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "False"
