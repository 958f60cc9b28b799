"""Both collections of a migration, in tables of SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embcompat.stores.collections.records import UNKNOWN, Provenance, Record
from embcompat.stores.collections.sides import Sides
from embcompat.stores.sqlite.connection import SqliteFile
from embcompat.stores.sqlite.tables import SqliteTables

ARTIFACT = "a" * 64
CONVERTED = Provenance("new@1", ARTIFACT, source=1, rest="", digest=1)


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    file = SqliteFile(tmp_path / "docs.db", where="docs.db")
    with closing(file):
        file.query("CREATE VIRTUAL TABLE docs USING vec0(id INTEGER PRIMARY KEY, v float[2])")
        tables = SqliteTables(file, "v", where="docs.db")
        tables.create_like("docs", "target", dim=2, metric=None)
        yield Sides(tables, "docs", "target")


def put(sides: Sides, name: str, keys: range | list[int], provenance: Provenance = UNKNOWN) -> None:
    records = [Record(str(key), np.ones(2, np.float32), {}, provenance) for key in keys]
    sides.collections.write(name, records)


def test_a_sample_holds_converted_rows_of_the_whole_collection(sides: Sides) -> None:
    put(sides, "target", range(3_000), CONVERTED)
    put(sides, "target", range(3_000, 3_500), CONVERTED._replace(artifact=None))
    ids = np.array(sides.sample(ARTIFACT, 400, seed=0), dtype=int)
    assert len(set(ids.tolist())) == 400
    assert ids.max() < 3_000
    assert np.histogram(ids, bins=3, range=(0, 3_000))[0].min() > 90  # 133 are expected in each third
    assert sorted(map(int, sides.sample(ARTIFACT, 5_000, seed=1))) == list(range(3_000))


def test_coverage_counts_rows_of_either_side(sides: Sides) -> None:
    put(sides, "docs", range(6))
    assert sides.coverage("new@1", in_service=False).missing == 6
    put(sides, "target", [0, 1, 2], CONVERTED)
    put(sides, "target", [3], CONVERTED._replace(artifact=None))
    coverage = sides.coverage("new@1", in_service=False)
    assert (coverage.rows, coverage.converted, coverage.orphans, coverage.native) == (6, 4, 0, 1)
    put(sides, "target", [7], CONVERTED)  # its source row is gone
    put(sides, "target", [8], Provenance("new@1"))  # an application declared it
    coverage = sides.coverage("new@1", in_service=False)
    assert (coverage.rows, coverage.converted, coverage.orphans, coverage.native) == (6, 4, 1, 2)
    assert sides.orphans(["0", "7", "8", "9"]) == ["7"]
    assert sides.remove_orphans() == 1
    assert sorted(sides.collections.present("target", ["3", "7", "8"])) == ["3", "8"]


def test_a_record_without_provenance_loses_the_one_of_its_predecessor(sides: Sides) -> None:
    put(sides, "target", [1, 2], CONVERTED)
    put(sides, "target", [2, 3])
    assert sides.collections.seen("target", ["1", "2", "3"]) == {"1"}
    assert sides.known(["1", "2", "3"]) == {"1": CONVERTED}
