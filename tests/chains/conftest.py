"""Versions that all tests of chains share."""

from __future__ import annotations

import pytest

from embcompat.embeddings import Embeddings
from tests.chains.versions import make_versions


@pytest.fixture(scope="session")
def versions() -> dict[str, Embeddings]:
    """The same 300 items in four versions, each a known rotation of one latent space."""
    return make_versions(normalized=False)
