"""Column names that are recognized; the first one present is used."""

from __future__ import annotations

from typing import Final

ID_COLUMNS: Final = (
    "id", "_id", "docid", "doc_id", "doc-id", "corpus-id", "corpus_id", "pid", "query_id", "query-id", "qid",
    "custom_id", "ids",
)  # fmt: skip
VECTOR_COLUMNS: Final = ("vector", "embedding", "embeddings", "emb", "values")
LABEL_COLUMNS: Final = ("label", "labels")
TEXT_COLUMNS: Final = ("text",)

PLURALS: Final = frozenset({"ids", "labels"})
"""Names that a column with one list a row may have, too, and is then something else."""
