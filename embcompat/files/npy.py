"""``.npy`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import FileFormatError


def read_npy(path: Path) -> NDArray[Any]:
    """Open a .npy file as a read-only memory map.

    Raises:
        FileFormatError: If it is missing, truncated, or holds Python objects.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise FileFormatError(f"{path} is not a complete .npy file of numbers: {error}") from error
