"""Candidates by name, and which of them a task tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

from embcompat.embeddings import PairedEmbeddings, piece_rows
from embcompat.errors import UnknownNameError
from embcompat.selection.fitting import TORCH_KINDS, fit_kinds

Task = Literal["retrieval", "verification"]

Correction = Literal["reweighted", "stretched"]
"""What is done to the output after the fit: `reweight`, or `match_variance`."""

_CORRECTIONS: tuple[Correction, ...] = ("reweighted", "stretched")


@dataclass(frozen=True)
class Candidate:
    """One aligner to try.

    Attributes:
        name: Its name in tables.
        kind: One of `KINDS`, or of an installed package, that gives a single aligner.
        options: Options of its fit.
        correction: What is done to the output after the fit, or None: ``reweighted`` (unreliable directions weigh less,
            see `reweight`) or ``stretched`` (the output varies as much as the target, see `match_variance`).
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    correction: Correction | None = None


def parse_candidate(name: str, options: Mapping[str, Any] | None = None) -> Candidate:
    """Return the candidate of a name: a kind, with a comma and a correction where there is one.

    Raises:
        UnknownNameError: If there is no such kind or correction.

    Example:
        >>> parse_candidate("kernel, reweighted")
        Candidate(name='kernel, reweighted', kind='kernel', options={}, correction='reweighted')
    """
    kind, comma, rest = (part.strip() for part in name.partition(","))
    if kind not in fit_kinds():
        raise UnknownNameError("kind of aligner", kind, fit_kinds())
    correction = next((each for each in _CORRECTIONS if each == rest), None)
    if comma and correction is None:
        raise UnknownNameError("correction", rest, _CORRECTIONS)
    return Candidate(name, kind, dict(options or {}), correction)


CANDIDATES: dict[Task, tuple[str, ...]] = {
    "retrieval": ("identity", "pieces, reweighted", "pieces", "kernel", "ridge", "procrustes"),
    "verification": (
        "ensemble, reweighted",
        "pieces, reweighted",
        "kernel, reweighted",
        "residual, reweighted",
        "residual",
        "ridge, reweighted",
        "ensemble, stretched",
        "kernel, stretched",
        "residual, stretched",
        "ridge, stretched",
        "ridge",
    ),
}
"""The candidates of ``auto``, in the prior order: if held-out pairs show no difference, the first is taken.

The order is learned from recorded experiments (docs/concepts/aligners.md): identity where nothing need be changed;
pieces above a kernel on whole texts; a kernel above ridge above Procrustes on text; on faces an ensemble above its
members, and reweighting above none. [ours]
"""


def default_candidates(task: Task, pairs: PairedEmbeddings) -> tuple[Candidate, ...]:
    """Return the candidates of ``auto`` for some pairs: all of `CANDIDATES` that are possible there.

    Identity needs spaces of one dimension, pieces need rows that `cut_texts` cut, stretching a target space of lengths,
    reweighting one of directions, or of distances in verification, and the neural kinds torch.
    """
    source, target = pairs.source.space, pairs.target.space
    directions = target.normalized or target.similarity == "cosine"
    has_torch = find_spec("torch") is not None and find_spec("lightning") is not None
    unfit: set[str] = set() if has_torch else set(TORCH_KINDS)
    if source.dim != target.dim:
        unfit.add("identity")
    if not piece_rows(pairs).any():
        unfit.add("pieces")
    distances = target.similarity == "euclidean" and task == "verification"
    wrong = {"stretched"} if directions else set() if distances else {"reweighted"}
    candidates = map(parse_candidate, CANDIDATES[task])
    return tuple(each for each in candidates if each.kind not in unfit and each.correction not in wrong)
