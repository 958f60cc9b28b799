"""Embeddings as Arrow tables: Parquet files and Hugging Face datasets. Imports pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from embcompat.embeddings.values import Embeddings
from embcompat.errors import FileFormatError, InputError, MissingExtraError
from embcompat.files.atomic import atomic_path
from embcompat.files.parquet import open_parquet
from embcompat.files.validation import validate_strings, validate_vectors
from embcompat.files.vectors import (
    ROW_GROUP_ROWS,
    SPACE_KEY,
    embeddings_schema,
    space_of,
    vectors_from_arrow,
    vectors_to_arrow,
)
from embcompat.spaces import SpaceVersion, require_space

if TYPE_CHECKING:
    import datasets


def write_parquet(embeddings: Embeddings, path: Path) -> None:
    """Write embeddings as Parquet; the file appears only when complete."""
    with atomic_path(path) as temporary:
        pq.write_table(_to_table(embeddings), temporary, row_group_size=ROW_GROUP_ROWS, compression="none")


def read_parquet(path: Path, *, space: SpaceVersion | None = None) -> Embeddings:
    """Read embeddings from Parquet; see `Embeddings.load`."""
    file = open_parquet(path)
    try:
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} is damaged: {error}") from error
    return _from_table(table, space=space, where=str(path))


def to_dataset(embeddings: Embeddings) -> datasets.Dataset:
    """Return a Hugging Face dataset; see `Embeddings.to_dataset`."""
    hf = _import_datasets()
    dataset = hf.Dataset(_to_table(embeddings))
    dataset.info.description = embeddings.space.to_json()
    return dataset.with_format("arrow")


def from_dataset(dataset: datasets.Dataset, *, space: SpaceVersion | None = None) -> Embeddings:
    """Take embeddings from a Hugging Face dataset; see `Embeddings.from_dataset`."""
    _import_datasets()
    table = dataset.with_format("arrow")[:]
    if dataset.info.description and SPACE_KEY not in (table.schema.metadata or {}):
        table = table.replace_schema_metadata({SPACE_KEY: dataset.info.description.encode()})
    return _from_table(table, space=space, where="the dataset")


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "embcompat[datasets]", "A Hugging Face dataset") from error
    return datasets


def _to_table(embeddings: Embeddings) -> pa.Table:
    columns = [pa.array(embeddings.ids, pa.string()), vectors_to_arrow(embeddings.vectors)]
    if embeddings.labels is not None:
        columns.append(pa.array(embeddings.labels, pa.string()))
    if embeddings.texts is not None:
        columns.append(pa.array(embeddings.texts, pa.string()))
    has_labels, has_texts = embeddings.labels is not None, embeddings.texts is not None
    return pa.table(columns, schema=embeddings_schema(embeddings.space, labels=has_labels, texts=has_texts))


def _from_table(table: pa.Table, *, space: SpaceVersion | None, where: str) -> Embeddings:
    for name in ("id", "vector"):
        if name not in table.column_names:
            raise FileFormatError(
                f"{where} must have the columns id and vector (and label if there is one). "
                f"Got {', '.join(table.column_names) or 'none'}."
            )
    stated = space_of(table.schema, where)
    if stated is not None and space is not None:
        require_space(stated, space, what=where)
    space = space or stated
    if space is None:
        raise FileFormatError(f"{where} does not name its space. Pass space=SpaceVersion(…).")
    column = f"{where}: column vector"
    vectors = vectors_from_arrow(table.column("vector").combine_chunks(), space.dim, where=column)
    labels = table.column("label").to_pylist() if "label" in table.column_names else None
    texts = None
    if "text" in table.column_names:  # a missing text is one that is not known
        texts = [text if text is not None else "" for text in table.column("text").to_pylist()]
    try:
        return Embeddings.trusted(
            validate_vectors(vectors, space, what=column),
            validate_strings(table.column("id").to_pylist(), len(vectors), what=f"{where}: column id", unique=True),
            space,
            validate_strings(labels, len(vectors), what=f"{where}: column label"),
            validate_strings(texts, len(vectors), what=f"{where}: column text", empty=True),
        )
    except InputError as error:
        raise FileFormatError(str(error)) from error
