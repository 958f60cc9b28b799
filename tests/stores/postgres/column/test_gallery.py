"""A new column as the target in PostgreSQL: what hangs on the vector column, and what changes meanwhile."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from embcompat.errors import InputError, StoreError
from embcompat.migration import (
    abort,
    cut_over,
    drop_old,
    job_of,
    plan_migration,
    roll_back,
    run_migration,
    verify_migration,
)
from embcompat.runtime import OnnxAligner
from embcompat.stores import vector_digests
from embcompat.stores.postgres.column import rows as rows_module
from embcompat.stores.postgres.column.waiting import create_waiting_index
from embcompat.stores.postgres.rows.parts import WHOLE

DIM = 24
NEW = "?target=column"


def columns(database: Any) -> list[str]:
    result = database.execute("SELECT * FROM docs LIMIT 0").description
    return [] if result is None else [column.name for column in result]


def test_everything_that_hangs_on_the_column_follows_there_and_back(database: Any, aligner: OnnxAligner) -> None:
    database.execute(
        f"""
        CREATE TABLE docs (id bigint PRIMARY KEY, v vector({DIM}) NOT NULL, title text, touched integer DEFAULT 0,
            parent bigint REFERENCES docs);
        ALTER TABLE docs ALTER v SET STORAGE PLAIN; COMMENT ON COLUMN docs.v IS 'made of the title';
        CREATE INDEX docs_v ON docs USING hnsw (v vector_l2_ops) WITH (m = 8, ef_construction = 32);
        CREATE VIEW vectors AS SELECT id, v FROM docs WHERE touched >= 0; CREATE VIEW titles AS SELECT title FROM docs;
        CREATE VIEW of_titles AS SELECT * FROM titles; CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM docs;
        CREATE POLICY mine ON docs; CREATE FUNCTION takes(docs) RETURNS integer LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.touched := NEW.touched + 1; RETURN NEW; END $$;
        CREATE TRIGGER touching BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION touch();
        DROP ROLE IF EXISTS column_reader; CREATE ROLE column_reader; GRANT SELECT (v) ON docs TO column_reader;
        GRANT SELECT ON vectors TO column_reader;
        """
    )
    vectors = database.fill("docs", 60)
    original = columns(database)

    def looks_right(dim: int) -> None:
        assert database.one("SELECT vector_dims(v) FROM vectors WHERE id = 1") == dim
        assert database.one("SELECT has_column_privilege('column_reader', 'docs', 'v', 'SELECT')") is True
        assert database.one("SELECT has_column_privilege('column_reader', 'docs', 'title', 'SELECT')") is False
        assert database.one("SELECT has_table_privilege('column_reader', 'vectors', 'SELECT')") is True
        number = "(SELECT attnum FROM pg_attribute WHERE attrelid = 'docs'::regclass AND attname = 'v')"
        assert database.one(f"SELECT col_description('docs'::regclass, {number})") == "made of the title"
        assert database.one(f"SELECT indkey[0] = {number} FROM pg_index WHERE indexrelid = 'docs_v'::regclass") is True
        attributes = "SELECT attstorage::text || attnotnull FROM pg_attribute WHERE attrelid = 'docs'::regclass"
        assert database.one(f"{attributes} AND attname = 'v'") == "ptrue"
        assert database.one("SELECT max(touched) FROM docs") == 0, "filling a column is no update of the application"
        assert database.one("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'embcompat_not_null%'") == 0

    with database.opened(NEW) as store:
        assert run_migration(aligner, store).index_seconds is not None
        looks_right(DIM)
        cut_over(aligner, store)
    looks_right(16)
    assert "vector_l2_ops" in str(database.one("SELECT pg_get_indexdef('docs_v'::regclass)"))
    with database.opened(NEW) as store:
        assert roll_back(aligner, store) == 0
    looks_right(DIM)
    assert database.one("SELECT v::text FROM docs WHERE id = 7") == database.one(
        f"SELECT '{vectors[7].tolist()}'::vector::text"
    )
    with database.opened(NEW) as store:
        cut_over(aligner, store)
        drop_old(aligner, store)
    looks_right(16)
    assert columns(database)[: len(original) - 1] == [name for name in original if name != "v"]
    assert sorted(set(columns(database)) - set(original)) == ["v__artifact", "v__source", "v__space", "v__version"]
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname ~ '__'"
    assert database.one(tables) == 0


def test_what_would_not_follow_is_listed(database: Any, aligner: OnnxAligner) -> None:
    database.execute(
        f"""
        CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}) CONSTRAINT whole CHECK (vector_dims(v) > 3),
            length integer GENERATED ALWAYS AS (vector_dims(v)) STORED);
        CREATE INDEX docs_both ON docs (id, v); CREATE MATERIALIZED VIEW kept AS SELECT v FROM docs;
        CREATE VIEW first AS SELECT v FROM docs; CREATE VIEW second AS SELECT v FROM first;
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
        CREATE TRIGGER touching BEFORE UPDATE OF v ON docs FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE PUBLICATION column_changes FOR TABLE docs;
        """
    )
    with database.opened(NEW) as store, pytest.raises(StoreError) as caught:
        store.prepare(job_of(aligner.artifact))
    database.execute("DROP PUBLICATION column_changes")
    for phrase in (
        "constraint whole",
        "column length",
        r"index \S*docs_both",
        r"materialized view \S*kept",
        r"view \S*first",
        "trigger touching",
        "publication column_changes",
    ):
        assert re.search(phrase, str(caught.value)), phrase
    assert "v__" not in "".join(columns(database))


def test_a_user_who_may_not_hold_back_triggers_is_told(
    database: Any, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("DROP ROLE IF EXISTS plain_user; CREATE ROLE plain_user")
    assert rows_module.may_silence(database)
    database.execute("SET ROLE plain_user")
    assert not rows_module.may_silence(database)
    database.execute("RESET ROLE")
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), touched integer DEFAULT 0)")
    database.fill("docs", 10)
    monkeypatch.setattr(rows_module, "may_silence", lambda _connection: False)
    with database.opened(NEW) as store:
        database.execute(
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
            "CREATE TRIGGER touching BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION touch()"
        )
        with pytest.raises(StoreError, match="trigger touching, which would fire for every row"):
            run_migration(aligner, store)
        database.execute("DROP TRIGGER touching ON docs")
        assert run_migration(aligner, store).rows == 10


def test_a_row_that_changes_between_reading_and_writing_is_converted_again(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 10)
    job = job_of(aligner.artifact)
    late = np.full(DIM, 0.25, np.float32)
    with database.opened(NEW) as store:
        store.prepare(job)
        (rows,) = store.scan(job, batch_size=20, missing_only=True)
        database.execute("UPDATE docs SET v = %s WHERE id = 4", (str(late.tolist()),))
        store.write(job, rows.ids, aligner.transform(rows.vectors), vector_digests(rows.vectors))
        assert store.coverage(job).changed == 1
        run_migration(aligner, store)
        database.execute("UPDATE docs SET v = v WHERE id = 5")
        assert store.coverage(job).changed == 0, "the same vector again is no change"
        database.execute("UPDATE docs SET v = NULL WHERE id = 6")
        cut_over(aligner, store)
    result = str(database.one("SELECT v::text FROM docs WHERE id = 4"))
    np.testing.assert_allclose(np.array(result[1:-1].split(","), float), aligner.transform(late), rtol=1e-4, atol=1e-5)
    assert database.one("SELECT v FROM docs WHERE id = 6") is None


def test_vectors_that_may_not_be_null_block_there_and_back(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}) NOT NULL)")
    database.fill("docs", 20)
    database.execute("INSERT INTO docs VALUES (50, %s)", (str([0.0] * DIM),))
    with database.opened(NEW) as store:
        run_migration(aligner, store)
        with pytest.raises(StoreError, match="1 rows could not be converted, and column 'v' may not be NULL"):
            cut_over(aligner, store, max_failures=1)
        database.execute("DELETE FROM docs WHERE id = 50")
        cut_over(aligner, store)
        with pytest.raises(psycopg.errors.NotNullViolation):
            database.execute("INSERT INTO docs (id) VALUES (51)")
        with database.transaction():
            database.execute("SELECT embcompat_space('made-new@1')")
            database.execute("INSERT INTO docs (id, v) VALUES (51, %s)", (str([0.5] * 16),))
        with pytest.raises(StoreError, match="1 rows came in after the cutover and have no old vector"):
            roll_back(aligner, store)
        database.execute("DELETE FROM docs WHERE id = 51")
        assert roll_back(aligner, store) == 0
        with pytest.raises(psycopg.errors.NotNullViolation):
            database.execute("INSERT INTO docs (id) VALUES (51)")


@pytest.mark.parametrize(
    "index",
    [
        "(v vector_l2_ops)",
        f"((v::halfvec({DIM})) halfvec_l2_ops)",
        f"((binary_quantize(v)::bit({DIM})) bit_hamming_ops)",
    ],
)
def test_an_index_whose_building_was_interrupted_is_built_again(
    database: Any, aligner: OnnxAligner, index: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.execute(f"CREATE INDEX docs_v ON docs USING hnsw {index}")
    database.fill("docs", 20)
    job = job_of(aligner.artifact)
    with database.opened(NEW) as store:
        run_migration(aligner, store)
        database.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indrelid = 'docs'::regclass AND indexrelid <> "
            "'docs_v'::regclass AND NOT indisprimary"
        )
        store.build_index(job)
        assert database.one("SELECT count(*) FROM pg_index WHERE indrelid = 'docs'::regclass") == 3
        assert database.one("SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 'docs'::regclass") is True
        assert not verify_migration(aligner, store).problems


def test_the_last_rows_of_a_cutover_are_found_by_an_index(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    vector = str([0.5] * DIM)
    database.execute("INSERT INTO docs SELECT number, %s FROM generate_series(1, 3000) number", (vector,))
    with database.opened(NEW) as store:
        run_migration(aligner, store)
        session = store._session(job_of(aligner.artifact))
        plan = (
            sql.SQL("EXPLAIN SELECT id ") + rows_module.empty_rows(session, WHOLE) + sql.SQL(" ORDER BY id LIMIT 500")
        )
        create_waiting_index(session)
        lines = " ".join(line for (line,) in session.execute(plan))
    assert "waiting" in lines
    assert "Seq Scan" not in lines


def interrupt(*_: object, **__: object) -> list[object]:
    raise KeyboardInterrupt


def test_the_index_of_a_killed_cutover_hinders_nothing(
    database: Any, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 20)
    count = "SELECT count(*) FROM pg_index WHERE indrelid = 'docs'::regclass"
    with database.opened(NEW) as store:
        run_migration(aligner, store)
        for step in (cut_over, abort):
            with monkeypatch.context() as patch:
                patch.setattr("embcompat.stores.postgres.column.gallery.swap_columns", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    cut_over(aligner, store)
            assert database.one(count) == 2
            database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text ~ 'waiting'")
            assert not plan_migration(aligner, store).obstacles
            step(aligner, store)
            assert database.one(count) == 1
            if step is cut_over:
                roll_back(aligner, store)


def test_workers_that_finish_at_once_build_one_index(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.execute("CREATE INDEX docs_v ON docs USING hnsw (v vector_l2_ops)")
    database.fill("docs", 300)
    job = job_of(aligner.artifact)
    with database.opened(NEW) as first, database.opened(NEW) as second:
        run_migration(aligner, first)
        database.execute(
            "DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index WHERE indrelid = "
            "'docs'::regclass AND indexrelid <> 'docs_v'::regclass AND NOT indisprimary); END $$"
        )
        with ThreadPoolExecutor(2) as workers:
            list(workers.map(lambda store: store.build_index(job), (first, second)))
    assert database.one("SELECT count(*) FROM pg_index WHERE indrelid = 'docs'::regclass") == 3


def test_a_migration_stays_what_it_was_begun_as(database: Any, aligner: OnnxAligner) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 5)
    job = job_of(aligner.artifact)
    with database.opened(NEW) as column, database.opened() as table:
        column.prepare(job)
        with pytest.raises(StoreError, match="fills a new column. Add"):
            table.state(job)
    database.execute(f"CREATE TABLE others (id integer PRIMARY KEY, v vector({DIM}))")
    with database.opened(NEW, table="others") as column, database.opened(table="others") as table:
        table.prepare(job)
        with pytest.raises(StoreError, match="fills a new table. Leave"):
            column.state(job)
    with pytest.raises(InputError, match="target must be table or column. Got 'row'"):
        database.opened("?target=row")
