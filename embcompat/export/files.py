"""The files of an artifact beside its graph and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners import Aligner
from embcompat.aligners.text import TextAwareAligner
from embcompat.artifact import FEATURES
from embcompat.embeddings import PairedEmbeddings, PairSplit, convert_embeddings, normalize_rows
from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion, require_space

CANARY_PAIRS = 64

BLENDED_PEOPLE = 20
"""People in each pair of a blended canary [ours]."""

FEWEST_BLENDED = 100
"""Minimum number of people for blends: with fewer, a blend reveals more of each of them [ours]."""

Canary = bool | Literal["blended"]

_Vectors = NDArray[np.float32]


def write_weights(aligner: Aligner, path: Path) -> None:
    """Write the aligner's arrays."""
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in aligner.state().items()}))


def write_pairs(part_of: Mapping[str, str], path: Path) -> None:
    """Write the id and the part of every pair."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": pa.array(part_of.keys(), pa.string()), "split": pa.array(part_of.values(), pa.string())})
    pq.write_table(table, path)


def write_canary(
    aligner: Aligner, pairs: PairedEmbeddings, target: SpaceVersion, path: Path, *, blended: bool = False
) -> None:
    """Write the first pairs, or blends of people, on which every conversion is tried."""
    from safetensors.numpy import save

    require_space(pairs.target.space, target, what="The pairs' target")
    sides = blend_people(pairs) if blended else (pairs.source.vectors, pairs.target.vectors)
    source, converted = (side[:CANARY_PAIRS] for side in sides)
    arrays = {"source": np.ascontiguousarray(source), "target": np.ascontiguousarray(converted)}
    if isinstance(aligner, TextAwareAligner) and pairs.texts is not None:
        if blended:
            raise InputError("a blended canary is for vectors alone: blends have no texts. Pass canary=True or False.")
        arrays[FEATURES] = aligner.encoder.encode(pairs.texts[:CANARY_PAIRS].tolist())
    path.write_bytes(save(arrays))


def write_cohort(aligner: Aligner, split: PairSplit | None, people: int, path: Path) -> dict[str, JsonValue]:
    """Write the score cohort; return its entry in the manifest."""
    from safetensors.numpy import save

    from embcompat.evaluation.verification import make_score_cohort

    if split is None:
        raise InputError("a score cohort needs the fitted pairs. Pass split=….")
    train = split.train
    cohort = make_score_cohort(
        convert_embeddings(aligner, train.source, train.target.space), train.target, people=people
    )
    sides = {"converted": cohort.converted.vectors, "native": cohort.native.vectors}
    path.write_bytes(save({name: np.ascontiguousarray(side) for name, side in sides.items()}))
    return {"people": len(cohort.native.vectors), "top": cohort.native.top}


def write_statistics(aligner: Aligner, split: PairSplit | None, path: Path) -> None:
    """Write the statistics of the fitted people that normalize scores."""
    from safetensors.numpy import save

    from embcompat.evaluation.verification import make_score_moments

    if split is None:
        raise InputError("score statistics need the fitted pairs. Pass split=….")
    train = split.train
    cohort = make_score_moments(convert_embeddings(aligner, train.source, train.target.space), train.target)
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, side in (("converted", cohort.converted), ("native", cohort.native)):
        parts = {"mean": side.mean, "covariance": side.covariance, "weights": side.weights}
        arrays |= {f"{name}.{part}": array for part, array in parts.items()}
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def blend_people(
    pairs: PairedEmbeddings, *, seed: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blend people into pairs of vectors that show nobody, for a canary [ours].

    A blend is the mean of all people, plus or minus the deviations of twenty of them divided by √20, with the same
    people and signs on both sides. Blends are spread like single vectors, and a map that is nearly linear takes one to
    the other; its cosine with any of its people is about as small as a stranger's.

    Args:
        pairs: Held-out pairs; one row of each label is taken, or every row where there are no labels.
        seed: Seed of people and signs; None draws them from the system, and they are stored nowhere.

    Returns:
        Source and target, arrays (64, source_dim) and (64, target_dim).

    Raises:
        InputError: If there are fewer than 100 people.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(pairs))
    names = pairs.ids if pairs.labels is None else pairs.labels
    rows = shuffled[np.unique(names[shuffled].astype(str), return_index=True)[1]]
    if len(rows) < FEWEST_BLENDED:
        raise InputError(
            f"a blended canary needs at least {FEWEST_BLENDED} held-out people. Got {len(rows)}. "
            "Hold out more (test=…), or save without a canary."
        )
    mixture = np.zeros((CANARY_PAIRS, len(rows)))
    for blend in mixture:
        blend[rng.permutation(len(rows))[:BLENDED_PEOPLE]] = rng.choice((-1.0, 1.0), BLENDED_PEOPLE)
    mixture /= np.sqrt(BLENDED_PEOPLE)
    sides = []
    for side in (pairs.source, pairs.target):
        vectors = side.vectors[rows].astype(np.float64)
        mean = vectors.mean(axis=0)
        blends = mean + mixture @ (vectors - mean)
        sides.append((normalize_rows(blends) if side.space.normalized else blends).astype(np.float32))
    return sides[0], sides[1]
