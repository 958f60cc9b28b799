"""A part of a PostgreSQL table is migrated: the rows of a condition, and none of the others."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import numpy as np
import psycopg
import pytest

from embcompat.errors import InputError, StoreError
from embcompat.migration import (
    abort,
    cut_over,
    drop_old,
    job_of,
    plan_migration,
    roll_back,
    run_migration,
    sweep,
    verify_migration,
)
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store, sample_gallery

DIM = 24


def part(condition: str) -> str:
    return f"?target=column&where={quote(condition)}"


ENGLISH, GERMAN = part("lang = 'en'"), part("lang = 'de'")


def made(database: Any, rows: int = 40, *, kind: str = "vector") -> np.ndarray:
    """A table of which the even rows are English and the odd ones German."""
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v {kind}, lang text)")
    vectors = database.fill("docs", rows)
    database.execute("UPDATE docs SET lang = CASE WHEN id % 2 = 0 THEN 'en' ELSE 'de' END")
    return vectors


def served(database: Any) -> dict[int, np.ndarray | None]:
    rows = database.execute("SELECT id, v::text FROM docs ORDER BY id").fetchall()
    return {row: None if text is None else np.array(json.loads(text), np.float32) for row, text in rows}


def assert_served(database: Any, expected: dict[int, np.ndarray | None]) -> None:
    rows = served(database)
    assert rows.keys() == expected.keys()
    for row, vector in expected.items():
        stored = rows[row]
        if vector is None:
            assert stored is None, f"row {row}"
        else:
            assert stored is not None, f"row {row}"
            np.testing.assert_allclose(stored, vector, rtol=1e-4, atol=1e-5, err_msg=f"row {row}")


def refused(database: Any, statement: str, match: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=match):
        database.execute(statement)


def test_a_part_is_migrated_there_and_back_and_the_rest_is_served_as_before(
    database: Any, aligner: OnnxAligner
) -> None:
    vectors = made(database)
    database.execute("UPDATE docs SET v = NULL WHERE id IN (4, 5)")
    database.execute("UPDATE docs SET lang = NULL WHERE id = 7")  # neither true nor false
    original = dict(enumerate(vectors)) | {4: None, 5: None}
    after = {
        row: aligner.transform(vector[np.newaxis])[0] if vector is not None and row % 2 == 0 else vector
        for row, vector in original.items()
    }
    with database.opened(ENGLISH) as store:
        plan = plan_migration(aligner, store)
        assert (plan.rows, plan.missing, plan.without_vector) == (20, 19, 1)
        assert "19 rows are left out" in plan.notes[0]
        assert run_migration(aligner, store).rows == 19
        assert not verify_migration(aligner, store).problems
        assert_served(database, original)
        cut_over(aligner, store)
        assert_served(database, after)
        assert not list(sweep(aligner, store))
        assert roll_back(aligner, store) == 0
        assert_served(database, original)
        cut_over(aligner, store)
        drop_old(aligner, store)
        assert store.state(job_of(aligner.artifact)).phase == "finished"
        assert store.dim() == 16
    assert_served(database, after)
    with database.opened(GERMAN) as store:
        assert store.dim() == DIM
        assert store.state(job_of(aligner.artifact)).space is None
        assert len(sample_gallery(store, space="made-old@1")) == 18


def test_a_row_that_changes_or_moves_meanwhile_is_neither_lost_nor_stale(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    other = np.full(DIM, 0.25, np.float32)
    with database.opened(ENGLISH) as store:
        run_migration(aligner, store)
        database.execute("UPDATE docs SET lang = 'en' WHERE id = 1")  # moves in
        database.execute("UPDATE docs SET lang = 'de' WHERE id = 2")  # moves out
        database.execute("UPDATE docs SET lang = 'de', v = %s WHERE id = 4", (str(other.tolist()),))
        database.execute("UPDATE docs SET v = %s WHERE id IN (3, 6)", (str(other.tolist()),))
        database.execute("UPDATE docs SET v = NULL WHERE id IN (5, 8)")
        database.execute("DELETE FROM docs WHERE id IN (9, 10)")
        database.execute(
            "INSERT INTO docs (id, v, lang) VALUES (50, %(v)s, 'en'), (51, %(v)s, 'de')", {"v": str(other.tolist())}
        )
        assert store.coverage(job_of(aligner.artifact)).changed == 3
        cut_over(aligner, store)
        expected: dict[int, np.ndarray | None] = dict(enumerate(vectors)) | dict.fromkeys((3, 4, 6, 50, 51), other)
        expected |= dict.fromkeys((5, 8))
        for row in (9, 10):
            del expected[row]
        inside = {row for row in expected if row % 2 == 0} - {2, 4} | {1}
        for row in inside:
            if (vector := expected[row]) is not None:
                expected[row] = aligner.transform(vector[np.newaxis])[0]
        assert_served(database, expected)


def test_vectors_of_two_spaces_stay_apart_after_the_cutover(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    old, new = str([0.25] * DIM), str([0.5] * 16)
    with database.opened(ENGLISH) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        refused(database, f"UPDATE docs SET v = '{new}' WHERE id = 0", "vectors must be in space made-new@1")
        refused(database, "UPDATE docs SET lang = 'en' WHERE id = 1", "moves to where vectors must be in space")
        refused(database, "UPDATE docs SET lang = 'de' WHERE id = 2", "moves to where vectors are not in space")
        database.execute(f"UPDATE docs SET v = '{old}' WHERE id = 3")
        database.execute(f"UPDATE docs SET v = '{old}', lang = 'de' WHERE id = 4")
        database.execute("UPDATE docs SET v = NULL WHERE id IN (5, 6)")
        database.execute(f"INSERT INTO docs (id, v, lang) VALUES (51, '{old}', 'de')")
        with database.transaction():
            database.execute("SELECT embcompat_space('made-new@1')")
            database.execute(f"UPDATE docs SET v = '{new}', lang = 'en' WHERE id = 7")
            database.execute(f"INSERT INTO docs (id, v, lang) VALUES (50, '{new}', 'en')")
        expected: dict[int, np.ndarray | None] = dict(enumerate(vectors))
        expected |= dict.fromkeys((3, 4, 51), np.full(DIM, 0.25, np.float32))
        expected |= dict.fromkeys((5, 6, 7, 50))
        assert not list(sweep(aligner, store))
        assert roll_back(aligner, store) == 2, "rows 7 and 50 came in with new vectors"
        assert_served(database, expected)


@pytest.mark.parametrize("leaves", ["before the cutover", "after the cutover"])
def test_a_row_that_left_with_an_old_vector_does_not_come_back_with_it(
    database: Any, aligner: OnnxAligner, leaves: str
) -> None:
    made(database)
    move = f"UPDATE docs SET v = '{[0.25] * DIM}', lang = 'de' WHERE id = 2"
    with database.opened(ENGLISH) as store:
        run_migration(aligner, store)
        if leaves == "before the cutover":
            database.execute(move)
        cut_over(aligner, store)
        if leaves == "after the cutover":
            database.execute(move)
        assert database.one("SELECT v__space FROM docs WHERE id = 2") is None
        refused(database, "UPDATE docs SET lang = 'en' WHERE id = 2", "moves to where vectors must be in space")


def test_the_parts_of_a_column_are_migrated_one_after_the_other(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    with database.opened(ENGLISH) as english, database.opened(GERMAN) as german:
        run_migration(aligner, english)
        for _ in range(2):  # under way, and cut over
            with pytest.raises(StoreError, match="Another migration of this column is not finished"):
                run_migration(aligner, german)
            with database.opened("?target=column") as whole, pytest.raises(StoreError, match="is not finished"):
                run_migration(aligner, whole)
            if english.state(job_of(aligner.artifact)).phase == "prepared":
                cut_over(aligner, english)
        drop_old(aligner, english)
        run_migration(aligner, german)
        cut_over(aligner, german)
        new = aligner.transform(vectors)
        assert_served(database, dict(enumerate(new)))
        assert english.state(job_of(aligner.artifact)).phase == "finished"
        assert not list(sweep(aligner, english))
        assert roll_back(aligner, german) == 0
        assert_served(database, {row: new[row] if row % 2 == 0 else vectors[row] for row in range(40)})
        refused(database, f"UPDATE docs SET v = '{[0.5] * 16}' WHERE id = 0", "vectors must be in space made-new@1")
        assert abort(aligner, german)
        assert english.state(job_of(aligner.artifact)).phase == "finished"
    with (
        database.opened("?target=column") as whole,
        pytest.raises(StoreError, match="Parts of this column have a space"),
    ):
        run_migration(aligner, whole)
    with database.opened(part("id < 10")) as store:
        assert any(
            "belong to a part that was migrated" in entry.text for entry in store.obstacles(job_of(aligner.artifact))
        )


def test_abort_leaves_nothing_behind(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    objects = (
        "SELECT count(*) FROM pg_class WHERE relpersistence <> 't' UNION ALL SELECT count(*) FROM pg_proc "
        "WHERE proname <> 'embcompat_space' "
        "UNION ALL SELECT count(*) FROM pg_trigger"
    )
    with database.opened(ENGLISH) as store:
        database.execute(
            "CREATE TABLE embcompat_galleries (relation oid, attribute text, space text NOT NULL, "
            "artifact text NOT NULL, PRIMARY KEY (relation, attribute))"
        )
        original = database.execute(objects).fetchall()
        run_migration(aligner, store)
        cut_over(aligner, store)
        roll_back(aligner, store)
        abort(aligner, store)
        assert database.execute(objects).fetchall() == original
        assert database.one("SELECT count(*) FROM embcompat_galleries") == 0
    assert_served(database, dict(enumerate(vectors)))


def test_a_condition_that_takes_no_row_is_no_error(database: Any, aligner: OnnxAligner) -> None:
    vectors = made(database)
    with database.opened(part("lang = 'fr'")) as store:
        plan = plan_migration(aligner, store)
        assert (plan.rows, plan.missing, list(plan.obstacles)) == (0, 0, [])
        assert store.dim() == 0
        with pytest.raises(InputError, match="must hold rows with a vector"):
            sample_gallery(store, space="made-old@1")
        run_migration(aligner, store)
        database.execute(f"INSERT INTO docs (id, v, lang) VALUES (50, '{[0.25] * DIM}', 'fr')")
        cut_over(aligner, store)
    new = aligner.transform(np.full((1, DIM), 0.25, np.float32))[0]
    assert_served(database, dict(enumerate(vectors)) | {50: new})


def test_keys_of_two_columns_and_names_in_quotes(database: Any, aligner: OnnxAligner) -> None:
    database.execute(
        'CREATE TABLE "My Docs" ("a.b" integer, "K 2" text, "The ""Vec""" vector, "x%s" jsonb, '
        'PRIMARY KEY ("a.b", "K 2"))'
    )
    vectors = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    for row, vector in enumerate(vectors):
        values = (row, f"k'{row}", str(vector.tolist()), json.dumps({"100%": row % 3}))
        database.execute('INSERT INTO "My Docs" VALUES (%s, %s, %s, %s)', values)
    condition = """"x%s" ->> '100%' = '1' AND "K 2" LIKE 'k''%'"""
    schema = database.one("SELECT current_schema()")
    url = f"{database.server}#{schema}.My Docs.The %22Vec%22{part(condition)}"
    store = open_store(url)
    try:
        assert plan_migration(aligner, store).rows == 7
        run_migration(aligner, store)
        cut_over(aligner, store)
    finally:
        store.close()
    new = aligner.transform(vectors)
    for row, text in database.execute('SELECT "a.b", "The ""Vec"""::text FROM "My Docs"'):
        expected = new[row] if row % 3 == 1 else vectors[row]
        np.testing.assert_allclose(np.array(json.loads(text)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        ("lang = 'en'; DROP TABLE docs", "one condition in SQL"),
        ("lang = 'en') OR (true", "one condition in SQL"),
        ("(lang = 'en'", "one condition in SQL"),
        ("lang = 'en' /*", "one condition in SQL"),
        ("lang = (SELECT 'en')", "look up first what a subquery would give.*cannot use subquery"),
        ("id IN (SELECT 1)", "cannot use subquery"),
        ("random() < 0.5 AND id > 0", "must be marked IMMUTABLE"),
        ("language = 'en'", 'column "language" does not exist'),
        ("lang", "must be type boolean"),
        ("count(*) > 1", "aggregate functions are not allowed"),
        ("true", "must name a column"),
        ("vector_dims(v) = 24", "must not depend on column 'v', which the migration changes"),
    ],
)
def test_a_condition_that_is_not_of_one_row_is_refused(database: Any, condition: str, match: str) -> None:
    made(database, 2)
    with pytest.raises(InputError, match=match):
        database.opened(part(condition))
    assert database.one("SELECT count(*) FROM docs") == 2


