"""Triggers that keep the two vector columns of a row in step with what the application writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from psycopg import sql

from embcompat.stores.postgres import triggers as pg_triggers
from embcompat.stores.postgres.session import Session

CHANGED: Final = ""
"""What stands for the space of an empty vector in the new column whose source the application wrote."""


def add_stale_trigger(session: Session) -> None:
    """Empty the new column of every row whose vector in service, or the text beside it, changes from now on.

    Triggers run in the order of their names: this one comes behind those that may set the vector.
    """
    _add_trigger(session, "zz_stale", "stale")


def create_stale_function(session: Session) -> None:
    """Make the function that empties the new column of a row whose vector changes.

    With a condition, a row that moves in is emptied too; a row that is left out has the same vector in both columns.
    """
    clear = _emptied(session.target.side)
    body = sql.SQL(
        "{declare} BEGIN {look} IF TG_OP = 'UPDATE' AND {same}{same_text} AND inside = before "
        "THEN RETURN NEW; END IF; IF NOT inside THEN {copy} RETURN NEW; END IF; {clear} "
        "IF NEW.{c} IS NOT NULL THEN NEW.{space} := {changed}; END IF; RETURN NEW; END"
    ).format(
        declare=_DECLARE,
        look=_look(session),
        same=_same(session),
        same_text=sql.SQL("")
        if session.job.text_column is None
        else sql.SQL(" AND NEW.{0} IS NOT DISTINCT FROM OLD.{0}").format(sql.Identifier(session.job.text_column)),
        copy=sql.SQL("{} {}").format(clear, _copied(session, session.target.side)),
        clear=clear,
        c=session.table.vectors,
        space=session.target.provenance("space"),
        changed=sql.Literal(CHANGED),
    )
    pg_triggers.create_function(session, "stale", body)


def add_part_trigger(session: Session, *, old_column: str | None) -> None:
    """Keep the vectors of two spaces apart after the cutover of a part.

    A row takes no vector into the part, or out of it, that belongs on the other side; a transaction that declares the
    new space may take one out.

    Args:
        session: The session.
        old_column: The column that a rollback brings back. It has the same vector as the one in service where a row is
            left out of the part, and none where a row came in since.
    """
    space = session.job.target.id
    moved_in = f"this row moves to where vectors must be in space {space}: write its vector in the same statement"
    moved_out = f"this row moves to where vectors are not in space {space}: write its vector in the same statement"
    body = sql.SQL(
        "{declare} BEGIN {look} IF TG_OP = 'UPDATE' AND {same} AND inside = before THEN RETURN NEW; END IF; "
        "IF NOT inside THEN IF before AND {same} AND NEW.{c} IS NOT NULL THEN {read} IF NOT {space} = ANY (declared) "
        "THEN RAISE EXCEPTION {moved_out} USING ERRCODE = 'check_violation'; END IF; END IF; "
        "IF before AND NOT ({same}) AND NEW.{s} IS NOT DISTINCT FROM OLD.{s} THEN {reset} END IF; "
        "{copy} RETURN NEW; END IF; "
        "IF before OR TG_OP = 'INSERT' THEN RETURN NEW; END IF; "
        "IF {same} AND NEW.{c} IS NOT NULL AND NEW.{s} IS DISTINCT FROM {space} "
        "THEN RAISE EXCEPTION {moved_in} USING ERRCODE = 'check_violation'; END IF; {forget} RETURN NEW; END"
    ).format(
        declare=_DECLARE,
        look=_look(session),
        read=pg_triggers.READ_DECLARATION,
        same=_same(session),
        c=session.table.vectors,
        s=session.table.provenance("space"),
        space=sql.Literal(space),
        reset=_emptied(session.table.side[1:]),  # what is written outside the part is of no known space
        moved_in=sql.Literal(moved_in.replace("%", "%%")),
        moved_out=sql.Literal(moved_out.replace("%", "%%")),
        copy=sql.SQL("") if old_column is None else _copied(session, replace(session.table, column=old_column).side),
        forget=sql.SQL("")
        if old_column is None
        else sql.SQL("NEW.{} := NULL; NEW.{} := NULL;").format(
            sql.Identifier(old_column), session.table.provenance("source")
        ),
    )
    pg_triggers.create_function(session, "part", body)
    pg_triggers.drop_trigger(session, "zz_part")
    _add_trigger(session, "zz_part", "part")


_DECLARE: Final = sql.SQL("DECLARE inside boolean := true; before boolean := TG_OP = 'UPDATE'; declared text[];")


def _look(session: Session) -> sql.Composed:
    """Return the statements that find out whether the row is, and was, one that is migrated."""
    return sql.SQL("{} IF TG_OP = 'UPDATE' THEN {} END IF;").format(
        pg_triggers.about_row(session, "NEW", "inside := ({}) IS TRUE;"),
        pg_triggers.about_row(session, "OLD", "before := ({}) IS TRUE;")
        if session.table.condition
        else sql.SQL("NULL;"),
    )


def _same(session: Session) -> sql.Composed:
    """Return the condition that an update leaves the vector in service as it is."""
    same = "(NEW.{c} IS NULL) = (OLD.{c} IS NULL) AND (NEW.{c} IS NULL OR NEW.{c} OPERATOR({e}.=) OLD.{c})"
    return sql.SQL(same).format(c=session.table.vectors, e=pg_triggers.equality_schema(session))


def _copied(session: Session, side: list[str]) -> sql.Composed:
    """Return the statements that give a column, and its provenance, what the column in service has.

    The session must have read the table before the cutover, when the old column has its name.
    """
    columns = {session.table.column, *session.table.others}
    return sql.SQL(" ").join(
        sql.SQL("NEW.{} := NEW.{};").format(sql.Identifier(other), sql.Identifier(name))
        for other, name in zip(side, session.table.side, strict=True)
        if name in columns
    )


def _emptied(names: Sequence[str]) -> sql.Composed:
    """Return the statements that empty columns of a row."""
    return sql.SQL(" ").join(sql.SQL("NEW.{} := NULL;").format(sql.Identifier(name)) for name in names)


def _add_trigger(session: Session, kind: str, function: str) -> None:
    trigger = sql.Identifier(session.names.trigger(kind))
    session.execute(
        sql.SQL("CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
            trigger, session.table.identifier, session.names.function(function)
        )
    )
    session.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(session.table.identifier, trigger))
