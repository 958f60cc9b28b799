"""LanceDB: the converted vectors become a new column of the same table, and cutover renames two columns at once.

Beside the vectors, four columns record where each row came from. They carry these names once they are in service, with
``vector`` the name of the column: ``vector__space`` (id of the space), ``vector__artifact`` (the artifact that
converted it; NULL for a native vector), ``vector__source`` (digest of the source vector) and ``vector__digest`` (digest
of the vector itself). An application that writes native vectors of the new model sets ``vector__space`` to its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import lancedb
import lancedb.index
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embcompat.embeddings.files import SPACE_KEY, vectors_to_arrow
from embcompat.errors import InputError, StoreError
from embcompat.spaces import SpaceVersion, require_space
from embcompat.stores.base import Coverage, Finish, Job, Pairs, Rows, State, vector_digests
from embcompat.stores.keys import KeyCodec
from embcompat.stores.lance_columns import PROVENANCE, family, key_kind, literal, native, quoted, stored, vectors_of
from embcompat.stores.url import StoreUrl

ARTIFACT_KEY: Final = b"embcompat.artifact"

_DISTANCES: Final = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}
_INDEXES: Final = {"IVF_FLAT": "IvfFlat", "IVF_PQ": "IvfPq", "IVF_SQ": "IvfSq", "IVF_RQ": "IvfRq"} | {
    "IVF_HNSW_PQ": "HnswPq",
    "IVF_HNSW_SQ": "HnswSq",
}
_COMMIT_BYTES = 32 << 20


def open_gallery(address: StoreUrl) -> LanceGallery:
    """Open ``lancedb:///folder#table.column?key=id``; several key columns are separated by commas.

    Raises:
        InputError: If the table or a column is not there.
    """
    if len(address.names) != 2:
        raise InputError(f"a LanceDB gallery is written lancedb:///folder#table.column?key=id. Got {address.public}.")
    if not address.path.is_dir():
        raise InputError(f"there is no LanceDB folder {address.path}.")
    table, column = address.names
    database = lancedb.connect(str(address.path))
    try:
        database.open_table(table)
    except ValueError as error:
        raise InputError(f"there is no table {table!r} in {address.path}.") from error
    return LanceGallery(address.public, database, table, column, address.option("key", "id"))


@final
class LanceGallery:
    """A vector column of a LanceDB table; see `embcompat.stores.base.GalleryStore`.

    Attributes:
        url: Where it is.
        batch_size: Rows of one commit: each one rewrites the rows that it touches, so commits are large.
        keeps_norms: Always.
        tolerance: Vectors are stored as float32.
    """

    keeps_norms = True
    tolerance = 1e-4

    def __init__(self, url: str, database: Any, table: str, column: str, keys: tuple[str, ...]) -> None:
        self.url = url
        self._database, self._name, self._column, self._keys = database, table, column, keys
        schema = self._latest().schema
        for name in (column, *keys):
            if name not in schema.names:
                raise InputError(f"{url}: there is no column {name!r}. Columns: {', '.join(schema.names)}.")
        kind = schema.field(column).type
        if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
            raise InputError(f"{url}: column {column!r} must be a fixed_size_list of floats. Got {kind}.")
        self._codec = KeyCodec(tuple(key_kind(schema.field(name), where=url) for name in keys))
        self.batch_size = max(1024, _COMMIT_BYTES // (4 * kind.list_size))

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return int(self._latest().schema.field(self._column).type.list_size)

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the names of the columns."""
        schema = self._latest().schema
        metadata = schema.field(self._column).metadata or {}
        text = metadata.get(SPACE_KEY)
        space = None if text is None else SpaceVersion.from_json(text, where=f"{self.url}: field metadata")
        if self._old(job) in schema.names:
            return State("cut_over", space)
        if self._target(job) in schema.names:
            return State("prepared", space)
        finished = metadata.get(ARTIFACT_KEY) == job.artifact_id.encode()
        return State("finished" if finished else "untouched", space)

    def prepare(self, job: Job) -> None:
        """Add the target column and the provenance columns in one commit."""
        state = self.state(job)
        if state.phase != "untouched":
            return
        if state.space is not None:
            require_space(state.space, job.source, what=self.url)
        table = self._latest()
        keys = table.search().select(list(self._keys)).to_arrow()
        if any(keys.column(name).null_count for name in self._keys):
            raise StoreError(f"{self.url}: a key must not be NULL. Rows without a key cannot be found again.")
        if keys.group_by(list(self._keys)).aggregate([]).num_rows != len(keys):
            raise StoreError(f"{self.url}: keys must be unique. {', '.join(self._keys)} repeats.")
        metadata = {SPACE_KEY: job.target.to_json().encode(), ARTIFACT_KEY: job.artifact_id.encode()}
        target = self._target(job)
        fields = [pa.field(f"{target}__{name}", kind) for name, kind in PROVENANCE.items()]
        table.add_columns([pa.field(target, pa.list_(pa.float32(), job.target.dim), metadata=metadata), *fields])

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Read rows with a vector from a snapshot of the table."""
        recorded = f"{self._target(job)}__source"
        where = f"{quoted(self._column)} IS NOT NULL"
        names = [self._column]
        if recorded in self._latest().schema.names:
            names.append(recorded)
            where += f" AND {quoted(recorded)} IS NULL" if missing_only else ""
        for batch in self._batches(where, names, batch_size):
            vectors, digests = vectors_of(batch.column(self._column)), np.zeros(len(batch), np.int64)
            if recorded in names:
                digests = batch.column(recorded).fill_null(0).to_numpy(zero_copy_only=False)
            yield Rows(self._ids(batch), vectors, digests)

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Write the new columns of existing rows in one commit; rows that are gone are left out."""
        table, target = self._latest(), self._target(job)
        columns = {
            name: pa.array(stored(values, kind), table.schema.field(name).type)
            for name, values, kind in zip(self._keys, self._codec.columns(ids), self._codec.kinds, strict=True)
        }
        columns[target] = vectors_to_arrow(np.ascontiguousarray(vectors, dtype=np.float32))
        columns[f"{target}__space"] = pa.array([job.target.id] * len(ids))
        columns[f"{target}__artifact"] = pa.array([job.artifact_id] * len(ids))
        columns[f"{target}__source"] = pa.array(digests)
        columns[f"{target}__digest"] = pa.array(vector_digests(vectors))
        try:
            table.merge_insert(list(self._keys)).when_matched_update_all().execute(pa.table(columns))
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(f"{self.url}: the rows were refused: {error}") from error

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Clear the target of rows."""
        self._clear(job, self._among(ids))

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        return self._pairs(job, self._latest().search().where(self._among(ids)))

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids of rows at random places of the table."""
        table = self._latest()
        rows = table.count_rows()
        offsets = np.random.default_rng(seed).choice(rows, size=min(rows, 4 * count), replace=False)
        return self._pairs(job, table.take_offsets(sorted(offsets.tolist()))).ids[:count]

    def coverage(self, job: Job) -> Coverage:
        """Count the rows of both sides."""
        table = self._latest()
        source, target = quoted(self._column), f"{self._target(job)}__source"
        made = target in table.schema.names

        def count(present: str) -> int:
            return int(table.count_rows(f"{source} {present} AND {quoted(target)} IS NOT NULL")) if made else 0

        return Coverage(
            rows=table.count_rows(),
            without_vector=table.count_rows(f"{source} IS NULL"),
            converted=count("IS NOT NULL"),
            orphans=count("IS NULL"),
        )

    def remove_orphans(self, job: Job) -> int:
        """Clear the target of rows whose vector was set to NULL meanwhile; deleted rows took theirs along."""
        orphans = self.coverage(job).orphans
        if orphans:
            source = quoted(f"{self._target(job)}__source")
            self._clear(job, f"{quoted(self._column)} IS NULL AND {source} IS NOT NULL")
        return orphans

    def index_kind(self) -> str | None:
        """Return the kind of the vector column's index."""
        name = self._indexes().get(self._column)
        return None if name is None else str(self._latest().index_stats(name).index_type)

    def build_index(self, job: Job) -> None:
        """Build an index of the source column's kind on the target column; it follows the column's rename."""
        kind, table, target = self.index_kind(), self._latest(), self._target(job)
        if kind is None:
            return
        if kind not in _INDEXES:
            raise StoreError(
                f"{self.url}: an index of kind {kind} cannot be built again. Known: {', '.join(_INDEXES)}."
            )
        name = self._indexes().get(target)
        if name is None or table.index_stats(name).num_unindexed_rows:
            config = getattr(lancedb.index, _INDEXES[kind])(distance_type=_DISTANCES[job.target.similarity])
            table.create_index(target, config=config, name=f"{target}_idx")

    def cutover(self, job: Job, finish: Finish) -> None:  # noqa: ARG002
        """Rename the columns of both sides in one commit."""
        if self.state(job).phase == "prepared":
            self._rename({self._column: self._old(job), self._target(job): self._column})

    def rollback(self, job: Job) -> int:
        """Rename the columns back in one commit."""
        if self.state(job).phase == "cut_over":
            self._rename({self._column: self._target(job), self._old(job): self._column})
        target = quoted(self._target(job))
        return int(self._latest().count_rows(f"{quoted(self._column)} IS NULL AND {target} IS NOT NULL"))

    def drop_old(self, job: Job) -> None:
        """Drop the old column and its provenance."""
        phase = self.state(job).phase
        if phase not in ("cut_over", "finished"):
            raise StoreError(f"{self.url}: the old side is in service. Cut over before dropping it.")
        if phase == "cut_over":
            old = self._old(job)
            names = [name for name in self._latest().schema.names if name in family(old)]
            self._latest().drop_columns(names)

    def sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows without provenance of the new space, and converted rows whose vector was replaced."""
        names = [self._column, *(f"{self._column}__{name}" for name in ("space", "artifact", "digest"))]
        for batch in self._batches(f"{quoted(self._column)} IS NOT NULL", names, self.batch_size):
            space, artifact, digest = (batch.column(name).to_pylist() for name in names[1:])
            digests = vector_digests(vectors_of(batch.column(self._column))).tolist()
            flagged = [
                text
                for row, text in enumerate(self._ids(batch))
                if space[row] != job.target.id or (artifact[row] is not None and digest[row] != digests[row])
            ]
            if flagged:
                yield flagged

    def close(self) -> None:
        """Nothing is held open."""

    def _latest(self) -> Any:
        return self._database.open_table(self._name)

    def _among(self, ids: Sequence[str]) -> str:
        keys = zip(*self._codec.columns(ids), strict=True)
        equal = (zip(self._keys, key, strict=True) for key in keys)
        rows = (" AND ".join(f"{quoted(name)} = {literal(value)}" for name, value in key) for key in equal)
        return " OR ".join(f"({row})" for row in rows) or "false"

    def _clear(self, job: Job, where: str) -> None:
        self._latest().update(where=where, values=dict.fromkeys(family(self._target(job))))

    def _indexes(self) -> dict[str, str]:
        return {index.columns[0]: index.name for index in self._latest().list_indices() if len(index.columns) == 1}

    def _target(self, job: Job) -> str:
        return f"{self._column}__{job.suffix}"

    def _old(self, job: Job) -> str:
        return f"{self._column}__old_{job.suffix}"

    def _rename(self, renames: dict[str, str]) -> None:
        names = self._latest().schema.names
        pairs = zip(
            (name for old in renames for name in family(old)),
            (name for new in renames.values() for name in family(new)),
            strict=True,
        )
        self._latest().alter_columns(*({"path": old, "rename": new} for old, new in pairs if old in names))

    def _batches(self, where: str, names: list[str], batch_size: int) -> Iterator[pa.RecordBatch]:
        """Read a snapshot in batches of about ``batch_size`` rows, however small the fragments are."""
        query = self._latest().search().where(where).select([*self._keys, *names])
        held: list[pa.RecordBatch] = []
        rows = 0
        for batch in query.to_batches(batch_size):
            held.append(batch)
            rows += len(batch)
            if rows >= batch_size:
                yield from pa.Table.from_batches(held).combine_chunks().to_batches()
                held, rows = [], 0
        if rows:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()

    def _ids(self, batch: pa.RecordBatch | pa.Table) -> list[str]:
        columns = [batch.column(name).to_pylist() for name in self._keys]
        return self._codec.ids([native(values, kind) for values, kind in zip(columns, self._codec.kinds, strict=True)])

    def _pairs(self, job: Job, query: Any) -> Pairs:
        target = self._target(job)
        table = query.select([*self._keys, self._column, target]).to_arrow().combine_chunks()
        both = pa.compute.and_(table.column(self._column).is_valid(), table.column(target).is_valid())
        table = table.filter(both).combine_chunks()
        sides = [
            vectors_of(pa.concat_arrays(table.column(name).chunks)) if len(table) else None
            for name in (self._column, target)
        ]
        empty = np.empty((0, 0), np.float32)
        return Pairs(self._ids(table), *(empty if side is None else side for side in sides))
