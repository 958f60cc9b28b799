"""Aligners that other packages bring, under the entry-point group ``embcompat.aligners``."""

from __future__ import annotations

from typing import Any, Protocol, Self

from embcompat.aligners.base import Aligner
from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import InputError
from embcompat.plugins import Plugin, find_plugin, list_plugins

ENTRY_POINT_GROUP = "embcompat.aligners"


class PluginAligner(Aligner, Protocol):
    """What a package registers under the name of its ``kind``: an aligner's class that can fit itself.

    A torch module is exported as it is; any other class has ``build_graph()``, which returns its ONNX model.
    """

    @classmethod
    def fit(cls, train: PairedEmbeddings, validation: PairedEmbeddings, *, seed: int = 0, **options: Any) -> Self:
        """Fit on pairs; the validation pairs are for what the fit chooses. Options are the plug-in's own."""


def list_plugin_aligners() -> list[Plugin]:
    """List the aligners that installed packages bring, without importing them."""
    return list_plugins(ENTRY_POINT_GROUP, "aligner")


def find_plugin_aligner(kind: str) -> type[PluginAligner] | None:
    """Import the class of a kind that a package brings; None where no package brings it.

    Raises:
        InputError: If several packages bring the kind, or the class is not what it must be.
        MissingExtraError: If something that the package needs is not installed.
    """
    plugin = find_plugin(ENTRY_POINT_GROUP, "aligner", kind)
    if plugin is None:
        return None
    loaded: type[PluginAligner] = plugin.load()
    if getattr(loaded, "kind", None) != kind:
        raise InputError(
            f"the aligner {kind!r} of package {plugin.distribution} must be a class with kind = {kind!r}. "
            f"Got {getattr(loaded, 'kind', None)!r}."
        )
    missing = [name for name in ("fit", "from_state", "transform") if not hasattr(loaded, name)]
    if missing:
        raise InputError(
            f"the aligner {kind!r} of package {plugin.distribution} must have fit, from_state and transform. "
            f"It lacks {', '.join(missing)}. Check it with embcompat.testing.check_aligner."
        )
    return loaded
