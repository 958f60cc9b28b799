"""Files that are a gallery as a whole: a new file beside the old one, and names that change places.

Applications open the file by its name and replace it when they change it. While a migration runs, target vectors are
kept in ``.NAME.ID.part``; from them a file of the same kind is made as ``NAME.ID``. At the cutover the old file gets a
second name, ``NAME.old_ID``, and the new one takes the first, each in one step. Two more files say which files are in
which space, ``.NAME.embcompat.json``, and what was put into service, ``.NAME.ID.rows``. How far a migration is follows
from the files themselves, never from a note of a step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import StoreError
from embcompat.files.writing.atomic import atomic_path
from embcompat.spaces import Similarity
from embcompat.stores.base import GalleryStore
from embcompat.stores.digests import with_texts
from embcompat.stores.files.layouts import Contents, FileLayout, require_places, require_range
from embcompat.stores.files.names import JobFiles, other_old_sides
from embcompat.stores.files.notes import FileNotes, identity_key
from embcompat.stores.files.records import RecordFile
from embcompat.stores.files.served import load_served, save_served
from embcompat.stores.files.texts import text_obstacles, texts_of
from embcompat.stores.values import Coverage, Finish, Job, Obstacle, Pairs, Rows, State, TargetRows, no_target_side

_BATCH_BYTES = 16 << 20

SWITCH_TRIES = 10
"""Times that a cutover starts again because an application has replaced the file meanwhile [ours]."""


@final
class FileGallery(GalleryStore):
    """A file of vectors; see `GalleryStore`.

    Args:
        url: Where it is, as the user wrote it.
        path: The file.
        layout: How files of this kind are read and written.

    Attributes:
        url: As given.
        batch_size: Rows of one write.
        keeps_norms: Always.
        tolerance: Vectors are stored as float32 until the cutover, then in the type of the old ones.
    """

    keeps_norms = True
    reads_texts = takes_texts = writes_index = True
    tolerance = 1e-4

    def __init__(self, url: str, path: Path, layout: FileLayout) -> None:
        self.url = url
        self._path, self._layout = path, layout
        self._notes = FileNotes(path)
        self._contents: tuple[str, Contents] | None = None
        self._known_records: dict[str, RecordFile] = {}
        self.batch_size = max(1024, _BATCH_BYTES // (4 * layout.dim(path)))

    def dim(self) -> int:
        """Return the length of the vectors in service."""
        return int(self._read().vectors.shape[1])

    def state(self, job: Job) -> State:
        """Return how far the job is, read from the files that are there."""
        known = self._notes.known(self._path)
        space = self._layout.space(self._path) if known is None else known.space
        ours = known is not None and known.artifact == job.artifact_id
        if self._files(job).old.exists() and (ours or self._files(job).was_switched()):
            return State("cut_over", space)
        started = self._records(job).path.exists()
        return State("finished" if ours else "prepared" if started else "untouched", space)

    def obstacles(self, job: Job) -> list[Obstacle]:
        """Return what a file of this kind cannot hold of the new space."""
        contents, kept = self._read(), other_old_sides(self._files(job), job)
        return [*kept, *self._layout.obstacles(job, contents), *text_obstacles(self._layout, contents, job)]

    def _prepare(self, job: Job) -> None:
        """Start the file of target vectors."""
        self._files(job).remove_temporary()
        self._records(job).path.touch()

    def scan(self, job: Job, *, batch_size: int, missing_only: bool, claim: bool = False) -> Iterator[Rows]:  # noqa: ARG002
        """Go through the file in its order, and past rows whose target vector is right."""
        contents, latest = self._read(), self._records(job).latest()
        hits, places = latest.find(contents.keys)
        recorded = np.zeros(len(contents.keys), np.int64)
        recorded[hits] = latest.sources[places]
        texts = texts_of(self._layout, contents, job)
        chosen = np.flatnonzero(~hits if missing_only else recorded != with_texts(contents.digests, texts))
        for start in range(0, len(chosen), batch_size):
            rows = chosen[start : start + batch_size]
            chosen_texts = None if texts is None else list(texts[rows])
            yield Rows(contents.ids(rows), contents.vectors_at(rows), recorded[rows], chosen_texts)

    def write(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32], digests: NDArray[np.int64]) -> None:
        """Append records, but none over native ones that were written beside the same source vectors."""
        keys, latest = self._layout.keys(ids), self._records(job).latest()
        hits, places = latest.find(keys)
        replaceable = np.ones(len(keys), bool)
        replaceable[hits] = ~(latest.native[places] & (latest.sources[places] == digests[hits]))
        if not replaceable.all():
            keys, digests, vectors = keys[replaceable], digests[replaceable], vectors[replaceable]
        require_range(self._read(), vectors, where=self.url)
        self._records(job).append(keys, digests, vectors)

    def write_native(self, job: Job, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Append native records; once the new file is in service, write it again with these vectors and replace it."""
        phase, keys = self.state(job).phase, self._layout.keys(ids)
        if phase == "untouched":
            raise no_target_side(self.url)
        require_range(self._read(), vectors, where=self.url)
        written = 0
        if phase in ("prepared", "cut_over"):
            latest = self._records(job).latest()
            hits, places = latest.find(keys)
            self._records(job).append(keys[hits], latest.sources[places], vectors[hits], native=True)
            written = len(places)
        if phase in ("cut_over", "finished"):
            written = self._replace_served(job, keys, vectors)
        return written

    def read_target(self, job: Job, ids: Sequence[str]) -> TargetRows:
        """Read the given rows of the new file, or of the records that it will be made from."""
        keys = self._layout.keys(ids)
        if self.state(job).phase in ("untouched", "prepared"):
            latest = self._records(job).latest()
            hits, places = latest.find(keys)
            native, vectors = latest.native[places], self._records(job).vectors(latest.numbers[places])
        else:
            contents = self._read()
            hits, places = contents.find(keys)
            same, natives = load_served(self._files(job).rows).match(contents)
            hits[hits] = same[places]
            places = places[same[places]]
            native, vectors = natives[places], contents.vectors[places]
        return TargetRows([ids[row] for row in np.flatnonzero(hits).tolist()], vectors, native)

    def discard(self, job: Job, ids: Sequence[str]) -> None:
        """Append records that there is no vector."""
        self._records(job).append(self._layout.keys(ids), np.zeros(len(ids), np.int64), None)

    def read(self, job: Job, ids: Sequence[str]) -> Pairs:
        """Read both sides of the given rows."""
        contents, latest, keys = self._read(), self._records(job).latest(), self._layout.keys(ids)
        common = keys[contents.find(keys)[0] & latest.find(keys)[0]]
        here, there = contents.find(common)[1], latest.find(common)[1]
        target = self._records(job).vectors(latest.numbers[there])
        texts = None if (every := texts_of(self._layout, contents, job)) is None else list(every[here])
        return Pairs(contents.ids(here), contents.vectors[here], target, latest.native[there], texts)

    def sample(self, job: Job, count: int, *, seed: int) -> Sequence[str]:
        """Return ids at random."""
        contents, latest = self._read(), self._records(job).latest()
        present = contents.find(latest.keys[~latest.native])[1]
        chosen = np.random.default_rng(seed).choice(present, size=min(count, len(present)), replace=False)
        return contents.ids(chosen)

    def coverage(self, job: Job) -> Coverage:
        """Count rows; target vectors of rows that are gone are simply not put into the new file."""
        contents = self._read()
        if self.state(job).phase in ("untouched", "prepared"):
            latest = self._records(job).latest()
            hits, places = latest.find(contents.keys)
            return Coverage(len(contents.keys), 0, int(hits.sum()), 0, int(latest.native[places].sum()))
        same, native = load_served(self._files(job).rows).match(contents)
        return Coverage(len(contents.keys), 0, int(same.sum()), 0, int(native.sum()))

    def index_kind(self) -> str | None:
        """Return the kind of index in the file."""
        return self._layout.index_kind(self._read())

    def target_metric(self, job: Job) -> Similarity | None:
        """Return the metric of the new file, once it is written."""
        return self._layout.metric(self._files(job).new, job) if self._files(job).new.exists() else None

    def build_index(self, job: Job) -> None:
        """Write the new file from the target vectors, unless it is written from the same ones already."""
        files, contents, latest = self._files(job), self._read(), self._records(job).latest()
        stamp = f"{identity_key(self._path)} {files.records.stat().st_size}"
        metric = None if job.metric is None else self.target_metric(job)
        if self._notes.is_built(job, files.new, stamp) and metric in (None, job.metric):
            return
        job = replace(job, metric=job.metric or self.target_metric(job))
        convertible, places = latest.find(contents.keys)
        require_places(contents, convertible, where=self.url)
        vectors = self._records(job).vectors(latest.numbers[places])
        with atomic_path(files.new) as temporary:
            self._layout.write(temporary, contents, np.flatnonzero(convertible), vectors, job)
        written = self._layout.read(files.new, mapped=True)
        save_served(files.rows, written, contents.keys[convertible], latest.keys[latest.native])
        self._notes.add(job, files.new, stamp=stamp)

    def try_write(self, job: Job, rows: Rows, vectors: NDArray[np.float32]) -> float:
        """Write records and a new file from them, with its index, in a temporary folder."""
        contents, keys = self._read(), self._layout.keys(rows.ids)
        with TemporaryDirectory() as folder:
            start = time.perf_counter()
            records = RecordFile(Path(folder) / "records", job.target.dim)
            records.append(keys, rows.digests(), vectors)
            hits, places = records.latest().find(keys)
            again = records.vectors(records.latest().numbers[places])
            self._layout.write(Path(folder) / self._path.name, contents, contents.find(keys)[1][hits], again, job)
            return time.perf_counter() - start

    def stored(self, job: Job, vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ARG002
        """Return vectors as the numbers of the file hold them."""
        return self._read().rounded(vectors)

    def _cutover(self, job: Job, finish: Finish) -> None:
        """Give the old file a second name and the new one the first, once they are of the same rows."""
        for _ in range(SWITCH_TRIES):
            for rows in self.scan(job, batch_size=self.batch_size, missing_only=False):
                self.write(job, *finish(rows))
            self.build_index(job)
            self._files(job).old.unlink(missing_ok=True)
            os.link(self._path, self._files(job).old)
            if self._contents is not None and identity_key(self._files(job).old) == self._contents[0]:
                os.replace(self._files(job).new, self._path)
                return
            self._files(job).old.unlink()
        raise StoreError(f"{self.url} was replaced {SWITCH_TRIES} times while it was cut over. Run the cutover again.")

    def _rollback(self, job: Job) -> int:
        """Give the new file its own name again and the old one the first."""
        new, old = self._layout.read(self._path), self._layout.read(self._files(job).old)
        files = self._files(job)
        files.returned.unlink(missing_ok=True)
        os.link(self._path, files.returned)
        os.replace(files.old, self._path)
        os.replace(files.returned, files.new)
        return int((~old.find(new.keys)[0]).sum())

    def leftovers(self, job: Job) -> list[str]:
        """List the files of the job."""
        files = self._files(job)
        present = filter(Path.exists, [files.new, files.rows, files.old, *files.temporary(), files.records])
        return [f"file {path.name}" for path in present]

    def _abort(self, job: Job) -> None:
        """Delete the files of the job, the one that says how far it is last."""
        files = self._files(job)
        for path in (files.new, files.rows, files.old):
            path.unlink(missing_ok=True)
        files.remove_temporary()
        self._notes.forget(job)
        files.records.unlink(missing_ok=True)

    def _drop_old(self, job: Job) -> None:
        """Delete the target vectors on their way and the old file."""
        self._files(job).remove_temporary()
        self._records(job).path.unlink(missing_ok=True)
        self._files(job).old.unlink(missing_ok=True)

    def _sweep(self, job: Job) -> Iterator[Sequence[str]]:
        """Find rows that are not those that were put into service."""
        contents = self._read()
        same, _ = load_served(self._files(job).rows).match(contents)
        if not same.all():
            yield contents.ids(np.flatnonzero(~same))

    def _read(self) -> Contents:
        """Read the file, again when an application has replaced it."""
        identity = identity_key(self._path)
        if self._contents is None or self._contents[0] != identity:
            self._contents = identity, self._layout.read(self._path)
        return self._contents[1]

    def _replace_served(self, job: Job, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> int:
        contents = self._read()
        hits, places = contents.find(keys)
        replaced = contents.vectors.copy()
        replaced[places] = vectors[hits]
        previous, file = load_served(self._files(job).rows), self._files(job).rows
        ours, native = previous.match(contents)
        ours[places] = native[places] = True
        with atomic_path(self._path) as temporary:
            self._layout.write(temporary, contents, np.arange(len(contents.keys)), replaced, job)
            self._notes.add(job, temporary)
            written = self._layout.read(temporary, mapped=True)
            save_served(file, written, contents.keys[ours], contents.keys[native], previous=previous)
        save_served(file, written, contents.keys[ours], contents.keys[native])
        return len(places)

    def _files(self, job: Job) -> JobFiles:
        return JobFiles(self._path, job.suffix)

    def _records(self, job: Job) -> RecordFile:
        return self._known_records.setdefault(job.suffix, RecordFile(self._files(job).records, job.target.dim))
