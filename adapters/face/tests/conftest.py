from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """A photograph with one face, 512 x 512, public domain."""
    from skimage.data import astronaut

    return np.asarray(astronaut())


@pytest.fixture(scope="session")
def portraits(astronaut: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The same face cropped, mirrored and darkened."""
    crop = astronaut[:256, 96:352]
    return [crop, np.ascontiguousarray(crop[:, ::-1]), astronaut[10:290, 80:380] // 2]
