"""FAISS index files: a new index file beside the old one, and names that change places.

Applications open the index by its name and replace the file when they change it. While a migration runs, converted
vectors are kept in ``.NAME.ID.part``; from them an index of the same kind is built as ``NAME.ID``. At the cutover the
old file gets a second name, ``NAME.old_ID``, and the new one takes the first, each in one step. Two more files,
``.NAME.embcompat.json`` and ``.NAME.ID.rows``, say which files are in which space and what was put into service.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import faiss
import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings.files import atomic_path
from embcompat.errors import InputError, StoreError
from embcompat.spaces import SpaceVersion, require_space
from embcompat.stores.base import Coverage, Finish, Job, Pairs, Rows, State, TargetRows, no_target_side
from embcompat.stores.faiss_index import Contents, build_like, contents, kind_of, read_index
from embcompat.stores.faiss_records import RecordFile
from embcompat.stores.faiss_served import load_served, save_served
from embcompat.stores.url import StoreUrl
from embcompat.stores.vector_files import file_identity

_BATCH_BYTES = 16 << 20


def open_gallery(address: StoreUrl) -> FaissGallery:
    """Open ``faiss:///folder/index.faiss``.

    Raises:
        InputError: If the file is not there or not an index.
    """
    if address.names or address.options:
        raise InputError(f"a FAISS gallery is written faiss:///folder/index.faiss. Got {address.public}.")
    return FaissGallery(address.public, address.path)


@final
class FaissGallery:
    """A FAISS index file; see `embcompat.stores.base.GalleryStore`.

    Attributes:
        url: Where it is.
        batch_size: Rows of one write.
        keeps_norms: Always.
        tolerance: Vectors are stored as float32.
    """

    keeps_norms = True
    tolerance = 1e-4

    def __init__(self, url: str, path: Path) -> None:
        self.url, self._path = url, path
        self._index = read_index(path)
        self._identity = file_identity(path)
        self._contents: Contents | None = None
        self.batch_size = max(1024, _BATCH_BYTES // (4 * self._index.d))

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        self._refresh()
        return int(self._index.d)

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the files that are there."""
        notes, key = self._notes(), _key(file_identity(self._path))
        known = notes["files"].get(key)
        space = None if known is None else SpaceVersion.from_json(known["space"], where=self.url)
        ours = known is not None and known["artifact"] == job.artifact_id
        if self._old(job).exists() and (ours or job.suffix in notes["served"]):
            return State("cut_over", space)
        if ours:
            return State("finished", space)
        return State("prepared" if self._records(job).path.exists() else "untouched", space)

    def prepare(self, job: Job) -> None:
        """Start the file of converted vectors."""
        state = self.state(job)
        if state.phase != "untouched":
            return
        if state.space is not None:
            require_space(state.space, job.source, what=self.url)
        if job.target.similarity == "cosine" and not job.target.normalized:
            raise StoreError(
                f"{self.url}: FAISS compares by inner product or distance, which is cosine for unit vectors only, but "
                f"space {job.target.id!r} is not normalized. Use an artifact whose target is."
            )
        self._read()
        self._records(job).path.touch()

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Go through the index in its order."""
        held = self._read()
        recorded = self._recorded(job, held.ids)
        chosen = np.flatnonzero(recorded == 0) if missing_only else np.arange(len(held.ids))
        for start in range(0, len(chosen), batch_size):
            rows = chosen[start : start + batch_size]
            yield Rows(list(map(str, held.ids[rows].tolist())), held.vectors[rows], recorded[rows])

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Append records, but none over native ones that were written beside the same source vectors."""
        records, numbers = self._records(job), _numbers(ids)
        latest = records.latest()
        found, places = latest.find(numbers)
        kept = np.ones(len(numbers), bool)
        kept[found] = ~(latest.native[places] & (latest.sources[places] == digests[found]))
        self._append(job, numbers[kept], digests[kept], vectors[kept])

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Append native records; once the new index is in service, build it again with these vectors and replace it."""
        phase, wanted = self.state(job).phase, _numbers(ids)
        if phase == "untouched":
            raise no_target_side(self.url)
        written = 0
        if phase in ("prepared", "cut_over"):
            latest = self._records(job).latest()
            found, places = latest.find(wanted)
            self._append(job, wanted[found], latest.sources[places], vectors[found], native=True)
            written = int(found.sum())
        if phase in ("cut_over", "finished"):
            written = self._replace_served(job, wanted, vectors)
        return written

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the given rows of the new index, or of the records that it will be built from."""
        phase, wanted = self.state(job).phase, _numbers(ids)
        if phase in ("untouched", "prepared"):
            latest = self._records(job).latest()
            found, places = latest.find(wanted)
            native, vectors = latest.native[places], self._records(job).vectors(latest.numbers[places])
        else:
            held = self._read()
            same, made = load_served(self._served_rows(job)).match(held.ids, held.vectors)
            found = np.isin(wanted, held.ids[same])
            places = _places(held.ids, wanted[found])
            native, vectors = made[places], held.vectors[places]
        return TargetRows(list(map(str, wanted[found].tolist())), vectors, native)

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Append records that there is no vector."""
        self._append(job, _numbers(ids), np.zeros(len(ids), np.int64), None)

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        held, latest = self._read(), self._records(job).latest()
        wanted = _numbers(ids)
        both = wanted[np.isin(wanted, held.ids) & np.isin(wanted, latest.ids)]
        _, places = latest.find(both)
        target = self._records(job).vectors(latest.numbers[places])
        source = held.vectors[_places(held.ids, both)]
        return Pairs(list(map(str, both.tolist())), source, target, latest.native[places])

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids at random."""
        latest = self._records(job).latest()
        present = latest.ids[~latest.native & np.isin(latest.ids, self._read().ids)]
        chosen = np.random.default_rng(seed).choice(present, size=min(count, len(present)), replace=False)
        return list(map(str, chosen.tolist()))

    def coverage(self, job: Job) -> Coverage:
        """Count rows; converted vectors of rows that are gone are simply not put into the new index."""
        held = self._read()
        if self.state(job).phase in ("untouched", "prepared"):
            latest = self._records(job).latest()
            found, places = latest.find(held.ids)
            return Coverage(len(held.ids), 0, int(found.sum()), 0, int(latest.native[places].sum()))
        same, native = load_served(self._served_rows(job)).match(held.ids, held.vectors)
        return Coverage(len(held.ids), 0, int(same.sum()), 0, int(native.sum()))

    def remove_orphans(self, job: Job) -> int:  # noqa: ARG002
        """There are none."""
        return 0

    def index_kind(self) -> str | None:
        """Return the kind of the index."""
        self._refresh()
        return kind_of(self._index)

    def build_index(self, job: Job) -> None:
        """Build the new index from the converted vectors, unless it is built from the same ones already."""
        held, records = self._read(), self._records(job)
        stamp = f"{_key(self._identity)} {records.path.stat().st_size}"
        notes = self._notes()
        present = _key(file_identity(self._new(job))) if self._new(job).exists() else ""
        if present in notes["files"] and notes["built"].get(job.suffix) == stamp:
            return
        latest = records.latest()
        kept, places = latest.find(held.ids)
        if held.positional and not kept.all():
            raise StoreError(
                f"{self.url}: {int((~kept).sum())} rows could not be converted, and the ids of this index are places "
                "in it: leaving rows out would move all others. Repair these rows, or use an index with an id map."
            )
        vectors = records.vectors(latest.numbers[places])
        self._write_new(job, held.ids[kept], vectors, latest.native[places], stamp=stamp)

    def cutover(self, job: Job, finish: Finish) -> None:  # noqa: ARG002
        """Give the old file a second name and the new one the first."""
        if self.state(job).phase != "prepared":
            return
        self.build_index(job)
        if file_identity(self._path) != self._identity:
            raise StoreError(f"{self.url} was changed meanwhile. Run the cutover again.")
        self._old(job).unlink(missing_ok=True)
        os.link(self._path, self._old(job))
        os.replace(self._new(job), self._path)
        self._mark(job, served=True)

    def rollback(self, job: Job) -> int:
        """Give the new file its own name again and the old one the first."""
        if self.state(job).phase != "cut_over":
            return 0
        new, old = (
            contents(read_index(self._path), where=self.url),
            contents(read_index(self._old(job)), where=self.url),
        )
        self._new(job).unlink(missing_ok=True)
        os.link(self._path, self._new(job))
        os.replace(self._old(job), self._path)
        self._mark(job, served=False)
        return int((~np.isin(new.ids, old.ids)).sum())

    def drop_old(self, job: Job) -> None:
        """Delete the old file and the converted vectors on their way."""
        phase = self.state(job).phase
        if phase not in ("cut_over", "finished"):
            raise StoreError(f"{self.url}: the old side is in service. Cut over before dropping it.")
        self._records(job).path.unlink(missing_ok=True)
        self._old(job).unlink(missing_ok=True)

    def sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows that are not those that were put into service."""
        held = self._read()
        same, _ = load_served(self._served_rows(job)).match(held.ids, held.vectors)
        if not same.all():
            yield list(map(str, held.ids[~same].tolist()))

    def close(self) -> None:
        """Nothing is held open."""

    def _refresh(self) -> None:
        """Read the file again when an application has replaced it."""
        if (identity := file_identity(self._path)) != self._identity:
            self._index, self._identity, self._contents = read_index(self._path), identity, None

    def _read(self) -> Contents:
        self._refresh()
        if self._contents is None:
            self._contents = contents(self._index, where=self.url)
        return self._contents

    def _recorded(self, job: Job, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        latest = self._records(job).latest()
        found, places = latest.find(ids)
        recorded = np.zeros(len(ids), np.int64)
        recorded[found] = latest.sources[places]
        return recorded

    def _append(
        self,
        job: Job,
        ids: NDArray[np.int64],
        sources: NDArray[np.int64],
        vectors: NDArray[np.float32] | None,
        *,
        native: bool = False,
    ) -> None:
        try:
            self._records(job).append(ids, sources, vectors, native=native)
        except OSError as error:
            raise StoreError(f"{self.url}: the rows were refused: {error}") from error

    def _write_new(
        self,
        job: Job,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        native: NDArray[np.bool_],
        *,
        ours: NDArray[np.bool_] | slice = slice(None),
        stamp: str | None = None,
    ) -> None:
        """Build an index like the one in service under the name of the new one, and note which rows are ours."""
        index = build_like(self._index, ids, vectors, job.target)
        with atomic_path(self._new(job)) as temporary:
            faiss.write_index(index, str(temporary))
        save_served(self._served_rows(job), ids[ours], vectors[ours], native[ours])
        notes = self._notes()
        known = {"space": job.target.to_json(), "artifact": job.artifact_id}
        notes["files"][_key(file_identity(self._new(job)))] = known
        if stamp is not None:
            notes["built"][job.suffix] = stamp
        self._save(notes)

    def _replace_served(self, job: Job, wanted: NDArray[np.int64], vectors: NDArray[np.float32]) -> int:
        held = self._read()
        there = np.isin(wanted, held.ids)
        places = _places(held.ids, wanted[there])
        replaced = held.vectors.copy()
        replaced[places] = vectors[there]
        ours, native = load_served(self._served_rows(job)).match(held.ids, held.vectors)
        ours[places] = native[places] = True
        self._write_new(job, held.ids, replaced, native, ours=ours)
        os.replace(self._new(job), self._path)
        return len(places)

    def _records(self, job: Job) -> RecordFile:
        return RecordFile(self._path.with_name(f".{self._path.name}.{job.suffix}.part"), job.target.dim)

    def _new(self, job: Job) -> Path:
        return self._path.with_name(f"{self._path.name}.{job.suffix}")

    def _old(self, job: Job) -> Path:
        return self._path.with_name(f"{self._path.name}.old_{job.suffix}")

    def _served_rows(self, job: Job) -> Path:
        return self._path.with_name(f".{self._path.name}.{job.suffix}.rows")

    @property
    def _notes_path(self) -> Path:
        return self._path.with_name(f".{self._path.name}.embcompat.json")

    def _notes(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"files": {}, "built": {}, "served": []}
        return {**empty, **json.loads(self._notes_path.read_text())} if self._notes_path.exists() else empty

    def _save(self, notes: dict[str, Any]) -> None:
        with atomic_path(self._notes_path) as temporary:
            temporary.write_text(json.dumps(notes, indent=1, sort_keys=True))

    def _mark(self, job: Job, *, served: bool) -> None:
        notes = self._notes()
        notes["served"] = sorted({*notes["served"], job.suffix} if served else {*notes["served"]} - {job.suffix})
        self._save(notes)


def _key(identity: dict[str, Any]) -> str:
    return f"{identity['bytes']}-{identity['mtime_ns']}-{identity['tail_sha256'][:16]}"


def _numbers(ids: Sequence[str]) -> NDArray[np.int64]:
    return np.array(list(map(int, ids)), dtype=np.int64)


def _places(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.intp]:
    order = np.argsort(ids)
    return np.asarray(order[np.searchsorted(ids, wanted, sorter=order)])
