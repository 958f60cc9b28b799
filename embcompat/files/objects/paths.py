"""Files in object stores, with the part of `pathlib.Path` that is used here. pyarrow is imported when one is opened.

Credentials, region and endpoint come from the environment, as the cloud's own tools take them; they are never part of
an address. Keys are taken literally: nothing in them is percent-encoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, final
from urllib.parse import urlencode, urlsplit

from embcompat.errors import FileFormatError, InputError, StoreError
from embcompat.files.objects.failures import ENDPOINTS, first_line, object_error
from embcompat.files.objects.uploads import send_whole, slices_of
from embcompat.redaction import NO_CREDENTIALS, remember_secret, split_secrets

_RETRY_SECONDS: Final = 30
"""How long Google's client tries a request again [ours]; its own limit is fifteen minutes."""

_URL: Final = re.compile(r"(s3|gs|gcs|abfss?)://")
_KEPT: Final = ("Cache-Control", "Content-Language", "Content-Type")
_SECRETS: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "AZURE_CLIENT_SECRET")


def is_object_url(text: object) -> bool:
    """Return whether a text is the address of an object or a folder in an object store.

    Example:
        >>> is_object_url("s3://bucket/old.parquet"), is_object_url("old.parquet")
        (True, False)
    """
    return _URL.match(str(text)) is not None


def location(text: str | Path | ObjectPath) -> Location:
    """Return the path that a text names: on this machine or in an object store.

    Raises:
        InputError: If the address of an object store holds credentials or lacks a bucket.

    Example:
        >>> location("s3://bucket/old files/a.parquet").name
        'a.parquet'
    """
    if isinstance(text, ObjectPath) or not is_object_url(text):
        return text if isinstance(text, ObjectPath) else Path(text)
    address = split_secrets(str(text))
    scheme, _, rest = str(text).partition("://")
    bucket, _, key = rest.partition("/")
    if ":" in bucket:
        raise InputError(f"{address.public}: {NO_CREDENTIALS}")
    if not bucket:
        raise InputError(f"an address of an object store must be {scheme}://bucket/key. Got {text}.")
    return ObjectPath(scheme, bucket, key.strip("/"))


