"""Checks of arrays of vectors and of lists of ids, labels and texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion

UNIT_NORM_TOLERANCE = 1e-3
"""How far from 1 the norm of a vector in a normalized space may be (half-precision models reach 5e-4) [ours]."""

_BLOCK_ROWS = 65_536


def validate_vectors(
    vectors: ArrayLike, space: SpaceVersion, *, what: str = "vectors", first_row: int = 0
) -> NDArray[np.float32]:
    """Check vectors against their space and return them as a C-contiguous float32 array (n, dim).

    Args:
        vectors: Array (n, dim).
        space: The space that they must be in.
        what: Their name in the error.
        first_row: Row number of the first vector, for the error.

    Raises:
        InputError: On another shape or dtype, NaN or infinity, a zero row in a cosine space, or a norm other than 1
            in a normalized space; names the first bad row.
    """
    array = as_array(vectors, what=what)
    if array.ndim != 2 or array.shape[1] != space.dim:
        raise InputError(
            f"{what} must have shape (n, {space.dim}) for space {space.id!r}. Got {array.shape}. "
            "Pass one row for each item, embedded with the model of that space."
        )
    if array.dtype.kind != "f":
        raise InputError(f"{what} must be an array of floats. Got dtype {array.dtype}. Convert with astype('float32').")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype=np.float32)
    for start in range(0, len(result), _BLOCK_ROWS):
        _check_block(result[start : start + _BLOCK_ROWS], first_row + start, space, what)
    return result


def as_array(values: ArrayLike, *, what: str = "vectors") -> NDArray[Any]:
    """Return numbers as an array: from an array, nested lists, or a tensor, also one of bfloat16 or with a gradient.

    Raises:
        InputError: If it is none of these, or its rows are of different lengths.
    """
    source: Any = values
    try:
        if hasattr(source, "detach"):  # a tensor of torch
            source = source.detach().cpu()
            source = source.float().numpy() if "bfloat16" in str(source.dtype) else source.numpy()
        return np.asarray(source)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be an array of numbers, every row of the same length. Got: {error}.") from error


def _check_block(block: NDArray[np.float32], start: int, space: SpaceVersion, what: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.vecdot(block, block)
    odd = ~(np.isfinite(squared) & (squared > 0))  # bad rows, and good ones whose square leaves the range of float32
    if odd.any():
        squared = squared.astype(np.float64)
        squared[odd] = np.einsum("ij,ij->i", block[odd], block[odd], dtype=np.float64)
    finite = np.isfinite(squared)
    if not finite.all():
        row = start + int(np.argmin(finite))
        raise InputError(f"{what} must be finite. Row {row} holds NaN or infinity. Remove the row or embed it again.")
    if space.normalized:
        off = np.abs(np.sqrt(squared) - 1.0) > UNIT_NORM_TOLERANCE
        if off.any():
            row = int(np.argmax(off))
            raise InputError(
                f"{what} must have unit norm: space {space.id!r} is normalized. Row {start + row} has norm "
                f"{np.sqrt(squared[row]):.4g}. Normalize the vectors, or declare the space normalized=False."
            )
    elif space.similarity == "cosine" and (squared == 0).any():
        row = start + int(np.argmax(squared == 0))
        raise InputError(
            f"{what} must not be zero: space {space.id!r} compares by cosine. Row {row} is all zeros. "
            "Remove the row; a model that returns zeros failed on that item."
        )


@overload
def validate_strings(values: None, count: int, *, what: str, unique: bool = False, empty: bool = False) -> None: ...
@overload
def validate_strings(
    values: Iterable[Any], count: int, *, what: str, unique: bool = False, empty: bool = False
) -> NDArray[np.object_]: ...
@overload
def validate_strings(
    values: Iterable[Any] | None, count: int, *, what: str, unique: bool = False, empty: bool = False
) -> NDArray[np.object_] | None: ...
def validate_strings(
    values: Iterable[Any] | None, count: int, *, what: str, unique: bool = False, empty: bool = False
) -> NDArray[np.object_] | None:
    """Check ids, labels or texts and return them as an object array (n,); None stays None.

    Raises:
        InputError: On another count, a value that is not a string, an empty one unless ``empty``, or a repetition where
            ``unique``.
    """
    if values is None:
        return None
    strings = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if len(strings) != count:
        raise InputError(f"{what} must have one entry for each of the {count} vectors. Got {len(strings)}.")
    for row, value in enumerate(strings):
        if not isinstance(value, str) or not (value or empty):
            raise InputError(
                f"{what} must hold {'' if empty else 'non-empty '}strings. Row {row} is {value!r} "
                f"({type(value).__name__}). Convert with str()."
            )
    if unique and len(set(strings)) != count:
        first: dict[str, int] = {}
        for row, value in enumerate(strings):
            if first.setdefault(value, row) != row:
                raise InputError(f"{what} must be unique. {value!r} is in rows {first[value]} and {row}.")
    result = np.empty(count, dtype=object)
    result[:] = strings
    return result
