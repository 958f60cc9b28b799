"""FAISS indexes: their vectors with ids, and new ones of the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from faiss.contrib.factory_tools import reverse_index_factory
from numpy.typing import NDArray

from embcompat.errors import InputError, StoreError
from embcompat.spaces import Similarity
from embcompat.stores.files.layouts import Contents, require_unique

METRICS: Final = {
    "cosine": faiss.METRIC_INNER_PRODUCT,
    "dot": faiss.METRIC_INNER_PRODUCT,
    "euclidean": faiss.METRIC_L2,
}
_MAPPED: Final[int] = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)  # FAISS 1.11 and later
_SIMILARITIES: Final[dict[int, Similarity]] = {faiss.METRIC_INNER_PRODUCT: "dot", faiss.METRIC_L2: "euclidean"}


@dataclass(frozen=True)
class Layers:
    """What an index is made of; its parts live only as long as the whole index.

    Attributes:
        inner: The index that holds the vectors.
        wrappers: What is around it, from the outside: ``IDMap``, ``IDMap2`` or ``L2norm``.
        ids: Ids of the vectors; None where ids are positions.
    """

    inner: Any
    wrappers: tuple[str, ...]
    ids: NDArray[np.int64] | None


def read_index(path: Path, *, mapped: bool = False) -> Any:
    """Read an index file.

    Args:
        path: The file.
        mapped: Whether the vectors may stay in the file, for a look at the rest.

    Raises:
        InputError: If it is not there or not an index of float vectors.
    """
    if not path.is_file():
        raise InputError(f"there is no index file {path}.")
    with path.open("rb") as stream:
        if stream.read(2) == b"IB":
            raise InputError(
                f"{path} is a binary index: it holds bits, and an aligner maps float vectors. Convert the vectors that "
                "the bits were made from, and build the index again."
            )
    try:
        return faiss.read_index(str(path), _MAPPED if mapped else 0)
    except RuntimeError as error:
        raise InputError(f"{path} is not a FAISS index: {str(error).splitlines()[-1]}") from error


def layers_of(index: Any) -> Layers:
    """Take an index apart."""
    inner, wrappers, ids = faiss.downcast_index(index), [], None
    while True:
        if isinstance(inner, faiss.IndexIDMap):
            wrappers.append("IDMap2" if isinstance(inner, faiss.IndexIDMap2) else "IDMap")
            ids = faiss.vector_to_array(inner.id_map).astype(np.int64)
        elif isinstance(inner, faiss.IndexPreTransform) and _normalizes(inner):
            wrappers.append("L2norm")
        else:
            return Layers(inner, tuple(wrappers), ids)
        inner = faiss.downcast_index(inner.index)


class _FlatVectors:
    """The vectors of a flat index where they lie, for `numpy.asarray`; the array keeps the whole index alive."""

    def __init__(self, whole: Any, flat: Any) -> None:
        self.whole = whole
        numbers = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
        numbers.flags.writeable = False
        self.__array_interface__ = numbers.__array_interface__


def contents(index: Any, *, where: str) -> Contents:
    """Take the vectors out of an index, with their ids.

    Raises:
        StoreError: If the index keeps only approximations of its vectors, or ids repeat.
    """
    layers = layers_of(index)
    inner = layers.inner
    exact = faiss.downcast_index(inner.refine_index) if isinstance(inner, faiss.IndexRefine) else inner
    if isinstance(exact, faiss.IndexIVFFlat):
        ids, vectors = _inverted_lists(exact)
    elif isinstance(exact, (faiss.IndexFlat, faiss.IndexHNSWFlat)):
        ids = np.arange(exact.ntotal, dtype=np.int64)
        flat = faiss.downcast_index(exact.storage) if isinstance(exact, faiss.IndexHNSWFlat) else exact
        vectors = np.asarray(_FlatVectors(index, flat)) if flat.ntotal else np.empty((0, flat.d), np.float32)
    else:
        raise StoreError(
            f"{where}: a {type(exact).__name__} keeps approximations or transforms of its vectors, and converting "
            "those adds error to error. Convert the vectors that it was built from, and build it again."
        )
    if layers.ids is not None:
        ids = layers.ids[ids]
    require_unique(ids, where=where)
    positional = layers.ids is None and not isinstance(inner, faiss.IndexIVF)
    return Contents(ids, np.ascontiguousarray(vectors, dtype=np.float32), positional, whole=index)


def kind_of(index: Any) -> str:
    """Return ``Flat``, ``HNSW`` or ``IVF``."""
    inner = layers_of(index).inner
    if isinstance(inner, faiss.IndexRefine):
        inner = faiss.downcast_index(inner.base_index)
    return "IVF" if isinstance(inner, faiss.IndexIVF) else "HNSW" if isinstance(inner, faiss.IndexHNSW) else "Flat"


def metric_of(index: Any) -> Similarity | None:
    """Return the metric of an index; None where it is one that no space is compared by."""
    return _SIMILARITIES.get(layers_of(index).inner.metric_type)


def empty_like(index: Any, dim: int, metric: Similarity, *, rows: int) -> Any:
    """Make an index of the same kind and parameters for vectors of another length, without its wrappers.

    Args:
        index: The index to resemble.
        dim: Length of the vectors.
        metric: How they are compared.
        rows: Number of vectors that will be added: an IVF index has no more lists than these.

    Raises:
        RuntimeError: If there is none of that kind for this length (PQ parts that do not divide it).
    """
    inner = layers_of(index).inner
    description = str(reverse_index_factory(inner))  # type: ignore[no-untyped-call]
    if isinstance(inner, faiss.IndexIVF) and inner.nlist > rows:
        description = description.replace(f"IVF{inner.nlist}", f"IVF{max(1, rows)}", 1)
    empty = faiss.index_factory(dim, description, METRICS[metric])
    _carry_parameters(inner, faiss.downcast_index(empty))
    return empty


def build_like(index: Any, ids: NDArray[np.int64], vectors: NDArray[np.float32], metric: Similarity) -> Any:
    """Build an index of the same kind and parameters from other vectors.

    Args:
        index: The index to resemble.
        ids: Array (n,), int64.
        vectors: Array (n, dim).
        metric: How the vectors are compared.
    """
    layers, dim = layers_of(index), vectors.shape[1]
    built = empty_like(index, dim, metric, rows=len(vectors))
    for wrapper in reversed(layers.wrappers):
        if wrapper == "L2norm":
            built = faiss.IndexPreTransform(faiss.NormalizationTransform(dim, 2.0), built)
        else:
            built = faiss.IndexIDMap2(built) if wrapper == "IDMap2" else faiss.IndexIDMap(built)
    built.train(vectors)
    if layers.ids is not None or isinstance(layers.inner, faiss.IndexIVF):
        built.add_with_ids(vectors, ids)
    else:
        built.add(vectors)
    if isinstance(layers.inner, faiss.IndexIVF):
        layers_of(built).inner.set_direct_map_type(layers.inner.direct_map.type)
    return built


def _normalizes(index: Any) -> bool:
    """Return whether an index does nothing to its vectors but scale them to unit length."""
    steps = [faiss.downcast_VectorTransform(index.chain.at(place)) for place in range(index.chain.size())]
    return bool(steps) and all(isinstance(step, faiss.NormalizationTransform) and step.norm == 2 for step in steps)


def _carry_parameters(old: Any, new: Any) -> None:
    """Give an empty index the parameters of another one of its kind."""
    if isinstance(old, faiss.IndexRefine):
        new.k_factor = old.k_factor
        _carry_parameters(faiss.downcast_index(old.base_index), faiss.downcast_index(new.base_index))
    elif isinstance(old, faiss.IndexIVF):
        new.nprobe = old.nprobe
        new.cp.min_points_per_centroid = 1
        _carry_parameters(faiss.downcast_index(old.quantizer), faiss.downcast_index(new.quantizer))
    elif isinstance(old, faiss.IndexHNSW):
        new.hnsw.efConstruction, new.hnsw.efSearch = old.hnsw.efConstruction, old.hnsw.efSearch


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
