"""Embeddings from files, Arrow tables, data frames and Hugging Face datasets, and back. Imports pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embcompat.embeddings.values import Embeddings
from embcompat.errors import FileFormatError, InputError, MissingExtraError
from embcompat.files.columns import ROW_NUMBERS_KEY, Columns, find_roles
from embcompat.files.reading.sources import TableSource, with_pandas_range
from embcompat.files.reading.streams import SEQUENTIAL_ROWS, VectorFile
from embcompat.files.validation import UNIT_NORM_TOLERANCE, as_array, validate_strings, validate_vectors
from embcompat.files.vectors import ROW_GROUP_ROWS, SPACE_KEY, embeddings_schema, space_of, vectors_to_arrow
from embcompat.files.writing.atomic import atomic_path
from embcompat.similarities import Similarity
from embcompat.spaces import SpaceVersion, parse_space_id, require_space

if TYPE_CHECKING:
    import datasets


def write_parquet(embeddings: Embeddings, path: Path) -> None:
    """Write embeddings as Parquet; the file appears only when complete."""
    with atomic_path(path) as temporary:
        pq.write_table(to_table(embeddings), temporary, row_group_size=ROW_GROUP_ROWS, compression="none")


def to_table(embeddings: Embeddings) -> pa.Table:
    """Return embeddings as an Arrow table with the columns of `Embeddings.save`."""
    columns = [pa.array(embeddings.ids, pa.string()), vectors_to_arrow(embeddings.vectors)]
    if embeddings.labels is not None:
        columns.append(pa.array(embeddings.labels, pa.string()))
    if embeddings.texts is not None:
        columns.append(pa.array(embeddings.texts, pa.string()))
    has_labels, has_texts = embeddings.labels is not None, embeddings.texts is not None
    schema = embeddings_schema(embeddings.space, labels=has_labels, texts=has_texts)
    if embeddings.row_numbers:
        schema = schema.with_metadata({**schema.metadata, ROW_NUMBERS_KEY: b"true"})
    return pa.table(columns, schema=schema)


def read_embeddings(
    file: VectorFile, space: SpaceVersion | str | None = None, *, similarity: Similarity = "cosine"
) -> Embeddings:
    """Read a whole file of vectors.

    Args:
        file: What `embcompat.files.open_vectors` opened.
        space: Its space, or ``name@version``: the rest is then told by the vectors and ``similarity``.
        similarity: How a space that is given by its name compares vectors.

    Raises:
        InputError: If nothing says the space, or the file names another.
        FileFormatError: If the file does not hold embeddings; names the file, the column and the first bad row.
    """
    if isinstance(space, SpaceVersion):
        if file.space is not None:
            require_space(file.space, space, what=str(file.path))
        file = VectorFile(file.source, file.roles, space)
    elif isinstance(space, str) and file.space is not None and file.space.id != space:
        raise InputError(f"{file.path} must be in space {space!r}. It says {file.space.id!r}.")
    if file.space is None and space is None:
        raise FileFormatError(
            f"{file.path} does not name its space. Say which one it is (space=…): name@version, for instance ada@2."
        )
    vectors = np.empty((file.rows, file.dim), dtype=np.float32)
    ids: list[str] = []
    labels: list[str] | None = None if file.roles.label is None else []
    texts: list[str] | None = None if file.roles.text is None else []
    columns = list(dict.fromkeys(name for name in (file.roles.id, file.roles.label, file.roles.text) if name))
    for block in file.blocks(0, SEQUENTIAL_ROWS, columns):
        vectors[block.start : block.start + len(block)] = block.vectors
        ids += file.ids(block)
        if labels is not None:
            labels += file.labels(block) or []
        if texts is not None:
            texts += file.texts(block) or []
    stated = file.space or describe_space(vectors, str(space), similarity)
    where = f"{file.path}: column"
    try:
        names = validate_strings(ids, len(vectors), what=f"{where} {file.roles.id or 'id'}", unique=True)
        marks = validate_strings(labels, len(vectors), what=f"{where} {file.roles.label}")
        words = validate_strings(texts, len(vectors), what=f"{where} {file.roles.text}", empty=True)
        if file.space is None:  # only now can the vectors be judged
            vectors = validate_vectors(vectors, stated, what=f"{where} {file.roles.vectors[0]}")
    except InputError as error:
        raise FileFormatError(str(error)) from error
    return Embeddings.trusted(vectors, names, stated, marks, words, row_numbers=file.roles.row_numbers)


def describe_space(vectors: NDArray[np.float32], space_id: str, similarity: Similarity) -> SpaceVersion:
    """Make the space of vectors (n, dim) from ``name@version``: it is normalized when every vector has unit norm."""
    name, version = parse_space_id(space_id)
    norms = (np.linalg.norm(vectors[start : start + 65_536], axis=1) for start in range(0, len(vectors), 65_536))
    normalized = all(bool((np.abs(block - 1) <= UNIT_NORM_TOLERANCE).all()) for block in norms)
    return SpaceVersion(
        name=name,
        version=version,
        dim=vectors.shape[1],
        similarity=similarity,
        normalized=normalized and len(vectors) > 0,
    )


def from_table(
    table: Any,
    space: SpaceVersion | str | None,
    *,
    similarity: Similarity = "cosine",
    columns: Columns = Columns(),  # noqa: B008
    where: str,
) -> Embeddings:
    """Take embeddings from an Arrow table, or whatever gives one; see `read_embeddings`."""
    if not hasattr(table, "__arrow_c_stream__"):
        raise InputError(f"the table must be one of Arrow, polars or DuckDB. Got {type(table).__name__}.")
    table = table if isinstance(table, pa.Table) else pa.table(table)
    source = with_pandas_range(TableSource(Path(where), table))
    roles = find_roles(source.schema, columns, where=where)
    file = VectorFile(source, roles, space_of(table.schema, where))
    return read_embeddings(file, space, similarity=similarity)


def from_pandas(frame: Any, space: SpaceVersion | str | None, **options: Any) -> Embeddings:
    """Take embeddings from a pandas data frame; see `Embeddings.from_pandas`."""
    if not hasattr(frame, "iloc"):
        raise InputError(f"frame must be a pandas data frame. Got {type(frame).__name__}. Others have from_arrow.")
    tensors = [name for name in frame.columns if len(frame) and hasattr(frame[name].iloc[0], "detach")]
    frame = frame.assign(
        **{name: [as_array(value, what=f"column {name}") for value in frame[name]] for name in tensors}
    )
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reasons = "; ".join(str(reason) for reason in reversed(error.args))
        raise InputError(
            f"the data frame must hold one type in each column. Got: {reasons}. Ids and labels of several types become "
            "strings with astype(str)."
        ) from error
    return from_table(table, space, where="the data frame", **options)


def to_dataset(embeddings: Embeddings) -> datasets.Dataset:
    """Return a Hugging Face dataset; see `Embeddings.to_dataset`."""
    hf = _import_datasets()
    dataset = hf.Dataset(to_table(embeddings))
    dataset.info.description = embeddings.space.to_json()
    return dataset.with_format("arrow")


def from_dataset(dataset: datasets.Dataset, space: SpaceVersion | str | None, **options: Any) -> Embeddings:
    """Take embeddings from a Hugging Face dataset; see `Embeddings.from_dataset`."""
    hf = _import_datasets()
    if isinstance(dataset, (hf.DatasetDict, hf.IterableDatasetDict)):
        raise InputError(f"dataset must be one split. Got {', '.join(dataset)}: pass dataset[{next(iter(dataset))!r}].")
    if isinstance(dataset, hf.IterableDataset):
        raise InputError(
            "dataset must be in memory or on disk. Got an IterableDataset: pass Dataset.from_list(list(it))."
        )
    if not isinstance(dataset, hf.Dataset):
        raise InputError(f"dataset must be a Hugging Face dataset. Got {type(dataset).__name__}.")
    table = dataset.with_format("arrow")[:]
    metadata = table.schema.metadata or {}
    if SPACE_KEY not in metadata and _is_space(dataset.info.description):
        table = table.replace_schema_metadata({**metadata, SPACE_KEY: dataset.info.description.encode()})
    return from_table(table, space, where="the dataset", **options)


def _is_space(description: str | None) -> bool:
    """Say whether a description is the space that `to_dataset` writes; people write other descriptions there."""
    try:
        SpaceVersion.from_json(description or "")
    except InputError:
        return False
    return True


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "embcompat[datasets]", "A Hugging Face dataset") from error
    return datasets
