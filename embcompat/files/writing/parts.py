"""Files of vectors that are written piece by piece, survive a kill in between, and appear only when complete.

While a file is written there are two hidden files beside it: ``.NAME.part``, to which finished pieces are appended, and
``.NAME.journal``, JSON lines: first what is being written, then for each piece the rows and bytes so far. A piece
counts once its line is written; bytes after the last counted piece are cut off when the run resumes. A file for an
object store is written to the temporary folder of this machine in the same way, and uploaded when it is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, final

from pydantic import JsonValue

from embcompat.errors import InputError, StoreError
from embcompat.files.objects import Location, ObjectPath
from embcompat.files.writing.atomic import write_all
from embcompat.files.writing.pieces import PieceFormat

FLUSH_BYTES = 32 << 20
"""Bytes after which the disk is told to begin writing [ours]."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@final
class PartFile:
    """A file of which some pieces are written.

    Attributes:
        path: Path of the pieces.
        rows: Rows written so far.
    """

    def __init__(
        self, target: Location, journal: FileIO, part: FileIO, ends: list[int], rows: int, flusher: ThreadPoolExecutor
    ) -> None:
        self.path, self.rows = part_path(target), rows
        self._target, self._journal, self._part, self._ends = target, journal, part, ends
        self._flusher, self._flushed = flusher, part.tell()
        self._flushing: Future[None] | None = None

    def append(self, piece: memoryview, rows: int) -> None:
        """Append a piece of ``rows`` rows; it survives a kill from here on."""
        write_all(self._part, piece)
        self.rows += rows
        self._ends.append(self._part.tell())
        _write_line(self._journal, {"rows": self.rows, "end": self._ends[-1]})
        if self._ends[-1] - self._flushed >= FLUSH_BYTES and (self._flushing is None or self._flushing.done()):
            self._flush()

    def _flush(self) -> None:
        """Start writing to the disk while more rows are converted."""
        self._check_flush()
        self._flushing, self._flushed = self._flusher.submit(os.fdatasync, self._part), self._part.tell()

    def _check_flush(self) -> None:
        """Wait for the disk, which reports a failed write only once."""
        if self._flushing is not None:
            self._flushing.result()

    def close_with(self, layout: PieceFormat) -> None:
        """Append the end of the file, so that it can be read under its hidden name."""
        write_all(self._part, layout.tail(self.path, self._ends))

    def publish(self, headers: Mapping[str, str] | None = None) -> None:
        """Give the file its name, replacing any file there, in one step; afterwards a power cut loses nothing.

        Args:
            headers: Headers that an object store keeps with an object, for instance its content type.
        """
        self._check_flush()
        if isinstance(self._target, ObjectPath):
            self._target.upload(self.path, headers)
            self.path.unlink()
        else:
            os.fsync(self._part)
            os.replace(self.path, self._target)
        journal_path(self._target).unlink()


def part_path(target: Location) -> Path:
    """Return the path of the pieces of ``target`` while it is written."""
    return _beside(target, "part")


def journal_path(target: Location) -> Path:
    """Return the path of the journal of ``target`` while it is written."""
    return _beside(target, "journal")


def _beside(target: Location, what: str) -> Path:
    """Return the path of a hidden file beside the target; for an object store, in a folder of our own on this machine.

    Raises:
        InputError: If that folder belongs to somebody else.
    """
    if isinstance(target, Path):
        return target.with_name(f".{target.name}.{what}")
    folder = Path(tempfile.gettempdir()) / f"embcompat-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise InputError(f"{folder} must be a folder of this user that nobody else can open. Remove it, or set TMPDIR.")
    return folder / f"{hashlib.sha256(target.place().encode()).hexdigest()[:32]}.{what}"


@contextmanager
def open_part(
    target: Location, layout: PieceFormat, *, identity: Mapping[str, JsonValue], resume: bool
) -> Iterator[PartFile]:
    """Start writing ``target``, or resume an interrupted run that was writing the same thing.

    Pieces are not flushed to the disk one by one: they survive the end of the process, not of the operating system,
    so after a restart of the machine writing starts from the beginning.

    Args:
        target: The file to write.
        layout: How its pieces are encoded.
        identity: What is written, as JSON. A run resumes only if it is the same.
        resume: Whether to resume; False starts from the beginning.

    Raises:
        InputError: If the folder does not exist.
        StoreError: If another process is writing the same file.
    """
    if isinstance(target, Path) and not target.parent.is_dir():
        raise InputError(f"the folder of {target} does not exist. Create it first.")
    first: dict[str, JsonValue] = {
        "identity": dict(identity),
        "boot": _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "",
    }
    with (
        _locked_journal(target) as journal,
        part_path(target).open("ab", buffering=0) as part,
        ThreadPoolExecutor(1, "flush") as flusher,
    ):
        lines = _read_lines(journal)
        while len(lines) > 1 and lines[-1][0]["end"] > part.tell():
            lines.pop()
        if resume and lines and lines[0][0] == first:
            ends, rows = [line["end"] for line, _ in lines[1:]], lines[-1][0].get("rows", 0)
            journal.truncate(lines[-1][1])
        else:
            ends, rows = [], 0
            journal.truncate(0)
            _write_line(journal, first)
        end = ends[-1] if ends else 0
        if part.tell() > end:  # a file that was ever truncated to nothing, ext4 flushes when it is closed
            part.truncate(end)
        if not ends:
            write_all(part, layout.head())
        pieces = PartFile(target, journal, part, ends, rows, flusher)
        try:
            yield pieces
        except BaseException:
            if pieces.rows == 0:  # nothing to resume
                part_path(target).unlink()
                journal_path(target).unlink()
            raise


@contextmanager
def _locked_journal(target: Location) -> Iterator[FileIO]:
    path = journal_path(target)
    with path.open("ab+", buffering=0) as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"another process is writing {target}. Wait for it, or stop it.") from error
        if not path.exists() or not os.path.samestat(os.fstat(journal.fileno()), path.stat()):
            raise StoreError(f"another process has just written {target}. Start again to write it once more.")
        yield journal


def _read_lines(journal: FileIO) -> list[tuple[dict[str, Any], int]]:
    """Return the complete lines and where each ends; a line that a kill tore is left out."""
    journal.seek(0)
    lines: list[tuple[dict[str, Any], int]] = []
    position = 0
    for raw in journal.readall().splitlines(keepends=True):
        position += len(raw)
        try:
            line = json.loads(raw)
        except ValueError:
            return lines
        if not raw.endswith(b"\n"):
            return lines
        lines.append((line, position))
    return lines


def _write_line(journal: FileIO, line: Mapping[str, JsonValue]) -> None:
    write_all(journal, json.dumps(line, sort_keys=True).encode() + b"\n")
