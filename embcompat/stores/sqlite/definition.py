"""The statement that made a vec0 table, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from embcompat.errors import InputError
from embcompat.similarities import Similarity

_STATEMENT: Final = re.compile(
    r"\s*CREATE\s+VIRTUAL\s+TABLE\s.*?\sUSING\s+vec0\s*\((.*)\)\s*;?\s*", re.IGNORECASE | re.DOTALL
)
_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_VECTOR: Final = re.compile(r"(\w+)\s+(float|f32|int8|i8|bit)\s*\[\s*(\d+)\s*\](.*)", re.IGNORECASE | re.DOTALL)
_KEY: Final = re.compile(r"(\w+)\s+(\w+)\s+primary\s+key\b", re.IGNORECASE)
_OPTION: Final = re.compile(r"\w+\s*=")
_METRIC: Final = re.compile(r"distance_metric\s*=\s*(\w+)", re.IGNORECASE)

METRICS: Final[dict[Similarity, str]] = {"cosine": "cosine", "euclidean": "L2"}
"""How vec0 names the metrics that it has."""


@dataclass(frozen=True)
class Definition:
    """A vec0 table as it was declared.

    Attributes:
        arguments: What stands between the parentheses, one entry each.
        vector: The vector column that is looked at.
        dim: Length of its vectors.
        metric: How vec0 calls the metric that it is compared by, in lower case.
        key: Name of the key column.
        text_key: Whether keys are texts; otherwise they are integers.
        others: The other columns.
    """

    arguments: tuple[str, ...]
    vector: str
    dim: int
    metric: str
    key: str
    text_key: bool
    others: tuple[str, ...]

    def arguments_for(self, dim: int, metric: Similarity | None) -> str:
        """Return the arguments of a table like this one, with vectors of another length and perhaps another metric."""
        return ", ".join(self._changed(entry, dim, metric) for entry in self.arguments)

    def mark(self, column: str) -> str:
        """Return how a value of another column is written in a statement: vec0 must be told what a blob holds."""
        for entry in self.arguments:
            match = _VECTOR.fullmatch(entry)
            if match is not None and match[1] == column:
                return {"int8": "vec_int8(?)", "i8": "vec_int8(?)", "bit": "vec_bit(?)"}.get(match[2].lower(), "?")
        return "?"

    def _changed(self, entry: str, dim: int, metric: Similarity | None) -> str:
        match = _VECTOR.fullmatch(entry)
        if match is None or match[1].lower() != self.vector.lower():
            return entry
        options = match[4] if metric is None else f"{_METRIC.sub('', match[4])} distance_metric={METRICS[metric]}"
        return f"{match[1]} {match[2]}[{dim}]{options}"


def read_definition(statement: str, vector: str, *, where: str) -> Definition:
    """Take the statement of a vec0 table apart.

    Args:
        statement: The statement.
        vector: The vector column to look at.
        where: What to call the gallery in errors.

    Raises:
        InputError: If it is no vec0 table, or has no such column of floats.

    Example:
        >>> table = "CREATE VIRTUAL TABLE t USING vec0(id TEXT PRIMARY KEY, v float[3] distance_metric=L1, +note TEXT)"
        >>> definition = read_definition(table, "v", where="t")
        >>> definition.dim, definition.key, definition.others
        (3, 'id', ('note',))
        >>> definition.arguments_for(5, None)
        'id TEXT PRIMARY KEY, v float[5] distance_metric=L1, +note TEXT'
    """
    body = _STATEMENT.fullmatch(statement)
    if body is None:
        raise InputError(f"{where}: only vec0 tables of sqlite-vec can be migrated. Got {statement[:80]!r}.")
    arguments = tuple(entry.strip() for entry in _COMMENT.sub(" ", body[1]).split(","))
    names = [entry.lstrip("+ ").split()[0] for entry in arguments if not _OPTION.match(entry)]
    vectors = {match[1].lower(): match for entry in arguments if (match := _VECTOR.fullmatch(entry))}
    column = vectors.get(vector.lower())
    if column is None:
        listed = ", ".join(match[1] for match in vectors.values())
        raise InputError(f"{where}: there is no vector column {vector!r}. Vector columns: {listed}.")
    if column[2].lower() not in ("float", "f32"):
        raise InputError(f"{where}: column {vector!r} must hold floats. It holds {column[2]}.")
    key = next((match for entry in arguments if (match := _KEY.match(entry))), None)
    metric = _METRIC.search(column[4])
    return Definition(
        arguments=arguments,
        vector=column[1],
        dim=int(column[3]),
        metric="l2" if metric is None else metric[1].lower(),
        key="rowid" if key is None else key[1],
        text_key=key is not None and key[2].lower() == "text",
        others=tuple(name for name in names if name != column[1] and (key is None or name != key[1])),
    )
