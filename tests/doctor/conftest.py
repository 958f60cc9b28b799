from __future__ import annotations

import pytest

from embcompat.doctor import SpaceReference, fit_reference
from tests.doctor.galleries import embeddings


@pytest.fixture(scope="module")
def references() -> list[SpaceReference]:
    return [fit_reference(embeddings(name, 3_000, normalized=True)) for name in ("alpha", "beta")]
