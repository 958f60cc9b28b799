"""The modes that re-embed a part, as `evaluate` measures them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from embcompat.aligners import fit_affine
from embcompat.cli import app
from embcompat.cli.evaluate import parse_models
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, normalize_rows
from embcompat.errors import InputError, UnknownNameError
from embcompat.evaluation.retrieval.evaluate import evaluate_retrieval
from embcompat.evaluation.retrieval.lines import Sides
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.export import save_artifact
from embcompat.spaces import SpaceVersion
from embcompat.upgrade import MeasuredModes, decide, measure_modes
from embcompat.upgrade.modes import measure_weighing

OLD = SpaceVersion(name="old", version="1", dim=16, normalized=True)
NEW = SpaceVersion(name="new", version="1", dim=16, normalized=True)
ITEMS, QUERIES, FITTED = 500, 80, 60


def see(rows: np.ndarray, noise: float, space: SpaceVersion, ids: list[str], seed: int) -> Embeddings:
    views = rows + noise * np.random.default_rng(seed).normal(size=rows.shape)
    return Embeddings(normalize_rows(views.astype(np.float32)), ids, space)


MEANING = np.random.default_rng(0).normal(size=(ITEMS, 16))
IDS = [f"d{row}" for row in range(ITEMS)]
ASKED = IDS[:QUERIES]
OLD_ITEMS, NEW_ITEMS = see(MEANING, 0.8, OLD, IDS, 1), see(MEANING, 0.2, NEW, IDS, 2)
QUERIES_OF = [see(MEANING[:QUERIES], 0.2, space, ASKED, 3 + row) for row, space in enumerate((OLD, NEW))]
CONVERTED = Embeddings(OLD_ITEMS.vectors, IDS, NEW)
NATIVE = set(IDS[-FITTED:])


def measure(converted: Embeddings = CONVERTED, native: set[str] = NATIVE) -> MeasuredModes:
    sides = Sides(QUERIES_OF[0], QUERIES_OF[1], OLD_ITEMS, NEW_ITEMS, converted)
    return measure_modes(sides, Qrels.one_each(ASKED), native, metric="ndcg@10", seed=0)


@pytest.fixture(scope="module")
def modes() -> MeasuredModes:
    return measure()


def test_every_mode_is_there_with_what_it_costs(modes: MeasuredModes) -> None:
    result = [(option.mode, option.fraction, option.needs) for option in modes.options]
    models, alone = ("old", "new"), ("new",)
    # 60 of 500 items were fitted: 5 and 10 % are native already
    assert result == [
        ("lazy_backfill", None, alone),
        ("lazy_backfill", None, models),
        ("lazy_backfill", None, alone),
        ("lazy_backfill", None, alone),
        ("backfill", 0.2, alone),
        ("backfill", 0.2, models),
        ("backfill", 0.5, alone),
        ("backfill", 0.5, models),
    ]
    assert [option.depth for option in modes.options[:4]] == [50, 50, 10, 20]
    assert [option.items for option in modes.options[4:]] == [40, 40, 190, 190]
    for option, curve in zip(modes.options[:4], modes.curves, strict=True):
        assert option.items == curve.embedded[-1] <= ITEMS - FITTED
        assert option.depth == curve.depth


def test_more_is_better_and_all_beat_conversion(modes: MeasuredModes) -> None:
    report = evaluate_retrieval(
        old_queries=QUERIES_OF[0],
        new_queries=QUERIES_OF[1],
        old_gallery=OLD_ITEMS,
        new_gallery=NEW_ITEMS,
        converted=CONVERTED,
        qrels=Qrels.one_each(ASKED),
        native_ids=NATIVE,
    )
    lazy, _, shallow, _, small, _, large, _ = modes.options
    converted = min(part.retentions["converted"].value for part in report.parts)
    assert converted < small.retention.value < large.retention.value < lazy.retention.value
    assert lazy.share_of_reindex == 1.0  # eighty queries at depth 50 bring up the whole gallery of 500
    assert shallow.items is not None
    assert lazy.items is not None
    assert shallow.items < lazy.items
    decision = decide(report, options=[lazy, *modes.options[4:]], quality_floor=0.9)
    assert decision.mode == "backfill"
    decision = decide(report, options=[lazy], quality_floor=0.9)
    assert decision.mode == "reindex"
    assert any(
        "is not cheaper: it embedded 100.0 % of what a full reindex embeds." in each for each in decision.because
    )
    assert (
        decide(report, options=[lazy.model_copy(update={"share_of_reindex": 0.5})], quality_floor=0.9).mode
        == "lazy_backfill"
    )


def test_a_cold_gallery_is_worth_less_than_a_warm_one(modes: MeasuredModes) -> None:
    for option, curve in zip(modes.options[:4], modes.curves, strict=True):
        assert option.cold is not None
        assert option.cold.retention.value <= option.retention.value
        assert curve.cold[curve.order[0]] == curve.values[curve.order[0]]  # the first query did meet a cold gallery


def test_a_perfect_conversion_is_worth_a_reindex_in_every_mode() -> None:
    perfect = Embeddings(NEW_ITEMS.vectors, IDS, NEW)
    for native in (NATIVE, set[str]()):
        for option in measure(perfect, native).options:
            if option.needs == ("new",):
                assert option.retention.value == pytest.approx(1.0)


@pytest.mark.parametrize("count", [FITTED, 0])
def test_what_weighted_queries_gain_is_what_the_naive_search_finds(count: int) -> None:
    rng = np.random.default_rng(7)
    vectors = normalize_rows(rng.normal(size=(QUERIES, 16)).astype(np.float32) * 0.2 + QUERIES_OF[1].vectors)
    native = set(IDS[ITEMS - count :])
    plain = Sides(QUERIES_OF[0], QUERIES_OF[1], OLD_ITEMS, NEW_ITEMS, CONVERTED)
    weighted = replace(plain, weighted_queries=Embeddings(vectors, ASKED, NEW))
    share, gain = measure_weighing(plain, weighted, Qrels.one_each(ASKED), native, metric="mrr", seed=0)
    rows = np.random.default_rng(0).permutation(ITEMS - count)[: max(0, ITEMS // 10 - count)]
    gallery = CONVERTED.vectors.copy()
    for places in (rows, slice(ITEMS - count, ITEMS)):
        gallery[places] = NEW_ITEMS.vectors[places]
    figures = []
    for queries in (vectors, QUERIES_OF[1].vectors):
        scores = queries @ gallery.T
        ranks = 1 + np.sum(scores > scores[np.arange(QUERIES), np.arange(QUERIES), np.newaxis], axis=1)
        figures.append(np.mean(1 / ranks))
    assert share == max(ITEMS // 10, count) / ITEMS
    assert gain.value == pytest.approx(figures[0] - figures[1], abs=1e-6)
    assert measure_weighing(plain, plain, Qrels.one_each(ASKED), native, metric="mrr", seed=0)[1].value == 0


def test_the_same_seed_gives_the_same_figures(modes: MeasuredModes) -> None:
    assert [option.to_dict() for option in measure().options] == [option.to_dict() for option in modes.options]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    pairs = PairedEmbeddings(OLD_ITEMS.select(range(200, ITEMS)), NEW_ITEMS.select(range(200, ITEMS)))
    split = PairSplit(pairs.select(range(200)), pairs.select(range(200, 300)), pairs.select([]))
    save_artifact(fit_affine(split.train, split.validation), tmp_path / "a", source=OLD, target=NEW, split=split)
    words = ["evaluate", str(tmp_path / "a")]
    for name, embeddings in (
        ("old-gallery", OLD_ITEMS),
        ("new-gallery", NEW_ITEMS),
        ("old-queries", QUERIES_OF[0]),
        ("new-queries", QUERIES_OF[1]),
    ):
        embeddings.save(tmp_path / f"{name}.parquet")
        words += [f"--{name}", str(tmp_path / f"{name}.parquet")]
    (tmp_path / "qrels.tsv").write_text("".join(f"{each} 0 {each} 1\n" for each in ASKED))
    return [*words, "--qrels", str(tmp_path / "qrels.tsv")]


def test_evaluate_decides_among_them(command: list[str]) -> None:
    def decided(*options: str) -> dict[str, object]:
        result = CliRunner().invoke(app, [*command, *options, "--json"])
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)  # type: ignore[no-any-return]

    actual = decided("--quality-floor", "0.9", "--seconds-per-item", "2", "--price-per-item", "0.01")
    assert {option["mode"] for option in actual["options"]} == {"lazy_backfill"}  # type: ignore[attr-defined]
    assert actual["decision"] == "reindex"  # eighty queries bring up most of what a reindex would embed
    assert any("price" in sentence for sentence in actual["because"])  # type: ignore[attr-defined]
    curve = actual["lazy_backfill"][0]  # type: ignore[index]
    assert curve["served"].startswith("one after the other")
    assert len(curve["values"]) == len(curve["rows_embedded"]) == 10
    assert decided("--models-alive", "old")["decision"] == "stay"
    assert decided("--models-alive", "new", "--quality-floor", "0.5")["needs"] == ["new"]


def test_bad_options_are_named(command: list[str]) -> None:
    with pytest.raises(UnknownNameError, match="There is no model called 'newer'. Known: new, old"):
        parse_models("old,newer")
    assert parse_models("old, new") == ["old", "new"]
    result = CliRunner().invoke(app, [*command, "--quality-floor", "80"])
    assert isinstance(result.exception, InputError)