@final
@dataclass(frozen=True)
class ObjectPath:
    """An object in an object store, or a folder: all objects whose keys begin alike.

    Attributes:
        scheme: ``s3``, ``gs``, ``gcs``, ``abfs`` or ``abfss``.
        bucket: The bucket; for Azure ``container@account.dfs.core.windows.net``.
        key: The key, without slashes around it; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __truediv__(self, name: str | PurePath) -> ObjectPath:
        below = name if isinstance(name, str) else name.as_posix()
        return replace(self, key=f"{self.key}/{below}".strip("/"))

    @property
    def name(self) -> str:
        """The part of the key after the last slash."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return PurePosixPath(self.key).suffix

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> ObjectPath:
        """The folder that the object is in."""
        return replace(self, key=self.key.rpartition("/")[0])

    def relative_to(self, folder: ObjectPath) -> PurePosixPath:
        """Return the path below a folder."""
        return PurePosixPath(self.key).relative_to(folder.key)

    def place(self) -> str:
        """Return the address and the service that it belongs to: together they identify an object."""
        return f"{_endpoint(self.scheme)} {self}"

    def exists(self) -> bool:
        """Return whether there is an object or a folder.

        Raises:
            InputError: If there is no such bucket.
            StoreError: If the object store cannot be read.
        """
        if self._kind() != "NotFound":
            return True
        _require_bucket(self.scheme, self.bucket, _endpoint(self.scheme))
        return False

    def is_file(self) -> bool:
        """Return whether there is an object."""
        return self._kind() == "File"

    def is_dir(self) -> bool:
        """Return whether there are objects below."""
        return self._kind() == "Directory"

    def _kind(self) -> str:
        with self.failures("read"):
            system, path = self._opened()
            return str(system.get_file_info(path).type.name)

    def read_bytes(self) -> bytes:
        """Read the whole object."""
        with self.failures("read"):
            system, path = self._opened()
            with system.open_input_stream(path) as stream:
                return bytes(stream.read())

    def open(self) -> Any:
        """Open the object as a file of pyarrow."""
        with self.failures("read"):
            system, path = self._opened()
            return system.open_input_file(path)

    def filesystem(self) -> tuple[Any, str]:
        """Return the file system of pyarrow, and the path of the object in it."""
        with self.failures("read"):
            return self._opened()

    def identity(self) -> dict[str, Any]:
        """Return what identifies the object's content: its size, its time of change and its entity tag."""
        with self.failures("read"):
            system, path = self._opened()
            info = system.get_file_info(path)
            with system.open_input_stream(path) as stream:
                tag = (stream.metadata() or {}).get("ETag", b"")
        return {"bytes": info.size, "mtime_ns": info.mtime_ns, "etag": tag.decode().strip('"')}

    def walk(self) -> list[ObjectPath]:
        """List the objects below, in the order of their paths; none where there is no such folder."""
        from pyarrow.fs import FileSelector, FileType

        with self.failures("list"):
            system, path = self._opened()
            entries = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
            if not entries:
                _require_bucket(self.scheme, self.bucket, _endpoint(self.scheme))
        base = len(path) - len(self.key)
        keys = [entry.path[base:].lstrip("/") for entry in entries if entry.type == FileType.File]
        return [replace(self, key=key) for key in sorted(keys, key=lambda key: key.split("/"))]

    def headers(self) -> dict[str, str]:
        """Return the headers of the object that a copy keeps: content type, language and cache control."""
        with self.failures("read"):
            system, path = self._opened()
            with system.open_input_stream(path) as stream:
                metadata = {key: value.decode() for key, value in (stream.metadata() or {}).items()}
        return {key: metadata[key] for key in _KEPT if metadata.get(key)}

    def upload(self, file: Path, headers: Mapping[str, str] | None = None) -> None:
        """Write a file as this object, which appears only when it is complete.

        Raises:
            StoreError: If it cannot be written.
        """
        expected = file.stat().st_size
        with self.failures("write"):
            system, path = self._opened()
            send_whole(system, path, slices_of(file), headers, size=expected)
            size = system.get_file_info(path).size
        if size != expected:
            raise StoreError(f"{self} must have {expected} bytes. Got {size}. Another process wrote it, too.")

    def write_bytes(self, data: bytes) -> None:
        """Write the object; it appears only when it is complete."""
        with self.failures("write"):
            system, path = self._opened()
            send_whole(system, path, iter([data]), None, size=len(data))

    def unlink(self) -> None:
        """Delete the object if it exists."""
        with self.failures("write"):
            system, path = self._opened()
            if self.is_file():
                system.delete_file(path)

    def _opened(self) -> tuple[Any, str]:
        system, base = _filesystem(self.scheme, self.bucket, _endpoint(self.scheme))
        return system, f"{base}/{self.key}".rstrip("/")

    @contextmanager
    def failures(self, verb: str) -> Iterator[None]:
        """Raise errors of the object store as ours.

        Args:
            verb: ``read``, ``list`` or ``write``.

        Raises:
            FileFormatError: If there is no such object.
            InputError: If there is no such bucket.
            StoreError: On any other failure.
        """
        from pyarrow import ArrowException

        try:
            yield
        except FileNotFoundError as error:
            raise FileFormatError(f"{self} does not exist.") from error
        except (ArrowException, OSError) as error:
            raise object_error(self, error, verb) or StoreError(f"cannot {verb} {self}: {first_line(error)}") from error


Location = Path | ObjectPath
"""A file or folder, on this machine or in an object store."""


def _endpoint(scheme: str) -> str:
    """Return the service that the environment leads to; empty for the cloud's own."""
    return next((os.environ[name] for name in ENDPOINTS.get(scheme, ()) if os.environ.get(name)), "")


@cache
def _filesystem(scheme: str, bucket: str, endpoint: str) -> tuple[Any, str]:
    """Open an object store; once for each bucket, because finding its region and the credentials takes requests."""
    from pyarrow.fs import FileSystem

    for name in _SECRETS:
        remember_secret(os.environ.get(name, ""))
    options, user = {} if scheme not in ("gs", "gcs") else {"retry_limit_seconds": str(_RETRY_SECONDS)}, ""
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"{'https' if scheme == 's3' else 'http'}://{endpoint}")
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path.rstrip("/")}
        user = "" if scheme == "s3" else "anonymous@"  # an emulator
    system, base = FileSystem.from_uri(f"{scheme}://{user}{bucket}?{urlencode(options)}".rstrip("?"))
    return system, base.strip("/")


@cache
def _require_bucket(scheme: str, bucket: str, endpoint: str) -> None:
    """Refuse a bucket that does not exist.

    Raises:
        InputError: If there is none.
    """
    system, base = _filesystem(scheme, bucket, endpoint)
    try:
        absent = system.get_file_info(base).type.name == "NotFound"
    except OSError:  # objects may be readable where the bucket is not
        return
    if absent:
        raise InputError(f"there is no bucket {bucket!r} in {endpoint or scheme}. Nothing can be read or written.")
