"""A simulated model life-cycle: five versions of an encoder that does not exist, with no face anywhere.

Every subject and every image is a point in a latent space, and some people look alike. A version sees that space a
little differently from the version before it, and turns what it sees into a 128-d vector. Five numbers make a version
(``life_cycle.json``, found by ``calibrate_life_cycle.py``); they are chosen so that scenario 1 of each version has the
mean distances and the FAR of the paper's Table 1. All of this is ours: the paper's models and faces are private.

    python recipes/face/life_cycle.py --output recipes-out

prints scenario 1 of each version beside the paper's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from paper import SCENARIO_1, TEST_SUBJECTS
from recipe import make_parser, write_result

import embcompat as ec
from embcompat.embeddings import PairedEmbeddings
from embcompat.evaluation.verification import count_impostors, scenario_pairs, threshold_at_frr

DIM = 128
QUALITY_SPREAD = 0.25
"""Standard deviation of the logarithm of an image's noise. In Table 1 the FRR of scenario 2 falls with its mean
genuine distance as it does where that distance has a log-spread of about 0.2 [derived]; two images make 0.25 of it."""

LOOKS = 5_000
"""How many looks there are; everybody has one. One impostor pair in so many shows two people of one look, and about a
fifth of these are falsely accepted at the paper's FRR: so that the FAR rises with shrinking distances about as fast as
from scenario 1 to 2 in Table 1, with the power 9 to 16 [derived]. Without looks the power would be about 28."""

SPECTRUM = 0.8
"""Direction k of the latent space has variance proportional to k^-0.8: people of two looks are almost never confused
[ours]."""

WARP, GAIN = 0.5, 2.0
"""Weight and steepness of the part of an encoder that is not linear [ours]."""

Part = Literal["train", "test"]
PARTS: tuple[Part, ...] = ("train", "test")


@dataclass(frozen=True)
class Version:
    """One encoder.

    Attributes:
        name: Name of the version.
        kept_identity: Part of the variance of what it sees of a person that the version before it sees too.
        kept_image: The same of what it sees of an image.
        likeness: Part of the variance of what it sees of a person that is the same for all people of one look.
        image_noise: How far images of one subject lie apart, in multiples of how far subjects do.
        scale: Factor on the vectors.
    """

    name: str
    kept_identity: float
    kept_image: float
    likeness: float
    image_noise: float
    scale: float

    @property
    def space(self) -> ec.SpaceVersion:
        """The space of its vectors: not normalized, compared by the Euclidean distance, as the paper's are."""
        return ec.SpaceVersion(
            name="simulated", version=self.name, dim=DIM, similarity="euclidean", modality="simulated-face"
        )


def read_versions() -> dict[str, Version]:
    """Read the calibrated versions by name, oldest first."""
    text = Path(__file__).with_name("life_cycle.json").read_text()
    return {each["name"]: Version(**each) for each in json.loads(text)["versions"]}


@dataclass(frozen=True, eq=False)
class Views:
    """What each version sees of the same images, before it encodes them.

    Attributes:
        labels: The subject of each image.
        quality: Factor on the noise of each image (n, 1).
        latent: Latent points (n, 128) by version.
    """

    labels: list[str]
    quality: NDArray[np.float32]
    latent: dict[str, NDArray[np.float32]]


def simulate_views(
    names: Sequence[str], subjects: int, *, part: Part, seed: int, versions: dict[str, Version] | None = None
) -> Views:
    """Simulate two images of each subject as some versions see them; see `simulate` for the arguments."""
    versions = read_versions() if versions is None else versions
    rng = np.random.default_rng([seed, PARTS.index(part)])
    labels = [f"{part}-{number}" for number in range(subjects) for _ in range(2)]
    quality = np.exp(QUALITY_SPREAD * rng.standard_normal((2 * subjects, 1), dtype=np.float32))
    look_of = rng.integers(LOOKS, size=subjects)
    views: list[NDArray[np.float32]] = []
    latent = {}
    for version in versions.values():
        fresh = [rng.standard_normal((rows, DIM), dtype=np.float32) for rows in (LOOKS, subjects, 2 * subjects)]
        shares = version.kept_identity, version.kept_identity, version.kept_image
        views = [_mix(old, new, share) for old, new, share in zip(views or fresh, fresh, shares, strict=True)]
        if version.name in names:
            look, identity, image = views
            person = _mix(look[look_of], identity, version.likeness)
            latent[version.name] = np.repeat(person, 2, axis=0) + version.image_noise * quality * image
    return Views(labels, quality, latent)


