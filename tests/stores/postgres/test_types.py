"""Columns without a dimension, of half precision, of more dimensions than an index takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embcompat.aligners import AffineAligner
from embcompat.embeddings import split_pairs
from embcompat.errors import InputError, StoreError
from embcompat.export import save_artifact
from embcompat.migration import cut_over, drop_old, plan_migration, roll_back, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.testing import make_pairs

DIM = 24
TARGETS = pytest.mark.parametrize("target", ["?target=table", "?target=column"])


def stored(database: Any, column: str = "v::vector") -> np.ndarray:
    rows = database.execute(f"SELECT ({column})::real[] FROM docs ORDER BY id").fetchall()
    return np.array([row for (row,) in rows], np.float32)


@TARGETS
@pytest.mark.parametrize("kind", ["vector", "halfvec", "real[]"])
def test_a_column_that_does_not_say_its_length(database: Any, aligner: OnnxAligner, target: str, kind: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v {kind})")
    vectors = database.fill("docs", 40) if kind != "real[]" else fill_arrays(database)
    if kind != "real[]":
        opclass = f"{kind}_l2_ops"
        database.execute(f"CREATE INDEX docs_v ON docs USING hnsw ((v::{kind}({DIM})) {opclass}) WITH (m = 8)")
    declared = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'docs'::regclass"
    with database.opened(target) as store:
        assert store.dim() == DIM
        report = run_migration(aligner, store)
        assert (report.index_seconds is not None) == (kind != "real[]")
        database.execute("UPDATE docs SET v = (SELECT v FROM docs WHERE id = 1) WHERE id = 3")
        database.execute("DELETE FROM docs WHERE id = 4")
        cut_over(aligner, store)
        vectors[3] = vectors[1]
        expected = aligner.transform(np.delete(vectors, 4, axis=0))
        np.testing.assert_allclose(stored(database), expected, atol=4e-3 if kind == "halfvec" else 1e-5)
        assert database.one(f"{declared} AND attname = 'v'") == kind
        if kind != "real[]":
            definition = str(database.one("SELECT pg_get_indexdef('docs_v'::regclass)"))
            assert f"(v)::{kind}(16)) {opclass}" in definition
        assert store.dim() == 16
        assert roll_back(aligner, store) == 0
        np.testing.assert_allclose(stored(database)[0], vectors[0], atol=4e-3)
        cut_over(aligner, store)
        drop_old(aligner, store)


def fill_arrays(database: Any) -> np.ndarray:
    vectors = np.random.default_rng(3).standard_normal((40, DIM)).astype(np.float32)
    for row, vector in enumerate(vectors):
        database.execute("INSERT INTO docs VALUES (%s, %s)", (row, [float(number) for number in vector]))
    return vectors


@TARGETS
def test_vectors_of_two_lengths_are_refused(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute("CREATE TABLE docs (id integer PRIMARY KEY, v vector)")
    with pytest.raises(InputError, match="is vector and holds no vector, so its length is unknown"):
        database.opened(target)
    database.fill("docs", 10)
    database.execute("INSERT INTO docs VALUES (10, '[1, 2]')")
    with database.opened(target) as store:
        text = "1 vectors are not of length 24"
        assert any(text in obstacle.text for obstacle in plan_migration(aligner, store).obstacles)
        with pytest.raises(StoreError, match=text):
            run_migration(aligner, store)
        database.execute("DELETE FROM docs WHERE id = 10")
        run_migration(aligner, store)
        database.execute("INSERT INTO docs VALUES (10, '[1, 2]')")
        with pytest.raises(StoreError, match="expected 24 dimensions, not 2.*of another length"):
            cut_over(aligner, store)
        assert store.dim() == DIM
        database.execute("DELETE FROM docs WHERE id = 10")
        cut_over(aligner, store)


@TARGETS
def test_half_precision_on_the_way(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    vectors = database.fill("docs", 50)
    database.execute("CREATE INDEX docs_v ON docs USING hnsw (v vector_l2_ops)")
    with database.opened(target + "&type=halfvec") as store:
        plan = plan_migration(aligner, store)
        assert plan.neighbours_kept is not None
        assert plan.neighbours_kept > 0.99
        run_migration(aligner, store)
        cut_over(aligner, store)
        kind = database.one(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'docs'::regclass "
            "AND attname = 'v'"
        )
        assert kind == "halfvec(16)"
        assert "(v halfvec_l2_ops)" in str(database.one("SELECT pg_get_indexdef('docs_v'::regclass)"))
        rounded = aligner.transform(vectors).astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(stored(database), rounded, rtol=2e-3, atol=1e-4)
        roll_back(aligner, store)
        assert "(v vector_l2_ops)" in str(database.one("SELECT pg_get_indexdef('docs_v'::regclass)"))
        np.testing.assert_array_equal(stored(database), vectors)
    with pytest.raises(InputError, match="type must be vector or halfvec. Got 'bit'"):
        database.opened("?type=bit")


@pytest.fixture(scope="module")
def long_aligner(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    """24 → 2,100 dimensions."""
    synthetic = make_pairs(200, source_dim=DIM, target_dim=2_100)
    path = tmp_path_factory.mktemp("long") / "old-to-new"
    source, target = synthetic.pairs.source.space, synthetic.pairs.target.space
    aligner = AffineAligner(synthetic.matrix, synthetic.offset)
    return OnnxAligner(save_artifact(aligner, path, source=source, target=target, split=split_pairs(synthetic.pairs)))


@TARGETS
def test_more_dimensions_than_an_index_takes(database: Any, long_aligner: OnnxAligner, target: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 20)
    database.execute("CREATE INDEX docs_v ON docs USING hnsw (v vector_cosine_ops)")
    text = "Index docs_v cannot be built over 2,100 dimensions: .* at most 2,000 of a vector. Add .type=halfvec"
    with database.opened(target) as store, pytest.raises(StoreError, match=text):
        run_migration(long_aligner, store)
    with database.opened(target + "&type=halfvec") as store:
        assert not plan_migration(long_aligner, store).obstacles
        run_migration(long_aligner, store)
        cut_over(long_aligner, store)
    assert "halfvec_cosine_ops" in str(database.one("SELECT pg_get_indexdef('docs_v'::regclass)"))
