"""Addresses of galleries."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from embcompat.errors import EmbcompatError, InputError, MissingExtraError, StoreError, UnknownNameError
from embcompat.files.objects import is_object_url
from embcompat.redaction import redact, split_secrets
from embcompat.stores.base import GalleryStore

FORMS: Final = {
    "chroma": "chroma:///folder#collection",
    "chroma+http": "chroma+http://host:port#collection?tenant=name&database=name",
    "chroma+https": "chroma+https://host:port#collection?tenant=name&database=name",
    "duckdb": "duckdb:///file.db#schema.table.column?key=id",
    "elasticsearch+http": "elasticsearch+http://host:port#alias.field",
    "elasticsearch+https": "elasticsearch+https://host:port#alias.field",
    "faiss": "faiss:///folder/index.faiss",
    "file": "folder/vectors.parquet#vector?key=id, folder/vectors.npy",
    "lancedb": "lancedb:///folder#table.column?key=id",
    "milvus": "milvus:///file.db#alias.field",
    "milvus+http": "milvus+http://host:port#alias.field",
    "milvus+https": "milvus+https://host:port#alias.field",
    "opensearch+http": "opensearch+http://host:port#alias.field",
    "opensearch+https": "opensearch+https://host:port#alias.field",
    "postgresql": "postgresql://user@host/database#schema.table.column?key=id&target=column&type=halfvec&where=lang='en'",
    "qdrant+http": "qdrant+http://host:port#alias.vector?target=collection",
    "qdrant+https": "qdrant+https://host:port#alias.vector?target=collection",
    "qdrant+local": "qdrant+local:///folder#alias.vector?target=collection",
    "sqlite": "sqlite:///file.db#table.column",
}
"""Form of the address of each built-in store."""

ENTRY_POINTS: Final = "embcompat.stores"
"""Entry-point group in which other packages offer stores: the name is the scheme, the value a function that takes a
`StoreUrl` and returns a `GalleryStore`."""

_FILE: Final = re.compile(r"\.(parquet|pq|npy)$", re.IGNORECASE)
"""How a file that is a gallery ends."""

_OPTIONS: Final[dict[str, set[str]]] = {
    "chroma": {"tenant", "database"},
    "elasticsearch": set(),
    "milvus": set(),
    "opensearch": set(),
    "postgresql": {"key", "target", "type", "where"},
    "qdrant": {"target"},
    "sqlite": set(),
}
"""What may follow ``?``, where it is not ``key``."""

_MODULES: Final = {
    "chroma": ("embcompat.stores.chroma.opening", "chromadb", "embcompat[chroma]"),
    "chroma+http": ("embcompat.stores.chroma.opening", "chromadb", "embcompat[chroma]"),
    "chroma+https": ("embcompat.stores.chroma.opening", "chromadb", "embcompat[chroma]"),
    "duckdb": ("embcompat.stores.duckdb.opening", "duckdb", "embcompat[duckdb]"),
    "elasticsearch+http": ("embcompat.stores.opensearch.opening", "elasticsearch", "embcompat[elasticsearch]"),
    "elasticsearch+https": ("embcompat.stores.opensearch.opening", "elasticsearch", "embcompat[elasticsearch]"),
    "faiss": ("embcompat.stores.faiss.gallery", "faiss", "embcompat[faiss]"),
    "file": ("embcompat.stores.files.vectors", "pyarrow", "embcompat"),
    "lancedb": ("embcompat.stores.lancedb.opening", "lancedb", "embcompat[lancedb]"),
    "milvus": ("embcompat.stores.milvus.opening", "pymilvus", "embcompat[milvus]"),
    "milvus+http": ("embcompat.stores.milvus.opening", "pymilvus", "embcompat[milvus]"),
    "milvus+https": ("embcompat.stores.milvus.opening", "pymilvus", "embcompat[milvus]"),
    "opensearch+http": ("embcompat.stores.opensearch.opening", "opensearch-py", "embcompat[opensearch]"),
    "opensearch+https": ("embcompat.stores.opensearch.opening", "opensearch-py", "embcompat[opensearch]"),
    "postgresql": ("embcompat.stores.postgres.opening", "psycopg", "embcompat[pgvector]"),
    "qdrant+http": ("embcompat.stores.qdrant.opening", "qdrant_client", "embcompat[qdrant]"),
    "qdrant+https": ("embcompat.stores.qdrant.opening", "qdrant_client", "embcompat[qdrant]"),
    "qdrant+local": ("embcompat.stores.qdrant.opening", "qdrant_client", "embcompat[qdrant]"),
    "sqlite": ("embcompat.stores.sqlite.opening", "sqlite-vec", "embcompat[sqlite]"),
}


@dataclass(frozen=True)
class StoreUrl:
    """An address, taken apart.

    Attributes:
        scheme: Which store.
        location: What stands before ``#``: a path, or an address of a server.
        names: What stands after ``#``, split at dots: schema, table, column or the like.
        options: What stands after ``?`` there.
        public: The whole address without its secrets.
    """

    scheme: str
    location: str
    names: tuple[str, ...]
    options: dict[str, str]
    public: str

    @property
    def path(self) -> Path:
        """The path of a store on this machine: with three slashes from the root, with two from the current folder."""
        if "://" not in self.location:
            return Path(self.location)
        parts = urlsplit(self.location)
        host = "" if parts.netloc == "localhost" else parts.netloc
        return Path(unquote(host + parts.path))

    def option(self, name: str, default: str) -> tuple[str, ...]:
        """Return an option as a list of names separated by commas."""
        return tuple(unquote(part) for part in self.options.get(name, default).split(","))


def parse_store_url(url: str) -> StoreUrl:
    """Take the address of a gallery apart.

    Names with a dot or another special sign in them are written with ``%``, as in any URL.

    Raises:
        InputError: If what stands after ``?`` cannot be used, or it is a file in an object store.

    Example:
        >>> address = parse_store_url("lancedb:///data/gallery#docs.vector?key=id")
        >>> address.path, address.names, address.options
        (PosixPath('/data/gallery'), ('docs', 'vector'), {'key': 'id'})
    """
    url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)  # as SQLAlchemy and Heroku write it
    address = split_secrets(url)
    url = address.full
    plain = "://" not in url and (Path(url).exists() or not _FILE.search(url.partition("#")[0]))
    location, _, fragment = (url, "", "") if plain else url.partition("#")
    scheme = location.partition("://")[0]
    if is_object_url(location):
        raise InputError(
            f"{address.public} is in an object store, where files are never changed in place. Convert to another one: "
            f"embcompat convert ARTIFACT {address.public} CONVERTED"
        )
    if _FILE.search(location):
        scheme = "file"
    names, _, query = fragment.partition("?")
    try:
        options = {name: values[-1] for name, values in parse_qs(query, strict_parsing=True).items()} if query else {}
    except ValueError as error:
        raise InputError(f"what follows ? in a store URL must be name=value. Got {redact(query)!r}.") from error
    try:
        _ = urlsplit(location).port if "://" in location else None
    except ValueError as error:
        raise InputError(f"{address.public} is not an address: {error}.") from error
    known = _OPTIONS.get(scheme.partition("+")[0], {"key"})
    if unknown := options.keys() - known:
        takes = f"takes only {' and '.join(sorted(known))}" if known else "takes nothing"
        raise InputError(f"{scheme}:// {takes} after ?. Got {', '.join(unknown)}.")
    parts = tuple(unquote(part) for part in names.split(".")) if names else ()
    return StoreUrl(scheme, location, parts, options, address.public)


def open_store(url: str) -> GalleryStore:
    """Open the gallery at an address.

    Raises:
        InputError: If the address is not of the form that its store takes, or the gallery is not there.
        StoreError: If the store does not answer.
        UnknownNameError: If there is no such store.
        MissingExtraError: If the store's package is not installed.
    """
    address = parse_store_url(url)
    opener: Callable[[StoreUrl], GalleryStore]
    if address.scheme in _MODULES:
        module, package, extra = _MODULES[address.scheme]
        try:
            opener = import_module(module).open_gallery
        except ImportError as error:
            raise MissingExtraError(package, extra, f"A gallery at {address.scheme}:") from error
        return _opened(opener, address)
    offered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if address.scheme not in offered:
        raise UnknownNameError("store", address.scheme, [*FORMS.values(), *offered])
    return _opened(offered[address.scheme].load(), address)


def _opened(opener: Callable[[StoreUrl], GalleryStore], address: StoreUrl) -> GalleryStore:
    try:
        return opener(address)
    except EmbcompatError:
        raise
    except OSError as error:
        raise StoreError(f"{address.public} cannot be opened: {error}") from error
    except Exception as error:  # of drivers, whose classes cannot be listed
        raise InputError(f"{address.public} is not an address that can be opened: {error}") from error
