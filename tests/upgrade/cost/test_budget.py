"""What each mode costs, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

import embcompat as ec
from embcompat.aligners.text import TextAwareAligner, build_static_encoder
from embcompat.embeddings import PairedEmbeddings, normalize_rows
from embcompat.results import BudgetPoint, Workload
from embcompat.upgrade.decision.reasons import aligner_cost

ITEMS, QUERIES, PAIRS, DIM = 240, 40, 80, 8
IDS = [f"d{row}" for row in range(ITEMS)]
WORDS = [f"word{letter}" for letter in "abcdefghijkl"]


def texts_of(rows: np.ndarray) -> list[str]:
    """Give each item a text of two or three words."""
    return [" ".join(WORDS[word] for word in np.argsort(row)[: 2 + number % 2]) for number, row in enumerate(rows)]


@pytest.fixture(scope="module")
def sides() -> dict[str, ec.Embeddings]:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(ITEMS, len(WORDS)))
    count = items[:QUERIES] + 0.2 * rng.normal(size=(QUERIES, len(WORDS)))
    new_map, old_map = rng.normal(size=(len(WORDS), DIM)), rng.normal(size=(len(WORDS), DIM))
    vectors = {}
    for name, turn, noise in (("old", old_map, 2.5), ("new", new_map, 0.1)):
        space = ec.SpaceVersion(name=name, version="1", dim=DIM, normalized=True)
        for side, rows, ids in (("gallery", items, IDS), ("queries", count, IDS[:QUERIES])):
            views = rows @ turn + noise * rng.normal(size=(len(rows), DIM))
            vectors[f"{name}_{side}"] = ec.Embeddings(normalize_rows(views.astype(np.float32)), ids, space)
    texts = dict(zip(IDS, texts_of(items), strict=True))
    return vectors | {"old_gallery": vectors["old_gallery"].with_texts(texts)}


def evaluate(sides: dict[str, ec.Embeddings], aligner: object, fitted: list[str], **options: float) -> ec.Evaluation:
    return ec.evaluate_upgrade(aligner, **sides, qrels=ec.Qrels.one_each(IDS[:QUERIES]), fitted_ids=fitted, **options)


@pytest.fixture(scope="module")
def split(sides: dict[str, ec.Embeddings]) -> ec.PairSplit:
    rows = np.arange(ITEMS - PAIRS, ITEMS)
    return ec.split_pairs(
        PairedEmbeddings(sides["old_gallery"].select(rows), sides["new_gallery"].select(rows)), test=0, seed=0
    )


@pytest.fixture(scope="module")
def evaluation(sides: dict[str, ec.Embeddings], split: ec.PairSplit) -> ec.Evaluation:
    pieces = [f"{IDS[-1]}#0", f"{IDS[-1]}#1"]
    return evaluate(sides, ec.fit_affine(split.train, split.validation), [*IDS[-PAIRS:], *pieces], seconds_per_item=0.5)


def test_words_are_counted_where_texts_are_known(evaluation: ec.Evaluation) -> None:
    workload = evaluation.workload
    assert workload is not None
    assert (workload.unit, workload.items) == ("words", ITEMS)
    assert workload.gallery == 2.5 * ITEMS  # every other text has three words, not two
    assert workload.pairs == 2.5 * PAIRS
    assert workload.pieces == 3  # the two pieces of the last item hold its three words once more
    assert workload.table == 0
    assert workload.share == pytest.approx((200 + 3) / 600)


def test_items_are_counted_elsewhere(sides: dict[str, ec.Embeddings], split: ec.PairSplit) -> None:
    bare = ec.Embeddings(sides["old_gallery"].vectors, IDS, sides["old_gallery"].space)
    workload = evaluate(
        {**sides, "old_gallery": bare}, ec.fit_affine(split.train, split.validation), ["elsewhere", *IDS[-PAIRS:]]
    ).workload
    assert workload is not None
    assert (workload.unit, workload.gallery, workload.pairs) == ("items", ITEMS, PAIRS + 1)


def test_an_item_whose_id_looks_like_a_piece_is_an_item(sides: dict[str, ec.Embeddings], split: ec.PairSplit) -> None:
    ids = [*IDS[:-1], f"{IDS[-2]}#0"]
    named = {
        name: ec.Embeddings(side.vectors, ids, side.space) if name.endswith("gallery") else side
        for name, side in sides.items()
    }
    workload = evaluate(named, ec.fit_affine(split.train, split.validation), ids[-PAIRS:]).workload
    assert workload is not None
    assert (workload.pairs, workload.pieces) == (PAIRS, 0)


def test_the_words_of_a_text_aware_aligner_cost_as_well(sides: dict[str, ec.Embeddings], split: ec.PairSplit) -> None:
    rng = np.random.default_rng(1)
    table = dict(zip(WORDS, rng.normal(size=(len(WORDS), DIM)), strict=True))

    def embed(texts: list[str]) -> np.ndarray:
        return np.array([np.mean([table[word] for word in text.split()], axis=0) for text in texts])

    texts = sides["old_gallery"].texts
    assert texts is not None
    encoder = build_static_encoder(embed, texts.tolist(), max_bigrams=5)
    bigrams = len(encoder.bigrams)
    assert bigrams > 0
    parts = []
    for pairs in (split.train, split.validation):
        worded = np.hstack([pairs.source.vectors, encoder.encode(pairs.source.texts.tolist())])
        space = ec.SpaceVersion(name="worded", version="1", dim=worded.shape[1])
        parts.append(PairedEmbeddings(ec.Embeddings(worded, pairs.ids, space), pairs.target))
    aligner = TextAwareAligner(encoder, ec.fit_affine(*parts), ec.fit_affine(split.train, split.validation))
    workload = evaluate(sides, aligner, IDS[-PAIRS:]).workload
    assert workload is not None
    assert workload.table == len(WORDS) + 2 * bigrams


def test_every_mode_has_its_cost_and_the_figures_it_was_decided_on(evaluation: ec.Evaluation) -> None:
    workload, modes = evaluation.workload, evaluation.modes
    assert workload is not None
    assert modes is not None
    points = {(p.mode, p.depth, p.cold, p.fraction, len(p.needs)): p for p in evaluation.budget}
    shares = [point.share_of_reindex for point in evaluation.budget]
    assert shares == sorted(shares)
    assert points["convert", None, False, None, 1].share_of_reindex == workload.share
    assert points["reindex", None, False, None, 1].share_of_reindex == 1.0
    assert points["reindex", None, False, None, 1].retention.value == 1.0
    for option in modes.options:
        point = points[option.mode, option.depth, False, option.fraction, len(option.needs)]
        assert (point.difference, point.retention) == (option.difference, option.retention)
        assert point.share_of_reindex == pytest.approx(workload.share + (option.items or 0) / ITEMS)
        assert point.seconds == pytest.approx(0.5 * ITEMS * point.share_of_reindex)
        if option.cold is not None:
            cold = points[option.mode, option.depth, True, None, len(option.needs)]
            assert cold.retention == option.cold.retention
            assert cold.share_of_reindex == pytest.approx(workload.share + (option.depth or 0) / ITEMS)
    assert {point.depth for point in evaluation.budget if point.mode == "lazy_backfill"} == {10, 20, 50}


def test_the_cost_of_the_aligner_in_words(evaluation: ec.Evaluation) -> None:
    workload = evaluation.workload
    assert workload is not None
    (cost,) = aligner_cost(workload, limit=0.5)
    assert cost.startswith("To fit the aligner, the new model embeds 203 words, about 40.6 s: 33.8 % of a full reindex")
    assert aligner_cost(workload, limit=0.3)[1].startswith("This gallery is small")
    assert aligner_cost(workload.model_copy(update={"pairs": 0.0, "pieces": 0.0}), limit=0.3) == ()


def test_both_are_read_from_json_again(evaluation: ec.Evaluation) -> None:
    result = evaluation.to_dict()
    assert [BudgetPoint.from_dict(point) for point in result["budget"]] == list(evaluation.budget)  # type: ignore
    assert Workload.from_dict(result["workload"]) == evaluation.workload  # type: ignore[arg-type]
