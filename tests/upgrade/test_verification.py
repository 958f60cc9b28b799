"""The verdict on a verification: what is better than today, in figures and in words."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.evaluation import evaluate_verification
from embcompat.results import Estimate, VerificationReport
from embcompat.spaces import SpaceVersion
from embcompat.upgrade.verification import decide_verification

PEOPLE, IMAGES = 120, 4

Interval = tuple[float, float, float]
BETTER, BEST, OPEN, EQUAL, OPEN_ABOVE, WORSE, WORST = (
    (0.5, 0.4, 0.6),
    (0.3, 0.2, 0.4),
    (0.9, 0.7, 1.2),
    (1.0, 1.0, 1.0),
    (1.1, 0.8, 1.5),
    (1.2, 1.05, 1.5),
    (1.7, 1.3, 2.1),
)


@pytest.fixture(scope="module")
def report() -> VerificationReport:
    """A new model whose vectors have lengths that mean nothing, compared by distance; the aligner gives all one."""
    rng = np.random.default_rng(0)
    faces = np.repeat(rng.standard_normal((PEOPLE, 16)), IMAGES, axis=0)
    labels = [str(row // IMAGES) for row in range(len(faces))]

    def embed(name: str, noise: float, lengths: np.ndarray | float) -> Embeddings:
        vectors = normalize_rows(faces + noise * rng.standard_normal(faces.shape)) * lengths
        space = SpaceVersion(name=name, version="1", dim=16, similarity="euclidean")
        return Embeddings(vectors, [str(row) for row in range(len(faces))], space, labels)

    old = embed("old", 0.7, 1.0)
    new = embed("new", 0.3, np.exp(0.6 * rng.standard_normal((len(faces), 1))))
    return evaluate_verification(old, new, embed("new", 0.3, 2.0), all_images=True, replicates=200)


def with_ratios(report: VerificationReport, converted: Interval, new: Interval) -> VerificationReport:
    return report.model_copy(update={"status_quo_ratio": Estimate(*converted), "reindex_ratio": Estimate(*new)})


def test_converted_vectors_that_beat_both_models_are_worth_converting(report: VerificationReport) -> None:
    assert report.reindex_ratio is not None
    assert report.status_quo_ratio is not None
    assert report.reindex_ratio.low > 1 > report.status_quo_ratio.high
    decision = decide_verification(report)
    assert (decision.mode, decision.needs) == ("convert", ("new",))
    assert decision.reason.startswith("A converted gallery is better than today: 0.")
    assert "; two new vectors are worse than today, with " in decision.reason
    assert any("enrolled with the new model alone do not have it" in each for each in decision.because)
    assert any("compared by Euclidean distance: unless they have unit norm" in each for each in decision.because)
    assert any(each.startswith("The old threshold does not carry over") for each in decision.because)


@pytest.mark.parametrize(
    ("converted", "new", "mode", "reason"),
    [
        (BETTER, BEST, "convert", "better than today: 0.50 times as many false accepts at 5 % false rejections."),
        (BETTER, OPEN, "convert", "; two new vectors are not shown to be better than today, with 0.90 times as many."),
        (BETTER, EQUAL, "convert", "; two new vectors are not better than today, with 1.00 times as many."),
        (BETTER, WORST, "convert", "; two new vectors are worse than today, with 1.70 times as many."),
        (OPEN, BEST, "reindex", "a converted gallery is not shown to be better than today."),
        (EQUAL, BEST, "reindex", "a converted gallery is not better than today."),
        (WORSE, BEST, "reindex", "a converted gallery is worse than today."),
        (OPEN, OPEN, "stay", "The new model is not shown to be better than the old one: 0.90 times"),
        (OPEN, OPEN_ABOVE, "stay", "The new model is not better than the old one: 1.10 times"),
        (EQUAL, EQUAL, "stay", "The new model is not better than the old one: 1.00 times"),
        (WORSE, WORST, "stay", "The new model is worse than the old one: 1.70 times"),
    ],
)
def test_the_decision_follows_from_both_intervals(
    report: VerificationReport, converted: Interval, new: Interval, mode: str, reason: str
) -> None:
    decision = decide_verification(with_ratios(report, converted, new))
    assert decision.mode == mode
    assert reason in decision.reason
    gains = [each.split(":")[0] for each in decision.because if each.startswith("The gain is")]
    without = {
        BEST: [],
        OPEN: ["The gain is shown for converted vectors only"],
        EQUAL: ["The gain is the aligner's, not the new model's"],
        WORST: ["The gain is the aligner's, not the new model's"],
    }
    assert gains == (without[new] if mode == "convert" else [])


@pytest.mark.parametrize(
    ("converted", "words"), [(OPEN, "not shown to be better than"), (EQUAL, "not better than"), (WORSE, "worse than")]
)
def test_staying_names_what_conversion_is_worth(report: VerificationReport, converted: Interval, words: str) -> None:
    because = decide_verification(with_ratios(report, converted, WORST)).because
    assert f"A converted gallery is {words} today." in because


def test_unit_vectors_are_not_told_to_be_scaled(report: VerificationReport) -> None:
    by_cosine = with_ratios(report, BETTER, WORST).model_copy(update={"similarity": "cosine"})
    decision = decide_verification(by_cosine)
    assert decision.mode == "convert"
    assert not any("unit norm" in each for each in decision.because)


def test_few_people_or_none_accepted_decide_nothing(report: VerificationReport) -> None:
    few = decide_verification(report.model_copy(update={"subjects": 19}))
    assert (few.mode, few.reason) == (
        "unjudged",
        "Only 19 held-out subjects could be compared, and a verdict needs 20.",
    )


def test_where_nobody_was_falsely_accepted_more_people_are_asked_for(report: VerificationReport) -> None:
    none = report.model_copy(update={"status_quo_ratio": None})
    decision = decide_verification(none)
    assert (decision.mode, decision.because) == ("unjudged", ("Compare more people.",))
    two_each = decide_verification(none.model_copy(update={"all_images": False}))
    assert two_each.because == ("Compare more people, or all their images: --all-images.",)
