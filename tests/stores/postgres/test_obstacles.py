"""What a migration cannot keep is listed by the plan, before anything is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from psycopg import sql

from embcompat.errors import InputError, StoreError
from embcompat.migration import abort, cut_over, drop_old, job_of, plan_migration, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store

DIM = 24
TARGETS = pytest.mark.parametrize("target", ["?target=table", "?target=column"])


def things(database: Any) -> object:
    return database.one(
        "SELECT count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE relnamespace = current_schema()::regnamespace AND NOT attisdropped"
    )


@TARGETS
def test_rows_that_row_security_hides_are_not_taken_for_none(database: Any, aligner: OnnxAligner, target: str) -> None:
    schema = database.one("SELECT current_schema()")
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), tenant integer DEFAULT 1)")
    database.fill("docs", 20)
    database.execute(
        sql.SQL(
            """
            DROP ROLE IF EXISTS tenant_owner; CREATE ROLE tenant_owner LOGIN;
            GRANT ALL ON SCHEMA {0} TO tenant_owner; ALTER TABLE docs OWNER TO tenant_owner;
            UPDATE docs SET tenant = 2 WHERE id < 10; ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
            ALTER TABLE docs FORCE ROW LEVEL SECURITY; CREATE POLICY own ON docs USING (tenant = 1);
            """
        ).format(sql.Identifier(schema))
    )
    address = database.server.replace("//postgres", "//tenant_owner", 1)
    with pytest.raises(StoreError, match="row security hides rows of it from the role tenant_owner.*BYPASSRLS"):
        open_store(f"{address}#{schema}.docs.v{target}")
    database.execute("ALTER TABLE docs NO FORCE ROW LEVEL SECURITY")
    original = things(database)
    store = open_store(f"{address}#{schema}.docs.v{target}")
    try:
        database.execute("ALTER TABLE docs FORCE ROW LEVEL SECURITY")
        with pytest.raises(StoreError, match="row security hides"):
            store.prepare(job_of(aligner.artifact))
    finally:
        store.close()
    assert things(database) == original
    with database.opened("?target=column") as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    assert database.one("SELECT count(*) FROM docs WHERE v IS NULL") == 0
    database.execute(
        "REASSIGN OWNED BY tenant_owner TO CURRENT_USER; DROP OWNED BY tenant_owner; DROP ROLE tenant_owner"
    )


@TARGETS
@pytest.mark.parametrize("publication", ["FOR ALL TABLES", "FOR TABLES IN SCHEMA {}", "FOR TABLE docs"])
def test_a_published_table_is_refused_before_anything_is_made(
    database: Any, aligner: OnnxAligner, target: str, publication: str
) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.fill("docs", 5)
    schema = database.one("SELECT current_schema()")
    database.execute(f"CREATE PUBLICATION everything {publication.format(schema)}")
    try:
        original = things(database)
        with database.opened(target) as store:
            assert any("publication everything" in entry.text for entry in plan_migration(aligner, store).obstacles)
            with pytest.raises(StoreError, match="publication everything"):
                run_migration(aligner, store)
        assert things(database) == original
    finally:
        database.execute("DROP PUBLICATION everything")


@TARGETS
def test_two_columns_of_one_model_do_not_share_names(database: Any, aligner: OnnxAligner, target: str) -> None:
    job = job_of(aligner.artifact)
    long = "b" * 60 if target == "?target=table" else "b" * 50
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), {long} vector({DIM}))")
    database.fill("docs", 10)
    database.execute(f"UPDATE docs SET {long} = v")
    schema = database.one("SELECT current_schema()")
    first, second = (open_store(f"{database.server}#{schema}.docs.{column}{target}") for column in ("v", long))
    try:
        run_migration(aligner, first)
        assert second.state(job).phase == "untouched"
        if target == "?target=table":
            with pytest.raises(StoreError, match="another migration of this table"):
                second.prepare(job)
        else:
            second.prepare(job)
        cut_over(aligner, first)
        assert second.state(job).phase == ("untouched" if target == "?target=table" else "prepared")
        drop_old(aligner, first)
        if target == "?target=column":
            run_migration(aligner, second)
            cut_over(aligner, second)
            assert database.one(f"SELECT min(vector_dims({long})) FROM docs") == 16
        assert first.state(job).phase == "finished"
        assert not list(first.sweep(job))
    finally:
        first.close()
        second.close()


@TARGETS
def test_an_abort_leaves_nothing_behind(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    database.execute("CREATE INDEX ON docs USING hnsw (v vector_l2_ops)")
    database.fill("docs", 10)
    original = things(database)
    other = "?target=column" if target == "?target=table" else "?target=table"
    with database.opened(target) as store:
        run_migration(aligner, store)
        assert abort(aligner, store)
    galleries = database.one("SELECT count(*) FROM embcompat_galleries")
    database.execute("DROP TABLE embcompat_galleries")
    assert galleries == 0
    assert things(database) == original
    assert database.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'docs'::regclass") == 0
    assert database.one("SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace") == 0
    with database.opened(other) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)


@TARGETS
def test_a_column_of_texts_must_be_there_and_hold_texts(database: Any, aligner: OnnxAligner, target: str) -> None:
    database.execute("CREATE DOMAIN title AS varchar(20)")
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}), t title, n integer)")
    database.fill("docs", 3)
    job = job_of(aligner.artifact)
    expected = {
        "t": [],
        "n": ["Column 'n' must hold texts. Its type is integer."],
        "body": ["There is no column 'body'. Columns: id, v, t, n."],
    }
    with database.opened(target) as store:
        for name, texts in expected.items():
            assert [each.text for each in store.obstacles(replace(job, text_column=name))] == texts


def test_addresses_as_other_libraries_write_them(database: Any) -> None:
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v vector({DIM}))")
    schema = database.one("SELECT current_schema()")
    for scheme in ("postgres", "postgresql+psycopg", "postgresql+asyncpg"):
        address = database.server.replace("postgresql://", f"{scheme}://", 1)
        store = open_store(f"{address}#{schema}.docs.v?target=column")
        assert store.dim() == DIM
        store.close()
    with pytest.raises(InputError, match="does not exist"):
        open_store(f"{database.server.replace('/postgres?', '/nowhere?', 1)}#{schema}.docs.v")
