from __future__ import annotations

import numpy as np
import pytest

from embcompat.aligners import AffineAligner, AlignerPair
from embcompat.aligners.shared import shared_space
from embcompat.errors import InputError, SpaceMismatchError
from embcompat.spaces import SpaceVersion, require_space

OLD = SpaceVersion(name="toy", version="1", dim=3, modality="text")
NEW = SpaceVersion(name="toy", version="2", dim=2, modality="text", fingerprint={"prompt": "query: "})


def affine(value: float, source_dim: int, *, normalize: bool = True) -> AffineAligner:
    return AffineAligner(np.full((2, source_dim), value), np.zeros(2), normalize=normalize)


def test_the_same_maps_give_the_same_space_and_others_another() -> None:
    pair = AlignerPair(affine(1, 3), affine(2, 2))
    space = shared_space(OLD, NEW, pair, method="canonical")
    forward, backward = (
        AffineAligner.from_state(aligner.config(), aligner.state()) for aligner in (pair.forward_map, pair.backward_map)
    )
    assert shared_space(OLD, NEW, AlignerPair(forward, backward), method="canonical") == space
    assert (space.dim, space.normalized, space.similarity, space.modality) == (2, True, "cosine", "text")
    others = [
        shared_space(OLD, NEW, AlignerPair(affine(1.0000001, 3), affine(2, 2)), method="canonical"),
        shared_space(OLD, NEW, AlignerPair(affine(1, 3), affine(3, 2)), method="canonical"),
        shared_space(OLD, NEW, pair, method="bidirectional"),
        shared_space(OLD.model_copy(update={"version": "0"}), NEW, pair, method="canonical"),
        shared_space(OLD, NEW.model_copy(update={"fingerprint": {}}), pair, method="canonical"),
    ]
    assert len({other.id for other in [space, *others]}) == 6


def test_raw_new_vectors_are_not_in_it() -> None:
    space = shared_space(OLD, NEW, AlignerPair(affine(1, 3), affine(2, 2)), method="canonical")
    with pytest.raises(SpaceMismatchError, match=r"must be in space 'toy@2\+canonical\.[0-9a-f]{12}'\. Got 'toy@2'"):
        require_space(NEW, space, what="The gallery")


def test_a_long_version_still_fits() -> None:
    long = NEW.model_copy(update={"version": "9" * 100})
    assert shared_space(OLD, long, AlignerPair(affine(1, 3), affine(2, 2)), method="canonical").dim == 2


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"forward_map must read vectors of space 'toy@1', of length 3\. Got .* reads 2"
    ):
        shared_space(OLD, NEW, AlignerPair(affine(1, 2), affine(2, 2)), method="canonical")
    with pytest.raises(InputError, match=r"must both normalize their output, or neither\. Got True and False"):
        shared_space(OLD, NEW, AlignerPair(affine(1, 3), affine(2, 2, normalize=False)), method="canonical")
