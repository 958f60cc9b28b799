"""The aligner zoo. ``ALIGNERS`` maps each kind to a loader; the neural kinds import torch when they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.aligners.affine import AffineAligner, fit_affine, fit_affine_sums
from embcompat.aligners.base import Aligner, AlignerPair, check_source, parameter_count
from embcompat.aligners.canonical import fit_canonical
from embcompat.aligners.ensemble import EnsembleAligner
from embcompat.aligners.kernel import KernelAligner, fit_kernel
from embcompat.aligners.output import match_variance, reweight
from embcompat.aligners.plugins import PluginAligner, find_plugin_aligner, list_plugin_aligners
from embcompat.aligners.reweighted import ReweightedAligner, query_weights, unweight, weigh_queries
from embcompat.aligners.shared import shared_space
from embcompat.aligners.sums import GramSums
from embcompat.artifact import Artifact, read_artifact
from embcompat.errors import ArtifactError, UnknownNameError

if TYPE_CHECKING:
    from embcompat.aligners.streaming import stream_sums

Loader = Callable[[Mapping[str, JsonValue], Mapping[str, NDArray[Any]]], Aligner]


def _loader(module: str, name: str) -> Loader:
    def load(config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Aligner:
        aligner: Aligner = getattr(import_module(module), name).from_state(config, state)
        return aligner

    return load


ALIGNERS: dict[str, Loader] = {
    "affine": _loader("embcompat.aligners.affine", "AffineAligner"),
    "chain": _loader("embcompat.aligners.chain", "ChainAligner"),
    "dense": _loader("embcompat.aligners.neural", "DenseAligner"),
    "ensemble": _loader("embcompat.aligners.ensemble", "EnsembleAligner"),
    "kernel": _loader("embcompat.aligners.kernel", "KernelAligner"),
    "multi_branch": _loader("embcompat.aligners.neural", "MultiBranchAligner"),
    "residual": _loader("embcompat.aligners.neural", "ResidualAligner"),
    "reweighted": _loader("embcompat.aligners.reweighted", "ReweightedAligner"),
    "text_aware": _loader("embcompat.aligners.text", "TextAwareAligner"),
}


def known_kinds() -> list[str]:
    """List the kinds that can be loaded: ours, and those of installed packages."""
    return [*ALIGNERS, *(plugin.name for plugin in list_plugin_aligners())]


def find_loader(kind: str) -> Loader:
    """Return what builds an aligner of a kind from its options and arrays.

    Raises:
        UnknownNameError: If no aligner is of that kind.
        InputError: If several packages bring the kind.
    """
    if kind in ALIGNERS:
        return ALIGNERS[kind]
    plugin = find_plugin_aligner(kind)
    if plugin is None:
        raise UnknownNameError("aligner", kind, known_kinds())
    return plugin.from_state


def load_aligner(path: str | Path | Artifact) -> Aligner:
    """Load the aligner of an artifact, with its arrays, ready to be used or changed; `OnnxAligner` is for serving.

    Raises:
        InputError: If there is no artifact at the path.
        ArtifactError: If it is damaged, or its arrays do not make an aligner of its kind.
        UnknownNameError: If no aligner is of its kind.
    """
    artifact = path if isinstance(path, Artifact) else read_artifact(path)
    manifest = artifact.manifest
    load = find_loader(manifest.kind)
    try:
        aligner = load(manifest.config, artifact.weights())
        dims = aligner.source_dim, aligner.target_dim
    except UnknownNameError:  # of a part
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise ArtifactError(f"the weights of {artifact.path} do not make a {manifest.kind} aligner: {error}") from error
    if dims != (artifact.source.dim, artifact.target.dim):
        raise ArtifactError(
            f"the weights of {artifact.path} must map {artifact.source.dim} to {artifact.target.dim} dimensions, as "
            f"its manifest says. They map {dims[0]} to {dims[1]}: is it the wrong direction?"
        )
    return aligner


def __getattr__(name: str) -> Any:
    if name == "stream_sums":  # loads pyarrow
        return import_module("embcompat.aligners.streaming").stream_sums
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ALIGNERS",
    "AffineAligner",
    "Aligner",
    "AlignerPair",
    "EnsembleAligner",
    "GramSums",
    "KernelAligner",
    "PluginAligner",
    "ReweightedAligner",
    "check_source",
    "find_loader",
    "find_plugin_aligner",
    "fit_affine",
    "fit_affine_sums",
    "fit_canonical",
    "fit_kernel",
    "known_kinds",
    "list_plugin_aligners",
    "load_aligner",
    "match_variance",
    "parameter_count",
    "query_weights",
    "reweight",
    "shared_space",
    "stream_sums",
    "unweight",
    "weigh_queries",
]
