from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embcompat.doctor import SpaceReference, examine, fit_reference
from embcompat.doctor.gallery import BLOCK_ROWS
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import FileFormatError
from embcompat.files.vectors import SPACE_KEY
from embcompat.spaces import SpaceVersion
from tests.doctor.galleries import DIM, draw, mix, rows_of, space, write


@pytest.fixture(params=["list", "large_list"])
def sick(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Sixteen unit vectors, eight of them spoiled."""
    rows: list[Any] = normalize_rows(np.random.default_rng(0).standard_normal((16, 4))).tolist()
    rows[2] = None
    rows[3] = [1.0, 0.0, 0.0]
    rows[4][1] = float("nan")
    rows[5][0] = None
    rows[6] = [0.0, 0.0, 0.0, 0.0]
    rows[7] = [3.0, 0.0, 0.0, 0.0]
    rows[9] = rows[8]
    rows[10] = []
    ids: list[str | None] = [f"item-{row}" for row in range(16)]
    ids[12], ids[13], ids[14] = "item-11", None, ""
    vectors = pa.array(rows, getattr(pa, f"{request.param}_")(pa.float32()) if request.param == "list" else None)
    if request.param == "large_list":
        vectors = pa.array(rows, pa.large_list(pa.float64()))
    return write(
        tmp_path / "sick.parquet", {"id": pa.array(ids), "vector": vectors}, space("a", dim=4, normalized=True)
    )


def test_every_spoiled_row_is_named(sick: Path) -> None:
    report = examine(sick)
    findings = {finding.kind: finding.rows.tolist() for finding in report.findings}
    assert findings == {
        "missing_vector": [2],
        "dimension": [3, 10],
        "not_finite": [4, 5],
        "zero": [6],
        "not_unit_norm": [7],
        "duplicate_vector": [9],
        "missing_id": [13, 14],
        "duplicate_id": [12],
    }
    assert report.sick
    assert (report.rows, report.space) == (16, "a@1")
    assert report.findings[-1].severity == "warning"
    drift = report.finding("dimension")
    assert drift is not None
    assert drift.message == "2 of 16 rows have another length (0, 3) than 4."
    assert drift.examples == ("item-3", "item-10")
    assert "found 3 to 3" in str(report.finding("not_unit_norm").message)  # type: ignore[union-attr]
    again = report.to_dict()
    assert again["sick"]
    zero = next(finding for finding in again["findings"] if finding["kind"] == "zero")
    assert (zero["severity"], zero["rows"], zero["examples"]) == ("error", 1, ["item-6"])


def test_fixed_size_lists_with_gaps(tmp_path: Path) -> None:
    rows = [[1.0, 0.0], None, [0.0, 1.0], None]
    column = pa.array(rows, pa.list_(pa.float32(), 2))
    path = write(tmp_path / "a.parquet", {"vector": column.slice(1)})
    report = examine(path)
    assert {finding.kind: finding.rows.tolist() for finding in report.findings} == {"missing_vector": [0, 2]}
    assert report.findings[0].examples == ("0", "2")


def test_a_space_of_another_dimension_than_the_file(tmp_path: Path) -> None:
    column = pa.array([[1.0, 0.0]] * 3, pa.list_(pa.float32(), 2))
    path = write(tmp_path / "a.parquet", {"id": ["a", "b", "c"], "vector": column}, space("a"))
    assert rows_of(examine(path), "dimension") == [0, 1, 2]
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    assert rows_of(examine(tmp_path / "a.npy", space=space("a")), "dimension") == [0, 1, 2]


def test_zeros_matter_where_directions_are_compared(tmp_path: Path) -> None:
    vectors = np.zeros((2, 3), np.float32)
    np.save(tmp_path / "a.npy", vectors)
    euclidean = SpaceVersion(name="a", version="1", dim=3, similarity="euclidean")
    assert not examine(tmp_path / "a.npy", space=euclidean).sick
    assert examine(tmp_path / "a.npy").sick


def test_norms_of_a_gallery_without_a_space(tmp_path: Path) -> None:
    vectors = normalize_rows(np.random.default_rng(0).standard_normal((50, 8)))
    vectors[7] *= 2
    np.save(tmp_path / "a.npy", vectors)
    report = examine(tmp_path / "a.npy")
    assert rows_of(report, "not_unit_norm") == [7]
    assert "most rows have unit norm" in report.findings[0].message
    np.save(tmp_path / "b.npy", np.random.default_rng(0).standard_normal((50, 8)))
    assert examine(tmp_path / "b.npy").findings == ()


def test_no_rows_and_one_row(references: list[SpaceReference], tmp_path: Path) -> None:
    where = space("alpha", normalized=True)
    empty = examine(Embeddings(np.empty((0, DIM), np.float32), [], where), references)
    assert (empty.rows, empty.findings, empty.sick) == (0, (), False)
    one = examine(Embeddings(draw("alpha", 1, seed=3, normalized=True), ["a"], where), references)
    assert (one.rows, one.sick) == (1, False)
    nothing = pa.array([], pa.list_(pa.float32()))
    with pytest.raises(FileFormatError, match="at least one vector"):
        examine(write(tmp_path / "empty.parquet", {"id": pa.array([], pa.string()), "vector": nothing}))


def test_blocks_make_no_difference(references: list[SpaceReference], tmp_path: Path) -> None:
    gallery, _ = mix("alpha", "beta", BLOCK_ROWS + 100, 50)
    vectors = gallery.vectors.copy()
    vectors[BLOCK_ROWS + 5] = vectors[3]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    path = tmp_path / "gallery.parquet"
    table = pa.table({"id": gallery.ids.tolist(), "vector": column})
    table = table.replace_schema_metadata({SPACE_KEY: gallery.space.to_json().encode()})
    pq.write_table(table, path, row_group_size=1_000)
    streamed = examine(path, references)
    whole = examine(Embeddings(vectors, gallery.ids, gallery.space), references)
    assert streamed.to_dict() == whole.to_dict()
    assert rows_of(streamed, "duplicate_vector") == [BLOCK_ROWS + 5]
    assert streamed.finding("duplicate_vector").examples == (f"alpha-{BLOCK_ROWS + 5}",)  # type: ignore[union-attr]


def test_integer_ids_are_ids(tmp_path: Path) -> None:
    column = pa.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], pa.list_(pa.float32(), 2))
    path = write(tmp_path / "a.parquet", {"id": pa.array([7, 8, 7]), "vector": column})
    finding = examine(path).finding("duplicate_id")
    assert finding is not None
    assert finding.rows.tolist() == [2]
    assert finding.examples == ("7",)


def test_files_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not exist"):
        examine(tmp_path / "missing.parquet")
    with pytest.raises(FileFormatError, match="must have a column of vectors.*Got id"):
        examine(write(tmp_path / "a.parquet", {"id": ["a"]}))
    with pytest.raises(FileFormatError, match="must hold numbers. Row 0 is"):
        examine(write(tmp_path / "b.parquet", {"id": ["a"], "vector": ["x"]}))
    np.save(tmp_path / "c.npy", np.arange(3))
    with pytest.raises(FileFormatError, match="floats of shape"):
        examine(tmp_path / "c.npy")
    good = write(tmp_path / "d.parquet", {"id": ["a"] * 1_000, "vector": [[0.5, 0.5]] * 1_000})
    data = good.read_bytes()
    good.write_bytes(data[:4] + bytes(196) + data[200:])
    with pytest.raises(FileFormatError, match=r"d.parquet is (damaged|not a complete)"):
        examine(good, space=space("a", dim=2))


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=0, max_size=5),
            st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3),
        ),
        max_size=30,
    ),
    st.data(),
)
@settings(max_examples=15, deadline=None)
def test_no_gallery_is_too_sick_to_examine(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], data: st.DataObject
) -> None:
    ids = data.draw(
        st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=len(rows), max_size=len(rows)), label="ids"
    )
    column = pa.array(rows, pa.list_(pa.float32()))
    path = write(
        tmp_path_factory.mktemp("sick") / "a.parquet",
        {"id": pa.array(ids, pa.string()), "vector": column},
        space("a", dim=3, normalized=True),
    )
    reference = fit_reference(
        Embeddings(
            normalize_rows(np.random.default_rng(0).standard_normal((400, 3))),
            [str(row) for row in range(400)],
            space("a", dim=3, normalized=True),
        )
    )
    report = examine(path, [reference])
    assert report.rows == len(rows)
    broken = [
        row
        for row, value in enumerate(rows)
        if value is None
        or len(value) != 3
        or None in value
        or not np.isfinite(np.float32(value)).all()
        or not any(value)
    ]
    kinds = ("missing_vector", "dimension", "not_finite", "zero")
    named = sorted(row for kind in kinds for row in rows_of(report, kind))
    assert named == [row for row in broken if row in named]
    assert set(broken) == set(named)
