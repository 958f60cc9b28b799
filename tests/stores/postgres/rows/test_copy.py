"""Rows in PostgreSQL's binary forms."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
from psycopg import sql

from embcompat.stores.postgres.rows.copy import Column, encode, order
from embcompat.stores.postgres.rows.reader import read_rows


def test_binary_rows_come_back_as_they_were_and_as_the_server_reads_them(database: Any) -> None:
    rng = np.random.default_rng(0)
    columns = [
        Column("text"),
        Column("vector", 3),
        Column("int2"),
        Column("uuid"),
        Column("halfvec", 2),
        Column("int8"),
        Column("text"),
        Column("int4"),
    ]
    values = [
        ["", "o'ü", "a" * 3000],
        rng.standard_normal((3, 3)).astype(np.float32),
        [-1, 0, 32767],
        [UUID(int=0), UUID(int=1 << 127), UUID(int=255)],
        np.array([[0.5, -2.0], [1.0, 0.0], [3.0, 65504.0]], np.float32),
        [-(2**63), 0, 2**63 - 1],
        ["x\ty\n", "%s", "{}"],
        [-5, 0, 2**31 - 1],
    ]
    places = order(columns)
    data = b"".join(encode([values[place] for place in places], [columns[place] for place in places], 3))
    database.execute("CREATE TABLE t (a int2, b int8, c int4, d uuid, e vector(3), f halfvec(2), g text, h text)")
    names = {0: "g", 1: "e", 2: "a", 3: "d", 4: "f", 5: "b", 6: "h", 7: "c"}
    target = sql.SQL("COPY t ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.SQL(", ").join(sql.Identifier(names[place]) for place in places)
    )
    with database.cursor() as cursor, cursor.copy(target) as copy:
        copy.write(data)
    rows = database.execute("SELECT a, b, c, d, f::text, g, h FROM t ORDER BY c").fetchall()
    assert rows[0] == (-1, -(2**63), -5, UUID(int=0), "[0.5,-2]", "", "x\ty\n")
    assert rows[2] == (32767, 2**63 - 1, 2**31 - 1, UUID(int=255), "[3,65504]", "a" * 3000, "{}")
    fields = [(sql.SQL("s.{}").format(sql.Identifier(names[place])), columns[place]) for place in range(len(columns))]
    for rest, rows_read in (("FROM t s ORDER BY c", slice(None)), ("FROM t s WHERE c < -9", slice(0))):
        for expected, result in zip(values, read_rows(database, fields, sql.SQL(rest)), strict=True):
            np.testing.assert_array_equal(result, expected[rows_read])
    assert read_rows(database, fields[:1], sql.SQL("FROM t s ORDER BY c")) == [values[0]]
