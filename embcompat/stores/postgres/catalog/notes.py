"""What applications of a PostgreSQL table must know about the switch."""

from __future__ import annotations

import re

from embcompat.stores.postgres.session import Session


def switch_notes(session: Session, *, one_table: bool) -> list[str]:
    """List what an application may have to change or do, a sentence or two each.

    Args:
        session: The session.
        one_table: Whether both sides are columns of one table.
    """
    column, table = session.table.column, session.table.name
    notes = []
    old, new = (session.text(side.vector_type) for side in (session.table, session.target))
    if old != new:
        notes.append(
            f"Column {column} changes from {old} to {new}: a prepared statement that returns it fails after the switch "
            '("cached plan must not change result type") until its session ends. Renew the connections of your pools '
            "right after the cutover."
        )
    if one_table:
        notes.append(
            f"Column {column} stands last after the cutover, behind the old one: change INSERT and COPY without names "
            "of columns before."
        )
    else:
        notes.append(
            f"The table gains four columns at its end: change COPY {table} without names of columns before the "
            "cutover; SELECT * returns them."
        )
    space = session.job.target.id
    notes.append(
        f"After the cutover, whoever writes vectors must declare their space, {space}: connect with "
        f"options=-c embcompat.space={space}, or run SELECT embcompat_space('{space}') in the transaction. Vectors "
        "without a declaration are refused."
    )
    functions = session.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "JOIN pg_language l ON l.oid = p.prolang WHERE l.lanname IN ('sql', 'plpgsql') "
        "AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prorettype <> 'trigger'::regtype "
        "AND p.prosrc ~ %s ORDER BY 1",
        (rf"\m{re.escape(table)}\M",),
    ).fetchall()
    if functions:
        notes.append(
            f"Functions that name the table: {', '.join(name for (name,) in functions)}. One that returns SELECT * or "
            f"{column} in a RETURNS TABLE must fit the new columns."
        )
    return notes
