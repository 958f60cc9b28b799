"""Face vectors of Labelled Faces in the Wild, where the user has them, and a stand-in for smoke runs.

``DATA/faces/`` holds ``lfw_<model>_128.npy`` (float32, not normalized, one row an image) and ``lfw_labels.npz``
(``ids``: the person of each row; ``detected``: whether a face was found, rows without one are left out).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import embcompat as ec
from embcompat.embeddings import normalize_rows
from embcompat.testing import make_pairs

MODEL_PAIRS = (("mfn_a", "mfn_b"), ("dlib", "mfn_b"))
"""Old and new model of the upgrades that recipes measure."""


def load_faces(data: Path, model: str, *, normalized: bool = True) -> ec.Embeddings:
    """Read the faces of one model, labelled by person.

    Args:
        data: Folder with ``faces/``.
        model: For instance ``mfn_b``.
        normalized: Whether to scale to unit norm and compare by cosine; else as the model wrote them, compared by the
            Euclidean distance.
    """
    folder = data / "faces"
    labels = np.load(folder / "lfw_labels.npz")
    vectors = np.load(folder / f"lfw_{model}_128.npy")
    space = ec.SpaceVersion(
        name=model.replace("_", "-"),
        version="unit" if normalized else "raw",
        dim=vectors.shape[1],
        similarity="cosine" if normalized else "euclidean",
        normalized=normalized,
        modality="face",
    )
    people = [f"person-{number}" for number in labels["ids"]]
    faces = ec.Embeddings.from_npy(normalize_rows(vectors) if normalized else vectors, labels=people, space=space)
    return faces.select(np.flatnonzero(labels["detected"]))


def load_pairs(data: Path, old: str, new: str, *, normalized: bool = True) -> ec.PairedEmbeddings:
    """Read the same faces under an old and a new model, see `load_faces`."""
    return ec.pair_embeddings(
        load_faces(data, old, normalized=normalized), load_faces(data, new, normalized=normalized)
    )


def stand_in_pairs(*, subjects: int = 150, normalized: bool = True, seed: int = 0) -> ec.PairedEmbeddings:
    """Make small 128-d pairs, four rows a subject, for a smoke run without data: random, never to be quoted."""
    return make_pairs(
        4 * subjects,
        source_dim=128,
        target_dim=128,
        how="affine",
        noise=0.5,
        subjects=subjects,
        normalized=normalized,
        similarity="cosine" if normalized else "euclidean",
        seed=seed,
    ).pairs