def simulate(
    names: Sequence[str], subjects: int, *, part: Part, seed: int, versions: dict[str, Version] | None = None
) -> dict[str, ec.Embeddings]:
    """Embed two images of each subject with some versions.

    Args:
        names: The versions wanted.
        subjects: Number of subjects; a larger number starts with other subjects, not with the same ones.
        part: Which people; the parts share neither a person nor a look.
        seed: Seed of the people. The encoders are always the same.
        versions: The life-cycle; the calibrated one when None.

    Returns:
        Embeddings of the same 2·subjects images, labelled by subject, by version.
    """
    versions = read_versions() if versions is None else versions
    views = simulate_views(names, subjects, part=part, seed=seed, versions=versions)
    ids = [f"{label}-{'ab'[row % 2]}" for row, label in enumerate(views.labels)]
    return {
        name: ec.Embeddings(encode(versions[name], views.latent[name]), ids, versions[name].space, views.labels)
        for name in names
    }


def _mix(old: NDArray[np.float32], new: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    return np.float32(np.sqrt(share)) * old + np.float32(np.sqrt(1 - share)) * new


def encode(version: Version, latent: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn latent points (n, 128) into the vectors of a version.

    The directions are weighted by the spectrum and rotated; a tanh of another rotation is added.
    """
    weights = np.arange(1, DIM + 1) ** (-SPECTRUM / 2)
    weights /= np.sqrt(np.mean(weights**2))
    first, second = (_rotation(version.name, number) for number in range(2))
    plain = latent @ (weights[:, None] * first).astype(np.float32)
    warped = plain + WARP * np.tanh(GAIN * (plain @ second.astype(np.float32)))
    return (version.scale * warped).astype(np.float32)


def simulated_pairs(source: str, target: str, subjects: int, *, part: Part, seed: int) -> PairedEmbeddings:
    """Pair the vectors of two versions, see `simulate`."""
    faces = simulate([source, target], subjects, part=part, seed=seed)
    return PairedEmbeddings(faces[source], faces[target])


def scenario_1(faces: ec.Embeddings, *, frr: float, seed: int = 0) -> dict[str, float]:
    """Measure a version among itself: mean distances, and FAR at an FRR."""
    pairs = scenario_pairs(faces, faces, faces, seed=seed)["S1"]
    threshold = threshold_at_frr(pairs.genuine.scores, frr, votes=pairs.genuine.votes)
    counts = count_impostors(pairs, [threshold])
    return {
        "mean_genuine": float(-pairs.genuine.scores.mean()),
        "mean_impostor": counts.mean_distance,
        "frr": float(np.mean(pairs.genuine.scores <= threshold)),
        "far": float(counts.above[0]) / counts.total,
    }


def _rotation(name: str, number: int) -> NDArray[np.float64]:
    """Return a rotation (128, 128) that belongs to a version for good."""
    rng = np.random.default_rng([number, *name.encode()])
    return np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]


def compare(subjects: int, seed: int) -> dict[str, Any]:
    """Put scenario 1 of each version beside the paper's."""
    faces = simulate(list(SCENARIO_1), subjects, part="test", seed=seed)
    comparison: dict[str, Any] = {}
    for name, paper in SCENARIO_1.items():
        ours = scenario_1(faces[name], frr=paper.frr, seed=seed)
        published = {**vars(paper), "far": 1 / paper.one_in}
        ratios = {key: ours[key] / published[key] for key in ("mean_genuine", "mean_impostor", "far")}
        comparison[name] = {"simulated": ours, "paper": published, "simulated_to_paper": ratios}
    return comparison


def print_versions(comparison: dict[str, Any], *, smoke: bool) -> None:
    """Print scenario 1 of each version, with the paper's in brackets but in a smoke run."""
    print(f"{'version':9}{'mean genuine':>20}{'mean impostor':>20}{'FRR':>18}{'FAR':>22}")
    for name, each in comparison.items():
        columns = []
        for values in (each["simulated"], each["paper"]):
            far = f"1/{1 / values['far']:,.0f}" if values["far"] else "none"
            columns.append(
                [f"{values['mean_genuine']:.4f}", f"{values['mean_impostor']:.4f}", f"{values['frr']:.2%}", far]
            )
        cells = [ours if smoke else f"{ours} ({paper})" for ours, paper in zip(*columns, strict=True)]
        print(f"{name:9}{cells[0]:>20}{cells[1]:>20}{cells[2]:>18}{cells[3]:>22}")


def main(arguments: Sequence[str] | None = None) -> None:
    options = make_parser(__doc__).parse_args(arguments)
    subjects = 500 if options.smoke else TEST_SUBJECTS
    comparison = compare(subjects, options.seed)
    print(f"Simulated life-cycle, scenario 1, {subjects:,} subjects{'' if options.smoke else ' (paper)'}")
    print_versions(comparison, smoke=options.smoke)
    write_result(options, "life_cycle", {"test_subjects": subjects, "versions": comparison})


if __name__ == "__main__":
    main()
