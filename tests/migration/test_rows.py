from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from embcompat.errors import InputError
from embcompat.migration import RunOptions, Shard, parse_shard
from embcompat.migration.journal import Journal
from embcompat.migration.rows import convert_rows
from embcompat.spaces import SpaceVersion
from embcompat.stores import Rows, vector_digests

SPACE = SpaceVersion(name="toy", version="1", dim=2, normalized=True)


def double(vectors: np.ndarray, _texts: Sequence[str] | None = None) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (vectors * 2).astype(np.float32)


def rows_of(vectors: list[list[float]], recorded: list[int] | None = None) -> Rows:
    array = np.array(vectors, dtype=np.float32)
    ids = [f"row-{number}" for number in range(len(array))]
    return Rows(ids, array, np.array(recorded or [0] * len(array), dtype=np.int64))


def test_texts_go_with_their_rows_and_empty_ones_are_counted() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    texts_read: list[str] = []

    def convert(rows: np.ndarray, texts: Sequence[str] | None) -> np.ndarray:
        texts_read.extend(texts or [])
        return rows

    rows = Rows(["a", "b", "zero", "d"], vectors, np.zeros(4, np.int64), ["one", "", "bad", "four"])
    converted = convert_rows(rows, convert, SPACE, Shard())
    assert texts_read == ["one", "", "four"]
    assert converted.without_text == 1
    assert converted.digests.tolist() == rows.digests()[[0, 1, 3]].tolist()


def test_only_missing_and_outdated_rows_are_converted() -> None:
    vectors = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    digests = vector_digests(np.array(vectors, dtype=np.float32)).tolist()
    batch = convert_rows(rows_of(vectors, [digests[0], 0, 12345]), double, SPACE, Shard())
    assert list(batch.ids) == ["row-1", "row-2"]
    assert batch.vectors.tolist() == [[0.0, 2.0], [-2.0, 0.0]]
    assert batch.digests.tolist() == digests[1:]


def test_each_bad_row_has_its_reason() -> None:
    batch = convert_rows(rows_of([[0, 0], [np.nan, 1], [3, 4], [1, 0], [np.inf, 0]]), double, SPACE, Shard())
    reasons = {failure.id: failure.reason for failure in batch.failures}
    assert reasons == {
        "row-0": "is all zeros",
        "row-1": "holds NaN or infinity",
        "row-2": "must have unit norm in space 'toy@1'; has 5",
        "row-4": "holds NaN or infinity",
    }
    assert list(batch.ids) == ["row-3"]
    loose = SPACE.model_copy(update={"normalized": False, "similarity": "euclidean"})
    large = convert_rows(rows_of([[0, 0], [3e38, 0]]), double, loose, Shard())
    assert [(failure.id, failure.reason) for failure in large.failures] == [("row-1", "maps to NaN or infinity")]
    assert list(large.ids) == ["row-0"]


def test_shards_split_every_row_to_one_worker() -> None:
    ids = [f"item-{number}" for number in range(1000)]
    counts = [sum(Shard(index, 4).holds(identifier) for identifier in ids) for index in range(4)]
    assert sum(counts) == 1000
    assert min(counts) > 200


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "1/0", "-1/3", ""])
def test_what_is_not_a_shard_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a shard must be i/n with 0 ≤ i < n"):
        parse_shard(text)


def test_options_must_be_positive() -> None:
    for options in ({"batch_size": 0}, {"threads": 0}, {"max_rows_per_second": -1.0}):
        with pytest.raises(InputError, match="must be positive"):
            RunOptions(**options)


def test_the_journal_is_one_object_a_line(tmp_path: Path) -> None:
    Journal(None).write("nothing")
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write("batch", rows=3)
    journal.write_all([{"id": "ü"}, {"id": "b"}])
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text("utf-8").splitlines()]
    assert [{key: value for key, value in line.items() if key != "time"} for line in lines] == [
        {"event": "batch", "rows": 3},
        {"id": "ü"},
        {"id": "b"},
    ]
    assert all(line["time"] > 0 for line in lines)
