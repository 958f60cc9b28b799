"""Bytes under paths, in a directory or an object store: the part of obstore that the registry needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, final

from embcompat.errors import InputError, RegistryError
from embcompat.redaction import NO_CREDENTIALS, split_secrets


@dataclass(frozen=True)
class Stored:
    """One stored object.

    Attributes:
        path: Its path within the storage.
        size_bytes: Its size.
        modified: When it was last written, with time zone.
    """

    path: str
    size_bytes: int
    modified: datetime


@final
class Storage:
    """Objects in a directory or an object store. A write is seen whole or not at all.

    Args:
        url: A directory, or a URL that obstore knows: ``file://``, ``memory://``, ``s3://``, ``gs://``, ``az://``.
            Credentials and endpoints come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT``, …).
        create: Whether to make the directory.

    Raises:
        InputError: If the URL is not understood or holds credentials, or the directory does not exist.
    """

    def __init__(self, url: str | Path, *, create: bool = False) -> None:
        from obstore.store import LocalStore, from_url

        address = split_secrets(str(url))
        self.url = address.public
        if address.full != address.public:
            raise InputError(f"{self.url}: {NO_CREDENTIALS}")
        if "://" not in self.url and not create and not Path(self.url).is_dir():
            raise InputError(f"there is no folder {self.url!r}. Make one with: embcompat registry init {self.url}")
        try:
            if "://" not in self.url:
                self._store: Any = LocalStore(Path(self.url).absolute(), mkdir=create)
            elif self.url.startswith("file://"):
                self._store = from_url(self.url, mkdir=create)
            else:
                self._store = from_url(self.url)
        except Exception as error:  # obstore raises OSError, ValueError and classes of its own here
            raise InputError(f"no storage can be opened at {self.url!r}: {_first_line(error)}") from error

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless the path is taken; atomic among all writers.

        Returns:
            Whether it was written; False when the path was taken.
        """
        from obstore.exceptions import AlreadyExistsError

        with self._errors("write", path):
            try:
                self._store.put(path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def overwrite(self, path: str, data: bytes) -> None:
        """Write an object, and replace what exists at the path."""
        with self._errors("write", path):
            self._store.put(path, data, use_multipart=False)

    def read(self, path: str) -> bytes | None:
        """Read an object; None when there is none."""
        with self._errors("read", path):
            try:
                return bytes(self._store.get(path).bytes())
            except FileNotFoundError:
                return None

    def need(self, path: str) -> bytes:
        """Read an object that must be there.

        Raises:
            RegistryError: If there is none.
        """
        data = self.read(path)
        if data is None:
            raise RegistryError(f"{path} in {self.url} is missing.")
        return data

    def look(self, path: str) -> Stored | None:
        """Return the size and time of an object; None when there is none."""
        with self._errors("read", path):
            try:
                entry = self._store.head(path)
            except FileNotFoundError:
                return None
        return _stored(entry)

    def list(self, folder: str, *, after: str | None = None) -> list[Stored]:
        """List the objects of a folder and the folders in it, by path.

        Args:
            folder: The folder.
            after: List only paths that sort after this one.
        """
        with self._errors("list", folder):
            objects = [_stored(entry) for part in self._store.list(folder, offset=after) for entry in part]
        return sorted(objects, key=lambda entry: entry.path)

    def delete(self, path: str) -> None:
        """Delete an object, if it exists."""
        with self._errors("delete", path), suppress(FileNotFoundError):
            self._store.delete(path)

    @contextmanager
    def _errors(self, action: str, path: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise RegistryError(f"cannot {action} {path} in {self.url}: {_first_line(error)}") from error


def _stored(entry: dict[str, Any]) -> Stored:
    return Stored(entry["path"], entry["size"], entry["last_modified"])


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
