"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from embcompat.embeddings import PairSplit, split_pairs
from embcompat.testing import make_pairs


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real embeddings and texts that are not part of the project."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the shared data is absent")
    return path


@pytest.fixture(scope="session")
def split() -> PairSplit:
    """Small pairs with a known orthogonal map, split."""
    return split_pairs(make_pairs(400, source_dim=12, target_dim=8).pairs)
