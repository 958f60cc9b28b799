from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import embcompat as ec
from embcompat.aligners.text import StaticEncoder, build_static_encoder

WORDS = [
    f"{first}{second}" for first in ("ba", "ke", "li", "mo", "nu", "pra") for second in ("do", "sta", "vin", "gor")
]
DIM = 12


def new_model(texts: Sequence[str]) -> np.ndarray:
    """A model that knows words: the mean of a random vector of each."""
    table = {word: np.random.default_rng(row).standard_normal(DIM) for row, word in enumerate(WORDS)}
    return np.array([np.mean([table[word] for word in text.split()], axis=0) for text in texts], dtype=np.float32)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(400)]


@pytest.fixture(scope="session")
def encoder(texts: list[str]) -> StaticEncoder:
    return build_static_encoder(new_model, texts)


@pytest.fixture(scope="session")
def split(texts: list[str]) -> ec.PairSplit:
    """Pairs whose old vectors say little of what the new model knows, and whose texts say nearly all of it."""
    target = new_model(texts)
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    noise = np.random.default_rng(1).standard_normal((len(texts), 4))
    source = (target @ np.random.default_rng(2).standard_normal((DIM, 4)) + noise).astype(np.float32)
    ids = [str(row) for row in range(len(texts))]
    old = ec.SpaceVersion(name="old", version="1", dim=4, similarity="dot")
    new = ec.SpaceVersion(name="new", version="1", dim=DIM, normalized=True)
    pairs = ec.pair_embeddings(ec.Embeddings(source, ids, old, texts=texts), ec.Embeddings(target, ids, new))
    return ec.split_pairs(pairs, seed=0)
