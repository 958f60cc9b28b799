"""The directory of an artifact appears only when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embcompat.artifact import MANIFEST
from embcompat.errors import InputError


@contextmanager
def fresh_directory(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary directory beside ``path``; it becomes ``path`` when the block succeeds."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already. Choose another path, or pass overwrite=True to replace it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield directory
        directory.chmod(0o755)
        if path.exists():
            _remove_artifact(path)
        directory.rename(path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_artifact(path: Path) -> None:
    if not any((path / name / MANIFEST).is_file() for name in ("", "forward")):
        raise InputError(f"{path} is not an artifact, so it is not replaced. Choose another path.")
    shutil.rmtree(path)
