"""Nothing is lost, stale or brought back: what applications and other workers do between the steps of a migration."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from embcompat.migration import cut_over, job_of, roll_back, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import vector_digests

DIM = 24
TARGETS = pytest.mark.parametrize("target", ["?target=table", "?target=column"])


def vector_of(database: Any, identifier: int) -> np.ndarray | None:
    text = database.one(f"SELECT v::text FROM docs WHERE id = {identifier}")
    return None if text is None else np.array(json.loads(text), np.float32)


def near(database: Any, identifier: int, expected: np.ndarray) -> None:
    result = vector_of(database, identifier)
    assert result is not None
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def vectors(database: Any) -> np.ndarray:
    database.execute(
        f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), title text DEFAULT 'a', slug text UNIQUE)"
    )
    return database.fill("docs", 30)


@TARGETS
def test_a_worker_that_was_slow_does_not_write_over_a_newer_vector(
    database: Any, aligner: OnnxAligner, vectors: np.ndarray, target: str
) -> None:
    job = job_of(aligner.artifact)
    with database.opened(target) as slow, database.opened(target) as other:
        slow.prepare(job)
        (stale,) = slow.scan(job, batch_size=50, missing_only=True)
        database.execute("UPDATE docs SET v = %s WHERE id = 7", (str(vectors[8].tolist()),))
        run_migration(aligner, other)
        run_migration(aligner, other)
        slow.write(job, stale.ids, aligner.transform(stale.vectors), vector_digests(stale.vectors))
        near_target = other.read_target(job, ["7"]).vectors[0]
        np.testing.assert_allclose(near_target, aligner.transform(vectors[8]), rtol=1e-4, atol=1e-4)
        cut_over(aligner, other)
    near(database, 7, aligner.transform(vectors[8]))
    near(database, 9, aligner.transform(vectors[9]))


@TARGETS
def test_a_target_row_that_is_not_of_its_source_is_found_before_the_cutover(
    database: Any, aligner: OnnxAligner, vectors: np.ndarray, target: str
) -> None:
    job = job_of(aligner.artifact)
    with database.opened(target) as store:
        run_migration(aligner, store)
        store.write(job, ["3"], aligner.transform(vectors[4:5]), vector_digests(vectors[4:5]))
        cut_over(aligner, store)
    near(database, 3, aligner.transform(vectors[3]))


@TARGETS
def test_keys_and_erased_vectors_follow_there_and_back(
    database: Any, aligner: OnnxAligner, vectors: np.ndarray, target: str
) -> None:
    with database.opened(target) as store:
        run_migration(aligner, store)
        database.execute("UPDATE docs SET id = 100 WHERE id = 0; UPDATE docs SET v = NULL WHERE id = 9")
        cut_over(aligner, store)
        near(database, 100, aligner.transform(vectors[0]))
        assert vector_of(database, 9) is None
        database.execute(
            "UPDATE docs SET id = 101, title = 'b' WHERE id = 1; UPDATE docs SET id = 102 WHERE id = 101;"
            "UPDATE docs SET v = NULL WHERE id = 2; UPDATE docs SET v = NULL, id = 103 WHERE id = 3;"
            "DELETE FROM docs WHERE id = 4; UPDATE docs SET id = 4 WHERE id = 5; INSERT INTO docs (id) VALUES (200)"
        )
        assert roll_back(aligner, store) == 0
        for identifier, row in ((102, 1), (100, 0), (4, 5), (6, 6)):
            near(database, identifier, vectors[row])
        assert database.one("SELECT title FROM docs WHERE id = 102") == "b"
        assert [vector_of(database, identifier) for identifier in (2, 103, 9, 200)] == [None] * 4
        assert database.one("SELECT count(*) FROM docs WHERE id IN (1, 3, 5, 101)") == 0
        database.execute("UPDATE docs SET id = 104 WHERE id = 102; UPDATE docs SET v = NULL WHERE id = 6")
        cut_over(aligner, store)
    for identifier, row in ((104, 1), (100, 0), (4, 5), (7, 7)):
        near(database, identifier, aligner.transform(vectors[row]))
    assert [vector_of(database, identifier) for identifier in (2, 103, 9, 200, 6)] == [None] * 5
    assert database.one("SELECT count(*) FROM docs") == 30


def test_a_unique_value_may_move_to_another_row(database: Any, aligner: OnnxAligner, vectors: np.ndarray) -> None:
    with database.opened() as store:
        database.execute("UPDATE docs SET slug = 'page ' || id")
        run_migration(aligner, store)
        database.execute("DELETE FROM docs WHERE id = 1")
        database.execute("INSERT INTO docs (id, v, slug) VALUES (0 + 50, %s, 'page 1')", (str(vectors[1].tolist()),))
        database.execute("UPDATE docs SET slug = 'none' WHERE id = 20; UPDATE docs SET slug = 'page 20' WHERE id = 2")
        report = run_migration(aligner, store)
        assert not report.failures
        cut_over(aligner, store)
    near(database, 50, aligner.transform(vectors[1]))
    assert database.one("SELECT slug FROM docs WHERE id = 2") == "page 20"
    assert database.one("SELECT slug FROM docs WHERE id = 20") == "none"


def test_a_trigger_that_sets_the_vector_runs_before_ours(
    database: Any, aligner: OnnxAligner, vectors: np.ndarray
) -> None:
    database.execute(
        f"""
        CREATE FUNCTION embed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.title = 'other' THEN NEW.v := '{vectors[11].tolist()}'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER z_embed BEFORE UPDATE OF title ON docs FOR EACH ROW EXECUTE FUNCTION embed();
        """
    )
    with database.opened("?target=column") as store:
        run_migration(aligner, store)
        database.execute("UPDATE docs SET title = 'other' WHERE id = 12")
        cut_over(aligner, store)
    near(database, 12, aligner.transform(vectors[11]))


def test_the_parked_table_holds_nobody_up(database: Any, aligner: OnnxAligner, vectors: np.ndarray) -> None:
    database.execute(
        """
        CREATE TABLE kinds (kind text PRIMARY KEY); INSERT INTO kinds VALUES ('a'), ('b');
        ALTER TABLE docs ADD kind text DEFAULT 'a' CONSTRAINT of_kind REFERENCES kinds ON DELETE CASCADE;
        COMMENT ON CONSTRAINT of_kind ON docs IS 'a kind';
        CREATE TABLE audit (what text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END $$;
        CREATE TRIGGER noting AFTER DELETE ON docs FOR EACH ROW EXECUTE FUNCTION note();
        UPDATE docs SET kind = 'b' WHERE id < 5;
        """
    )
    with database.opened() as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        database.execute("DELETE FROM kinds WHERE kind = 'b'")
        assert database.one("SELECT count(*) FROM docs") == 25
        assert database.one("SELECT count(*) FROM audit") == 5, "a row is deleted once"
        roll_back(aligner, store)
        assert database.one("SELECT count(*) FROM docs") == 25
        assert database.one("SELECT count(*) FROM audit") == 5
        database.execute("DELETE FROM kinds")
    assert database.one("SELECT count(*) FROM docs") == 0
    assert database.one("SELECT count(*) FROM pg_constraint WHERE conname = 'of_kind' AND convalidated") == 1
    assert database.one("SELECT obj_description(oid) FROM pg_constraint WHERE conname = 'of_kind'") == "a kind"
