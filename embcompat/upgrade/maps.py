"""The maps of an upgrade: a saved aligner, a pair of them, or one that was not saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import Aligner, AlignerPair, query_weights, unweight
from embcompat.aligners.shared import shared_space
from embcompat.artifact import MANIFEST, Artifact
from embcompat.embeddings import Embeddings, convert_embeddings
from embcompat.export import convert_unweighted, read_query_weights
from embcompat.runtime import OnnxAligner
from embcompat.spaces import SpaceVersion, require_space


class Maps(Protocol):
    """What brings the vectors of both models into one space."""

    def convert(self, old: Embeddings) -> Embeddings:
        """Convert old vectors to the target space."""

    def convert_unweighted(self, old: Embeddings) -> Embeddings | None:
        """Convert old vectors without the aligner's reweighting; None where there is none."""

    def query_weights(self) -> NDArray[np.float32] | None:
        """Return what weighs queries instead of the rows (dim, dim); None where nothing is reweighted."""

    def into_target(self, new: Embeddings) -> Embeddings:
        """Bring new vectors into the target space."""


@dataclass(frozen=True, eq=False)
class AlignerMaps:
    """Aligners that were not saved: `Maps` between the spaces of two galleries.

    Attributes:
        aligner: One aligner, or the two of a pair.
        target: The space into which old vectors are converted: the new model's, or the third space of a pair.
    """

    aligner: Aligner | AlignerPair
    target: SpaceVersion

    def convert(self, old: Embeddings) -> Embeddings:
        """Convert old vectors to the target space."""
        return convert_embeddings(self._forward, old, self.target)

    def convert_unweighted(self, old: Embeddings) -> Embeddings | None:
        """Convert old vectors without the aligner's reweighting; None where there is none."""
        bare = unweight(self._forward)
        return None if bare is self._forward else convert_embeddings(bare, old, self.target)

    def query_weights(self) -> NDArray[np.float32] | None:
        """Return what weighs queries instead of the rows (dim, dim); None where nothing is reweighted."""
        return query_weights(self._forward)

    @property
    def _forward(self) -> Aligner:
        return self.aligner.forward_map if isinstance(self.aligner, AlignerPair) else self.aligner

    def into_target(self, new: Embeddings) -> Embeddings:
        """Bring new vectors into the target space."""
        if isinstance(self.aligner, AlignerPair):
            return convert_embeddings(self.aligner.backward_map, new, self.target)
        return new


@final
@dataclass(frozen=True, eq=False)
class OnnxMaps:
    """The maps of one upgrade: an artifact, or both of a pair.

    Attributes:
        forward: Moves old vectors into the target space.
        backward: Moves new vectors there, where the target is a third space; None where it is the new model's own.
    """

    forward: OnnxAligner
    backward: OnnxAligner | None = None

    @property
    def artifact(self) -> Artifact:
        """The artifact that moves old vectors."""
        return self.forward.artifact

    @property
    def new_space(self) -> SpaceVersion:
        """The new model's own space."""
        return self.artifact.target if self.backward is None else self.backward.artifact.source

    def convert(self, old: Embeddings) -> Embeddings:
        """Convert old vectors to the target space.

        Raises:
            SpaceMismatchError: If they are not in the artifact's source space.
        """
        return self.forward.convert(old)

    def convert_unweighted(self, old: Embeddings) -> Embeddings | None:
        """Convert old vectors without the aligner's reweighting; None where there is none."""
        return convert_unweighted(self.forward, old) if self.artifact.manifest.is_reweighted else None

    def query_weights(self) -> NDArray[np.float32] | None:
        """Return what weighs queries instead of the rows (dim, dim); None where nothing was reweighted."""
        return read_query_weights(self.artifact)

    def into_target(self, new: Embeddings) -> Embeddings:
        """Bring new vectors into the target space; where that is the new model's own they stay as they are.

        Raises:
            SpaceMismatchError: If a map is needed, and the vectors are not in the space that it reads.
        """
        return new if self.backward is None else self.backward.convert(new)


def open_maps(path: str | Path | Artifact) -> OnnxMaps:
    """Open an artifact, or both of a pair that lie in ``path/forward`` and ``path/backward``.

    Raises:
        InputError: If there is neither.
        ArtifactError: If an artifact is damaged or its graph is refused.
    """
    if not isinstance(path, Artifact) and (Path(path) / "forward" / MANIFEST).is_file():
        return OnnxMaps(OnnxAligner(Path(path) / "forward"), OnnxAligner(Path(path) / "backward"))
    return OnnxMaps(OnnxAligner(path))


Upgrade = str | Path | Artifact | OnnxAligner | OnnxMaps | Aligner | AlignerPair
"""The maps of an upgrade, saved or not."""


def open_upgrade(upgrade: Upgrade, old: SpaceVersion, new: SpaceVersion) -> tuple[Maps, Artifact | None]:
    """Open the maps of an upgrade, and check both spaces; the artifact is None for an aligner that was not saved."""
    if isinstance(upgrade, AlignerPair):
        return AlignerMaps(upgrade, shared_space(old, new, upgrade, method="pair")), None
    if isinstance(upgrade, (str, Path, Artifact)):
        maps = open_maps(upgrade)
    elif isinstance(upgrade, OnnxAligner):
        maps = OnnxMaps(upgrade)
    elif isinstance(upgrade, OnnxMaps):
        maps = upgrade
    else:
        return AlignerMaps(upgrade, new), None
    require_space(old, maps.artifact.source, what="The old gallery")
    require_space(new, maps.new_space, what="The new gallery")
    return maps, maps.artifact
