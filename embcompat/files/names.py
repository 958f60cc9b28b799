"""Column names that are recognized; the first one present is used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from embcompat.errors import FileFormatError

ID_COLUMNS: Final = (
    "id", "_id", "docid", "doc_id", "doc-id", "corpus-id", "corpus_id", "pid", "query_id", "query-id", "qid",
    "custom_id", "ids",
)  # fmt: skip
VECTOR_COLUMNS: Final = ("vector", "embedding", "embeddings", "emb", "values")
LABEL_COLUMNS: Final = ("label", "labels")
TEXT_COLUMNS: Final = ("text",)

PLURALS: Final = frozenset({"ids", "labels"})
"""Names that a column with one list per row may have, too; then it is not the ids or labels."""


def pick_column(
    names: Sequence[str], chosen: str | None, usual: Iterable[str | None], *, where: str, option: str
) -> str | None:
    """Return the chosen column, or else the first of the usual names that exists.

    Raises:
        FileFormatError: If the chosen column does not exist.
    """
    if chosen is None:
        return next((name for name in usual if name in names), None)
    if chosen not in names:
        raise FileFormatError(f"{where} has no column {chosen!r} ({option}). It has {', '.join(names) or 'none'}.")
    return chosen
