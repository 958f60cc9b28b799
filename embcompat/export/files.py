"""The files of an artifact beside its graph and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from embcompat.aligners import Aligner
from embcompat.aligners.text import TextAwareAligner
from embcompat.artifact import FEATURES
from embcompat.embeddings import PairedEmbeddings, PairSplit, convert_embeddings
from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion, require_space

CANARY_PAIRS = 64


def write_weights(aligner: Aligner, path: Path) -> None:
    """Write the aligner's arrays."""
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in aligner.state().items()}))


def write_pairs(part_of: Mapping[str, str], path: Path) -> None:
    """Write id and part of every pair."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": pa.array(part_of.keys(), pa.string()), "split": pa.array(part_of.values(), pa.string())})
    pq.write_table(table, path)


def write_canary(aligner: Aligner, pairs: PairedEmbeddings, target: SpaceVersion, path: Path) -> None:
    """Write the first pairs, on which every conversion is tried."""
    from safetensors.numpy import save

    require_space(pairs.target.space, target, what="The pairs' target")
    source, converted = pairs.source.vectors[:CANARY_PAIRS], pairs.target.vectors[:CANARY_PAIRS]
    arrays = {"source": np.ascontiguousarray(source), "target": np.ascontiguousarray(converted)}
    if isinstance(aligner, TextAwareAligner) and pairs.texts is not None:
        arrays[FEATURES] = aligner.encoder.encode(pairs.texts[:CANARY_PAIRS].tolist())
    path.write_bytes(save(arrays))


def write_cohort(aligner: Aligner, split: PairSplit | None, people: int, path: Path) -> dict[str, JsonValue]:
    """Write the score cohort; return what the manifest says of it."""
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