def test_a_generated_column_in_the_condition_is_refused(database: Any) -> None:
    database.execute("CREATE TABLE docs (id integer PRIMARY KEY, v vector, lang text)")
    database.execute("ALTER TABLE docs ADD short text GENERATED ALWAYS AS (left(lang, 1)) STORED")
    with pytest.raises(InputError, match="must not depend on generated column 'short'"):
        database.opened(part("short = 'e'"))


def test_a_part_needs_a_new_column_that_holds_vectors_of_both_models(database: Any, aligner: OnnxAligner) -> None:
    made(database, kind=f"vector({DIM})")
    with pytest.raises(InputError, match="migrated in a new column. Add target=column"):
        database.opened("?where=lang='en'")
    with database.opened(ENGLISH) as store:
        with pytest.raises(StoreError, match="ALTER TABLE .* TYPE vector rewrites no row"):
            run_migration(aligner, store)
        database.execute("ALTER TABLE docs ALTER v TYPE vector")
        assert run_migration(aligner, store).rows == 20


def test_each_vector_index_is_built_for_the_rows_that_it_holds(database: Any, aligner: OnnxAligner) -> None:
    made(database)
    database.execute("CREATE INDEX all_of_v ON docs USING hnsw ((v::vector(24)) vector_cosine_ops)")
    for lang in ("en", "de", "fr"):
        database.execute(
            f"CREATE INDEX {lang}_v ON docs USING hnsw ((v::vector(24)) vector_l2_ops) WHERE lang = '{lang}'"
        )
    with database.opened(ENGLISH) as store:
        with pytest.raises(StoreError, match="Index all_of_v holds rows that are migrated and rows that are left out"):
            run_migration(aligner, store)
        database.execute("DROP INDEX all_of_v")
        run_migration(aligner, store)
        cut_over(aligner, store)
        drop_old(aligner, store)

    def size(name: str) -> str:
        return str(database.one(f"SELECT substring(pg_get_indexdef('{name}'::regclass) FROM 'vector\\((\\d+)\\)')"))

    assert [size(f"{lang}_v") for lang in ("en", "de", "fr")] == ["16", "24", "24"]
    assert database.one("SELECT count(*) FROM pg_index WHERE indrelid = 'docs'::regclass") == 4
    database.execute("SET enable_seqscan = off")
    query = f"EXPLAIN SELECT id FROM docs WHERE lang = 'de' ORDER BY v::vector(24) <-> '{[0.1] * DIM}' LIMIT 3"
    assert "de_v" in "".join(line for (line,) in database.execute(query))
