"""The third space, in which the two maps of a pair meet."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from embcompat.aligners.base import Aligner, AlignerPair
from embcompat.errors import InputError
from embcompat.spaces import SpaceVersion

_VERSION_ROOM = 60
"""Characters of the target's version that go into the shared space's; the digest alone tells spaces apart."""


def shared_space(source: SpaceVersion, target: SpaceVersion, pair: AlignerPair, *, method: str) -> SpaceVersion:
    """Return the space into which a pair of aligners maps both sides.

    It has the target's name, so that it is found beside it, and a version that adds the method and the first digits
    of a digest. The fingerprint holds the whole digest, over both spaces and over the kind, options and arrays of both
    maps: the shared space of another fit is another space, and so is the raw target space.

    Args:
        source: Space that ``pair.forward_map`` reads.
        target: Space that ``pair.backward_map`` reads.
        pair: The fitted maps.
        method: How they were fitted, lower case (``canonical``).

    Raises:
        InputError: If a map reads another dimension than its space has, or only one map normalizes its output.
    """
    for name, aligner, space in (
        ("forward_map", pair.forward_map, source),
        ("backward_map", pair.backward_map, target),
    ):
        if aligner.source_dim != space.dim:
            raise InputError(
                f"{name} must read vectors of space {space.id!r}, of length {space.dim}. Got a map that reads "
                f"{aligner.source_dim}."
            )
    if pair.forward_map.normalize != pair.backward_map.normalize:
        raise InputError(
            "forward_map and backward_map must both normalize their output, or neither. Got "
            f"{pair.forward_map.normalize} and {pair.backward_map.normalize}."
        )
    spaces = [source.to_json(), target.to_json()]
    digest = hashlib.sha256(json.dumps([method, *spaces]).encode())
    for aligner in (pair.forward_map, pair.backward_map):
        digest.update(_map_digest(aligner))
    maps = digest.hexdigest()
    return SpaceVersion(
        name=target.name,
        version=f"{target.version[:_VERSION_ROOM]}+{method}.{maps[:12]}",
        dim=pair.forward_map.target_dim,
        similarity=target.similarity,
        normalized=pair.forward_map.normalize,
        modality=target.modality,
        fingerprint={"method": method, "source": source.id, "target": target.id, "maps": maps},
    )


def _map_digest(aligner: Aligner) -> bytes:
    """Return the SHA-256 of an aligner's kind, options and arrays; the same after saving and loading."""
    digest = hashlib.sha256(json.dumps([aligner.kind, aligner.config()], sort_keys=True).encode())
    for name, array in sorted(aligner.state().items()):
        ordered = np.ascontiguousarray(array)
        header = [name, ordered.dtype.newbyteorder("<").str, list(ordered.shape)]
        digest.update(json.dumps(header).encode())
        digest.update(ordered.astype(ordered.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.digest()
