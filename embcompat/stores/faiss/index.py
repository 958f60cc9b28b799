"""FAISS indexes: their vectors with ids, and new ones of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from embcompat.errors import InputError, StoreError
from embcompat.spaces import SpaceVersion
from embcompat.stores.files.layouts import Contents, require_unique

_METRICS: Final = {
    "cosine": faiss.METRIC_INNER_PRODUCT,
    "dot": faiss.METRIC_INNER_PRODUCT,
    "euclidean": faiss.METRIC_L2,
}


def read_index(path: Path) -> Any:
    """Read an index file.

    Raises:
        InputError: If it is not there or not an index.
    """
    if not path.is_file():
        raise InputError(f"there is no index file {path}.")
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} is not a FAISS index: {str(error).splitlines()[-1]}") from error


def contents(index: Any, *, where: str) -> Contents:
    """Take the vectors out of an index, with their ids.

    Raises:
        StoreError: If the index keeps only approximations of its vectors, or ids repeat.
    """
    inner, mapped = _inner(index)
    if isinstance(inner, faiss.IndexIVFFlat):
        ids, vectors = _inverted_lists(inner)
    elif isinstance(inner, (faiss.IndexFlat, faiss.IndexHNSWFlat)):
        ids = np.arange(inner.ntotal, dtype=np.int64)
        vectors = inner.reconstruct_n(0, inner.ntotal) if inner.ntotal else np.empty((0, inner.d), np.float32)
    else:
        raise StoreError(
            f"{where}: a {type(inner).__name__} keeps approximations or transforms of its vectors, and converting "
            "those adds error to error. Convert the vectors that it was built from, and build it again."
        )
    if mapped is not None:
        ids = mapped[ids]
    require_unique(ids, where=where)
    positional = mapped is None and not isinstance(inner, faiss.IndexIVF)
    return Contents(ids, np.ascontiguousarray(vectors, dtype=np.float32), positional, whole=index)


def kind_of(index: Any) -> str:
    """Return ``Flat``, ``HNSW`` or ``IVF``."""
    inner, _ = _inner(index)
    return "IVF" if isinstance(inner, faiss.IndexIVF) else "HNSW" if isinstance(inner, faiss.IndexHNSW) else "Flat"


def build_like(index: Any, ids: NDArray[np.int64], vectors: NDArray[np.float32], space: SpaceVersion) -> Any:
    """Build an index of the same kind and parameters for vectors of another space.

    Args:
        index: The index to resemble.
        ids: Array (n,), int64.
        vectors: Array (n, dim).
        space: The space of the vectors; a cosine space must be normalized.
    """
    inner, mapped = _inner(index)
    metric = _METRICS[space.similarity]
    made: Any
    graph: Any = getattr(inner, "hnsw", None)
    if isinstance(inner, faiss.IndexIVFFlat):
        quantizer = faiss.IndexFlat(space.dim, metric)
        made = faiss.IndexIVFFlat(quantizer, space.dim, min(inner.nlist, max(1, len(vectors))), metric)
        made.cp.min_points_per_centroid = 1
        made.nprobe = inner.nprobe
        made.train(vectors)
    elif isinstance(inner, faiss.IndexHNSWFlat):
        made = faiss.IndexHNSWFlat(space.dim, graph.nb_neighbors(1), metric)
        made.hnsw.efConstruction = graph.efConstruction
        made.hnsw.efSearch = graph.efSearch
    else:
        made = faiss.IndexFlat(space.dim, metric)
    if mapped is not None:
        made = faiss.IndexIDMap2(made)
    if mapped is not None or isinstance(made, faiss.IndexIVF):
        made.add_with_ids(vectors, ids)
    else:
        made.add(vectors)
    return made


def _inner(index: Any) -> tuple[Any, NDArray[np.int64] | None]:
    """Return the index under an id map, and the map; both live only as long as ``index``."""
    outer = faiss.downcast_index(index)
    if isinstance(outer, faiss.IndexIDMap):
        return faiss.downcast_index(outer.index), faiss.vector_to_array(outer.id_map).astype(np.int64)
    return outer, None


def _inverted_lists(index: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read an IVF index list by list: its reconstruct gives uninitialised memory where ids have gaps."""
    lists = index.invlists
    ids, vectors = [np.empty(0, np.int64)], [np.empty((0, index.d), np.float32)]
    for number in range(index.nlist):
        size = lists.list_size(number)
        if size:
            ids.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
            codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
            vectors.append(codes.view(np.float32).reshape(size, index.d).copy())
    return np.concatenate(ids), np.concatenate(vectors)
