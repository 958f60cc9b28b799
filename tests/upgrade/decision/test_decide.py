"""The verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.errors import InputError
from embcompat.evaluation.retrieval.evaluate import evaluate_retrieval
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.results import Estimate, RetrievalReport
from embcompat.spaces import SpaceVersion
from embcompat.upgrade import MODES, Option, decide, measured_options, option_from

OLD = SpaceVersion(name="old", version="1", dim=16, normalized=True)
NEW = SpaceVersion(name="new", version="1", dim=16, normalized=True)
ITEMS, QUERIES = 400, 120


def unit(vectors: np.ndarray) -> np.ndarray:
    return normalize_rows(vectors.astype(np.float32))


class World:
    """Items with a meaning; models that see it through noise; queries that ask for one item each."""

    def __init__(self, *, old_noise: float = 0.6, new_noise: float = 0.2) -> None:
        rng = np.random.default_rng(7)
        meaning = rng.normal(size=(ITEMS, 16))
        self.ids = [f"d{row}" for row in range(ITEMS)]
        self.sides = {}
        new_turn = np.linalg.qr(meaning[:16])[0]
        self.noiseless = unit(meaning @ new_turn)
        for name, noise, turn in (("old", old_noise, np.eye(16)), ("new", new_noise, new_turn)):
            items = meaning + noise * rng.normal(size=meaning.shape)
            queries = meaning[:QUERIES] + noise * rng.normal(size=(QUERIES, 16))
            self.sides[name] = unit(items @ turn), unit(queries @ turn)

    def report(self, converted: np.ndarray, *, queries: int = QUERIES, fused: Sequence[float] = ()) -> RetrievalReport:
        (old_items, old_queries), (new_items, new_queries) = self.sides["old"], self.sides["new"]
        requests = self.ids[:queries]
        return evaluate_retrieval(
            old_queries=Embeddings(old_queries[:queries], requests, OLD),
            new_queries=Embeddings(new_queries[:queries], requests, NEW),
            old_gallery=Embeddings(old_items, self.ids, OLD),
            new_gallery=Embeddings(new_items, self.ids, NEW),
            converted=Embeddings(unit(converted), self.ids, NEW),
            qrels=Qrels.one_each(requests),
            metrics=(),
            fused_weights=fused,
        )

    @property
    def perfect(self) -> np.ndarray:
        return self.sides["new"][0]

    @property
    def shuffled(self) -> np.ndarray:
        return self.perfect[np.random.default_rng(0).permutation(ITEMS)]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def option(mode: str, difference: float, retention: float, *needs: str, width: float = 0.02, **known: float) -> Option:
    figures = {
        name: Estimate(value, value - width, value + width)
        for name, value in (("difference", difference), ("retention", retention))
    }
    return Option.model_validate({"mode": mode, "needs": needs, **figures, **known})


def test_a_perfect_map_passes_whatever_the_floor(world: World) -> None:
    report = world.report(world.perfect)
    for floor in (0.0, 0.8, 1.0):
        assert decide(report, quality_floor=floor).mode == "convert"
    assert report.loss is None
    assert report.notes == ()


def test_shuffled_pairs_fail_and_are_said_to_lose_first(world: World) -> None:
    decision = decide(world.report(world.shuffled))
    assert decision.mode == "reindex"
    assert decision.reason.startswith(
        "The aligner loses to today's search, so re-embed everything: a full reindex brings"
    )
    assert any(
        sentence.startswith("Converting alone is worse than today: ndcg@10 −0.") for sentence in decision.because
    )
    assert decide(world.report(world.shuffled), models_alive=["new"]).mode == "reindex"


def test_the_gate_is_monotone_between_a_perfect_map_and_shuffled_pairs(world: World) -> None:
    steps = np.linspace(0, 1, 13)
    reports = [world.report((1 - step) * world.perfect + step * world.shuffled) for step in steps]
    for floor in (0.5, 0.8, 0.95):
        passes = [decide(report, quality_floor=floor).mode == "convert" for report in reports]
        assert passes[0]
        assert not passes[-1]
        assert passes == sorted(passes, reverse=True)
    retentions = [report.retention.value for report in reports]
    assert retentions == sorted(retentions, reverse=True)


def test_a_higher_floor_never_lets_more_through(world: World) -> None:
    report = world.report(world.perfect * 0.8 + world.shuffled * 0.2)
    passes = [decide(report, quality_floor=floor).mode == "convert" for floor in np.linspace(0, 1, 21)]
    assert passes == sorted(passes, reverse=True)


def test_the_same_model_under_another_name_needs_no_aligner() -> None:
    world = World()
    world.sides["new"] = world.sides["old"]
    report = world.report(world.perfect)
    decision = decide(report)
    assert (decision.mode, decision.needs) == ("swap", ("new",))
    assert decision.reason.startswith(
        "No aligner is needed: the new model searches the stored vectors as they are, and"
    )
    assert decide(report, quality_floor=1.0, models_alive=["new"]).mode == "swap"


def test_a_downgrade_says_stay_even_when_the_map_is_perfect() -> None:
    world = World(old_noise=0.2, new_noise=0.6)
    decision = decide(world.report(world.perfect, fused=(0.5,)))
    assert decision.mode == "stay"
    assert decision.reason.startswith("The new model is worse than the old one on these queries: ndcg@10 −0.")
    assert any(sentence.startswith("Converting alone is worse than today: ") for sentence in decision.because)


def test_few_queries_decide_nothing(world: World) -> None:
    report = world.report(world.perfect, queries=12)
    decision = decide(report)
    assert (decision.mode, decision.needs) == ("unjudged", ())
    assert decision.reason == (
        "Only 12 held-out queries could be judged, and a verdict needs 20: nothing tells yet which model is better."
    )
    assert decide(report, models_alive=["new"]).mode == "reindex"


def test_a_new_model_that_is_not_shown_to_be_better_says_stay() -> None:
    world = World(old_noise=0.45, new_noise=0.4)
    report = world.report(world.perfect)
    decision = decide(report)
    assert report.differences["full_reindex"].value > 0
    assert decision.mode == "stay"
    assert decision.reason.startswith(
        "The new model is not shown to be better than the old one on these queries: ndcg@10 +"
    )
    assert "The interval contains zero: more judged queries would show smaller differences." in decision.because


def test_converted_items_that_beat_both_models_are_worth_converting() -> None:
    world = World(old_noise=0.45, new_noise=0.5)
    report = world.report(world.noiseless, fused=(0.5,))
    assert report.differences["full_reindex"].value <= 0 < report.differences["converted"].low
    decision = decide(report)
    assert (decision.mode, decision.needs) == ("convert", ("new",))
    assert decision.reason.startswith("Converting is better than today and keeps 1")
    assert " % of a full reindex; the new model is " in decision.reason
    assert decision.reason.endswith(" the old one.")
    assert "The gain is the aligner's: items that the new model embeds do not have it." in decision.because
    native = option("backfill", 0.2, 1.1, "new", fraction=0.1, items=1)
    costs = {"convert": 9.0, "fused": 1.0, "backfill": 1.0, "reindex": 1.0}
    assert decide(report, options=[native], seconds=costs).mode == "convert"


def test_converted_items_that_beat_the_new_model_alone_are_not() -> None:
    world = World(old_noise=0.2, new_noise=0.6)
    report = world.report(world.noiseless + 0.5 * np.random.default_rng(1).normal(size=world.noiseless.shape))
    assert report.differences["converted"].value < 0
    assert decide(report).mode == "stay"
    assert decide(world.report(world.perfect)).mode == "stay"
    without_old = decide(world.report(world.perfect), models_alive=["new"])
    assert without_old.mode == "convert"
    assert not any("The gain is the aligner's" in each for each in without_old.because)


def test_staying_names_what_is_better_all_the_same() -> None:
    world = World(old_noise=0.45, new_noise=0.5)
    fused = option("fused", 0.1, 1.2, "old", "new")
    decision = decide(world.report(world.shuffled), options=[fused])
    assert decision.mode == "stay"
    assert (
        "Fused scoring is better than today, +0.100 (95 % interval +0.080 to +0.120), but needs both models at query "
        "time." in decision.because
    )


def test_embedding_most_items_is_not_worth_it_where_a_full_reindex_is_not() -> None:
    world = World(old_noise=0.45, new_noise=0.4)
    lazy = option("lazy_backfill", 0.1, 1.2, "old", "new", depth=10, items=320, share_of_reindex=0.8)
    report = world.report(world.shuffled)
    full = report.differences["full_reindex"]
    assert full.low <= 0 < full.value
    decision = decide(report, options=[lazy])
    assert decision.mode == "stay"
    assert "not shown to be better than the old one" in decision.reason
    assert any(each.startswith("Fused scoring and re-embedding the 10 items") for each in decision.because)
    assert decide(report, options=[lazy], models_alive=["new"]).mode == "reindex"


def test_fused_is_chosen_where_converting_alone_is_not_enough(world: World) -> None:
    rng = np.random.default_rng(1)
    converted = world.perfect + 0.33 * rng.normal(size=world.perfect.shape)
    report = world.report(converted, fused=(0.3, 0.5, 0.7))
    decision = decide(report, quality_floor=0.78)
    assert (decision.mode, decision.needs) == ("fused", ("old", "new"))
    assert decision.reason.startswith("Fused scoring is better than today and keeps ")
    assert decide(report, quality_floor=0.78, models_alive=["new"]).mode == "reindex"


def test_the_cheapest_mode_above_the_floor_is_chosen(world: World) -> None:
    report = world.report(world.perfect)
    lazy = option("lazy_backfill", 0.2, 0.97, "new")
    assert decide(report, options=[lazy]).mode == "convert"
    assert (
        decide(report, options=[lazy], seconds={"convert": 9, "lazy_backfill": 2, "reindex": 60}).mode
        == "lazy_backfill"
    )
    assert decide(report, options=[lazy], seconds={"lazy_backfill": 2}).mode == "convert"
    decision = decide(report, seconds={"convert": 60, "reindex": 40})
    assert decision.mode == "reindex"
    assert decision.reason.startswith(
        "A full reindex is better than today and costs no more than converting: ndcg@10 +"
    )
    assert "Cost: 400 items to embed, 40 s." in decision.because
    assert "Converting would cost: 1 min." in decision.because


def test_modes_measured_elsewhere_compete(world: World) -> None:
    report = world.report(world.shuffled)
    lazy, part = option("lazy_backfill", 0.2, 0.92, "new"), option("backfill", 0.2, 0.95, "new")
    decision = decide(report, options=[part, lazy])
    assert decision.mode == "lazy_backfill"
    assert decision.reason == (
        "Converting and re-embedding what queries bring up is better than today and keeps 92.0 % of a full reindex."
    )
    assert (
        "Of a full reindex it keeps 92.0 % (95 % interval 90.0 % to 94.0 %); the floor is 80.0 %." in decision.because
    )
    assert decide(report, options=[option("lazy_backfill", 0.2, 0.81, "new")]).mode == "reindex"
    assert decide(report, options=[option("lazy_backfill", 0.01, 0.92, "new")]).mode == "reindex"


def test_the_smallest_fraction_that_keeps_the_floor_is_chosen(world: World) -> None:
    report = world.report(world.shuffled)
    parts = [
        option("backfill", 0.2, retention, "new", fraction=fraction, items=int(400 * fraction))
        for retention, fraction in ((0.99, 0.5), (0.81, 0.05), (0.93, 0.2), (0.84, 0.1))
    ]
    decision = decide(report, options=parts)
    assert (decision.mode, decision.fraction) == ("backfill", 0.1)
    assert decision.reason.startswith(
        "Converting and re-embedding 10 % of the gallery is better than today and keeps 84.0 %"
    )
    assert decide(report, options=parts, quality_floor=0.9).fraction == 0.2
    assert decide(report, options=parts, quality_floor=0.98).mode == "reindex"
    assert decide(report, options=parts[:1]).to_dict()["fraction"] == 0.5


def test_fewer_models_alive_are_preferred_and_said(world: World) -> None:
    report = world.report(world.shuffled)
    hybrid = option("lazy_backfill", 0.2, 0.97, "old", "new", items=100)
    alone = option("lazy_backfill", 0.2, 0.92, "new", items=120)
    decision = decide(report, options=[hybrid, alone], seconds_per_item=1)
    assert decision.needs == ("new",)
    decision = decide(report, options=[hybrid, alone], quality_floor=0.93)
    assert decision.needs == ("old", "new")
    assert decision.reason.startswith(
        "Fused scoring and re-embedding what queries bring up is better than today and keeps 97"
    )
    assert decide(report, options=[hybrid], models_alive=["new"]).mode == "reindex"


def test_time_and_price_of_an_item_make_the_cost(world: World) -> None:
    report = world.report(world.shuffled)
    lazy = option("lazy_backfill", 0.2, 0.97, "new", items=300)
    part = option("backfill", 0.2, 0.9, "new", fraction=0.2, items=80)
    assert decide(report, options=[lazy, part]).mode == "lazy_backfill"
    decision = decide(report, options=[lazy, part], seconds_per_item=30, price_per_item=0.01)
    assert decision.mode == "backfill"
    assert "Cost: 80 items to embed, 40 min, price 0.80." in decision.because
    assert decide(report, options=[lazy, part], price_per_item=0.01).mode == "backfill"
    decision = decide(report, options=[lazy], seconds={"convert": 7_200}, seconds_per_item=120)
    assert "Cost: 300 items to embed, 12 h." in decision.because


def test_an_option_takes_the_gallery_that_speaks_least_for_it() -> None:
    rng = np.random.default_rng(0)
    original, goal = rng.uniform(0.2, 0.4, 50), rng.uniform(0.6, 0.8, 50)
    good, bad = (goal, original, goal), (original + 0.1, original, goal)
    best = option_from("backfill", [good, bad], needs=("new",), fraction=0.1, items=3)
    assert best.difference.value == pytest.approx(0.1)
    assert best.retention.value == pytest.approx((original + 0.1).mean() / goal.mean())
    assert option_from("convert", [good], needs=("new",)).retention == Estimate(1.0, 1.0, 1.0)
    assert option_from("convert", [(goal, original, np.zeros(50))], needs=("new",)).retention == Estimate(0.0, 0.0, 0.0)
    assert json.loads(json.dumps(best.to_dict())) == {
        "mode": "backfill",
        "needs": ["new"],
        "depth": None,
        "fraction": 0.1,
        "items": 3,
        "items_embedded": 3,
        "share_of_reindex": None,
        "cold": None,
        "difference": best.difference.to_dict(),
        "retention": best.retention.to_dict(),
    }


def test_a_dead_new_model_says_stay(world: World) -> None:
    decision = decide(world.report(world.perfect), models_alive=["old"])
    assert decision.reason == "The new model cannot be alive at query time, so staying is the only choice."


def test_the_figures_that_speak_least_for_a_mode_count(world: World) -> None:
    whole = measured_options(world.report(world.perfect))
    assert [choice.mode for choice in whole] == ["swap", "convert", "reindex"]
    assert whole[2].retention == Estimate(1.0, 1.0, 1.0)
    assert all(choice.mode in MODES for choice in whole)


def test_a_decision_is_json_and_one_sentence(world: World) -> None:
    decision = decide(world.report(world.perfect))
    assert json.loads(json.dumps(decision.to_dict())) == {
        "decision": "convert",
        "reason": decision.reason,
        "because": list(decision.because),
        "needs": ["new"],
        "depth": None,
        "fraction": None,
    }
    assert decision.reason.endswith(".")
    assert ". " not in decision.reason


def test_bad_input(world: World) -> None:
    report = world.report(world.perfect)
    with pytest.raises(InputError, match="quality_floor must be a fraction, 0 to 1. Got 80"):
        decide(report, quality_floor=80)
    with pytest.raises(InputError, match=r"models_alive must name 'old', 'new' or both. Got \['newer'\]"):
        decide(report, models_alive=["newer"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="models_alive must name"):
        decide(report, models_alive=[])
    with pytest.raises(InputError, match="a time of 0 or more. Got 'convert': -1"):
        decide(report, seconds={"convert": -1})
    with pytest.raises(InputError, match="price_per_item must be 0 or more. Got -2"):
        decide(report, price_per_item=-2)
    with pytest.raises(InputError, match="seconds must give modes"):
        decide(report, seconds={"sell": 1})  # type: ignore[dict-item]
