"""Four writers all the time and a migration that is killed, against an independent model of what every row must be."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import psycopg
import pytest

from embcompat.migration import job_of
from embcompat.runtime import OnnxAligner
from embcompat.testing.stores.faults import run_child

DIM = 24
ROWS = 400
WRITERS = 4
Model = dict[int, tuple[np.ndarray | None, str]]
PART = "?target=column&where=title COLLATE \"C\" < 'title 5'"


def write_until_told(server: str, schema: str, writer: int, model: Model, stop: Event) -> None:
    """Change the rows that belong to one writer, and note in its model what was committed."""
    rng = np.random.default_rng(writer)
    with psycopg.connect(server, autocommit=True, options=f"-c search_path={schema},public") as connection:
        while not stop.wait(0.01):
            row = writer + WRITERS * int(rng.integers(ROWS // WRITERS))
            vector = rng.standard_normal(DIM).astype(np.float32)
            value: np.ndarray | None = vector if rng.random() < 0.8 else None
            title = f"title {rng.integers(1000)}"
            text = None if value is None else str(value.tolist())
            try:
                if row not in model:
                    connection.execute("INSERT INTO docs (id, v, title) VALUES (%s, %s, %s)", (row, text, title))
                    model[row] = (value, title)
                elif rng.random() < 0.2:
                    connection.execute("DELETE FROM docs WHERE id = %s", (row,))
                    del model[row]
                elif rng.random() < 0.3:
                    connection.execute("UPDATE docs SET title = %s WHERE id = %s", (title, row))
                    model[row] = (model[row][0], title)
                else:
                    connection.execute("UPDATE docs SET v = %s, title = %s WHERE id = %s", (text, title, row))
                    model[row] = (value, title)
            except (psycopg.errors.CheckViolation, psycopg.errors.DataException):
                return  # the new vectors are in service, and this application is of the old model


def migrate_under_kills(database: Any, aligner: OnnxAligner, target: str, points: Sequence[str]) -> None:
    kind = "vector" if target == PART else f"vector({DIM})"
    database.execute(f"CREATE TABLE docs (id integer PRIMARY KEY, v {kind}, title text)")
    vectors = database.fill("docs", ROWS)
    database.execute("UPDATE docs SET title = 'first'")
    models: list[Model] = [
        {row: (vectors[row], "first") for row in range(writer, ROWS, WRITERS)} for writer in range(WRITERS)
    ]
    schema, stop = str(database.one("SELECT current_schema()")), Event()
    url = f"{database.server}#{schema}.docs.v{target}"
    with ThreadPoolExecutor(WRITERS) as pool, database.opened(target) as store:
        writers = [
            pool.submit(write_until_told, database.server, schema, writer, models[writer], stop)
            for writer in range(WRITERS)
        ]
        try:
            for point in [*points, "never"]:
                if store.state(job_of(aligner.artifact)).phase == "cut_over":
                    break
                code = run_child(url, aligner.artifact.path, point)
                assert code in (0, -signal.SIGKILL), f"{point}: the child ended with code {code}"
        finally:
            stop.set()
        for future in writers:
            future.result()
        assert store.state(job_of(aligner.artifact)).phase == "cut_over"
    expected = {row: value for model in models for row, value in model.items()}
    rows = {row: (text, title) for row, text, title in database.execute("SELECT id, v::text, title FROM docs")}
    assert rows.keys() == expected.keys()
    for row, (vector, title) in expected.items():
        text, served_title = rows[row]
        assert served_title == title
        assert (text is None) == (vector is None), f"row {row}"
        if vector is not None:
            result = np.array(json.loads(text), np.float32)
            migrated = target != PART or title < "title 5"
            vector = aligner.transform(vector) if migrated else vector
            np.testing.assert_allclose(result, vector, rtol=1e-3, atol=1e-4, err_msg=f"row {row}")


@pytest.mark.parametrize("target", ["?target=table", "?target=column", PART])
def test_every_row_is_what_the_model_says_after_fixed_kills(database: Any, aligner: OnnxAligner, target: str) -> None:
    migrate_under_kills(database, aligner, target, ["writing", "switching"])


@pytest.mark.soak
@pytest.mark.parametrize("target", ["?target=table", "?target=column", PART])
def test_every_row_is_what_the_model_says_after_random_kills(database: Any, aligner: OnnxAligner, target: str) -> None:
    rng = np.random.default_rng(0)
    migrate_under_kills(database, aligner, target, [f"after:{rng.uniform(0.0, 1.0):.3f}" for _ in range(30)])
