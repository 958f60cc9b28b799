"""Files that appear only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from embcompat.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block succeeds, remove it otherwise.

    Raises:
        InputError: If the folder does not exist.
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist. Create it first.")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_all(stream: FileIO, data: bytes | memoryview) -> None:
    """Write all of the data to an unbuffered file: the system may take less than it is given."""
    rest = memoryview(data)
    while len(rest):
        rest = rest[stream.write(rest) :]
