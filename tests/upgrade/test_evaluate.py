"""Both doors give one answer, and the answer is right for the kinds of upgrades that there are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import embcompat as ec
from embcompat.aligners import AlignerPair, ReweightedAligner, query_weights, reweight, weigh_queries
from embcompat.aligners.canonical import fit_canonical
from embcompat.aligners.shared import shared_space
from embcompat.cli import app
from embcompat.embeddings import normalize_rows
from embcompat.errors import InputError, SpaceMismatchError, UnknownNameError
from embcompat.export import save_aligner_pair, unweight_artifact
from embcompat.testing import make_pairs

ITEMS, QUERIES, DIM = 900, 60, 24


@dataclass(frozen=True, eq=False)
class World:
    """Items that both models see through noise; each query looks for one item; the last 360 items serve as pairs."""

    old: ec.Embeddings
    new: ec.Embeddings
    old_queries: ec.Embeddings
    new_queries: ec.Embeddings

    @property
    def qrels(self) -> ec.Qrels:
        return ec.Qrels({f"q{row}": {f"d{row}": 1.0} for row in range(QUERIES)})

    def pairs(self, count: int = 360, *, shuffled: bool = False) -> ec.PairSplit:
        rows = range(ITEMS - count, ITEMS)
        source, target = self.old.select(rows), self.new.select(rows)
        if shuffled:
            target = ec.Embeddings(np.random.default_rng(5).permutation(target.vectors), target.ids, target.space)
        return ec.split_pairs(ec.PairedEmbeddings(source, target), test=0, seed=0)

    def evaluate(self, split: ec.PairSplit, *, judged: bool = True, **options: Any) -> ec.Evaluation:
        queries: dict[str, Any] = {}
        if judged:
            queries = {"old_queries": self.old_queries, "new_queries": self.new_queries, "qrels": self.qrels}
        fitted = [*split.train.ids.tolist(), *split.validation.ids.tolist()]
        aligner = ec.fit_affine(split.train, split.validation)
        galleries = {"old_gallery": self.old, "new_gallery": self.new}
        return ec.evaluate_upgrade(aligner, **galleries, **queries, fitted_ids=fitted, **options)


def make_world(*, old_noise: float, new_noise: float, turned: bool = True, same: bool = False) -> World:
    """Make a world; ``same`` gives the new model the old one's eyes, rounded to 8 bits."""
    rng = np.random.default_rng(11)
    items = rng.normal(size=(ITEMS, DIM))
    queries = items[:QUERIES] + 0.3 * rng.normal(size=(QUERIES, DIM))
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0] if turned else np.eye(DIM)
    ids = {"d": [f"d{row}" for row in range(ITEMS)], "q": [f"q{row}" for row in range(QUERIES)]}
    views: dict[str, list[np.ndarray]] = {}
    for name, noise in (("old", old_noise), ("new", new_noise)):
        views[name] = [rows + noise * rng.normal(size=rows.shape) for rows in (items, queries)]
    if same:
        views["new"] = [np.round(20 * rows) / 20 for rows in views["old"]]
    sides = []
    for kind, number in (("d", 0), ("q", 1)):
        for name in ("old", "new"):
            space = ec.SpaceVersion(name=name, version="1", dim=DIM, normalized=True)
            rows = views[name][number] @ (turn if name == "new" else np.eye(DIM))
            sides.append(ec.Embeddings(normalize_rows(rows.astype(np.float32)), ids[kind], space))
    return World(*sides)


BETTER = make_world(old_noise=0.8, new_noise=0.2)


def test_a_true_upgrade_is_taken_and_no_aligner_beats_a_reindex() -> None:
    decision = BETTER.evaluate(BETTER.pairs()).decision
    assert decision.mode in ("convert", "fused", "lazy_backfill", "backfill", "reindex")
    assert not decision.reason.startswith("The new model is")


@pytest.mark.parametrize("old_noise", [0.2, 0.4])
def test_a_downgrade_says_stay_and_that_the_model_is_worse(old_noise: float) -> None:
    world = make_world(old_noise=old_noise, new_noise=1.0)
    decision = world.evaluate(world.pairs()).decision
    assert decision.mode == "stay"
    assert decision.reason.startswith("The new model is worse than the old one on these queries: ndcg@10 −0.")
    assert decision.reason.count("0.") == 1  # one number


def test_a_model_that_is_no_better_says_stay() -> None:
    world = make_world(old_noise=0.5, new_noise=0.5)
    decision = world.evaluate(world.pairs()).decision
    assert decision.mode == "stay"
    assert "better than the old one on these queries" in decision.reason


def test_a_near_identical_successor_needs_no_aligner() -> None:
    world = make_world(old_noise=0.5, new_noise=0.5, turned=False, same=True)
    decision = world.evaluate(world.pairs()).decision
    assert (decision.mode, decision.needs) == ("swap", ("new",))
    assert decision.reason.startswith("No aligner is needed: ")


def test_shuffled_pairs_lose_and_the_reindex_is_named() -> None:
    decision = BETTER.evaluate(BETTER.pairs(shuffled=True)).decision
    assert decision.mode == "reindex"
    assert decision.reason.startswith("The aligner loses to today's search, so re-embed everything")


def test_few_pairs_do_not_pass() -> None:
    decision = BETTER.evaluate(BETTER.pairs(30)).decision
    assert decision.mode in ("reindex", "lazy_backfill", "backfill")


def test_without_judgements_there_is_no_verdict() -> None:
    world = make_world(old_noise=0.2, new_noise=1.0)  # a downgrade
    evaluation = world.evaluate(world.pairs(), judged=False)
    result = evaluation.to_dict()
    assert (evaluation.decision.mode, result["relevance"]) == ("unjudged", "new_model_neighbours")
    assert evaluation.decision.reason.startswith("No verdict: nothing says which items answer a query")
    assert any("20 judged queries are the minimum" in sentence for sentence in evaluation.decision.because)
    assert result["full_reindex"] == 1.0  # by construction, which is why it proves nothing
    assert result["differences"] == result["gaps"] == {}
    assert result["gap"] is None
    assert result["options"] == []
    assert all(part["differences"] == {} for part in result["retention_by_size"])  # type: ignore[union-attr,index]


def test_queries_that_fitted_items_answer_are_counted() -> None:
    rows = np.random.default_rng(1).permutation(ITEMS)[:300]
    split = ec.split_pairs(ec.PairedEmbeddings(BETTER.old.select(rows), BETTER.new.select(rows)), test=0, seed=0)
    count = int(np.count_nonzero(rows < QUERIES))
    assert 0.1 * QUERIES < count < 0.5 * QUERIES
    evaluation = BETTER.evaluate(split)
    assert evaluation.warnings[0].startswith(f"{count} of {QUERIES} judged queries have a fitted item among their ans")
    assert "--keep-out" in evaluation.warnings[0]


def test_labels_are_named_as_what_judged() -> None:
    pairs = make_pairs(600, source_dim=12, target_dim=12, noise=0.1, subjects=60).pairs
    split = ec.split_pairs(pairs, seed=0)
    fitted = [*split.train.ids.tolist(), *split.validation.ids.tolist()]
    aligner = ec.fit_affine(split.train, split.validation)
    evaluation = ec.evaluate_upgrade(aligner, old_gallery=pairs.source, new_gallery=pairs.target, fitted_ids=fitted)
    assert evaluation.relevance == "labels"
    assert evaluation.warnings[0].startswith("Judged by labels: an item is relevant when it has the query's label.")


# Two doors


def both_doors(tmp_path: Path, aligner: Any, split: ec.PairSplit, *words: str, **values: Any) -> Any:
    """Evaluate the same files by the command line and by the library; return both results as JSON."""
    old, new = values["old_gallery"].space, values["new_gallery"].space
    if isinstance(aligner, AlignerPair):
        shared = shared_space(old, new, aligner, method="canonical")
        save_aligner_pair(aligner, tmp_path / "a", old=old, new=new, shared=shared, split=split)
    else:
        ec.save_artifact(aligner, tmp_path / "a", source=old, target=new, split=split)
    line = ["evaluate", str(tmp_path / "a"), "--json", *words]
    for name, value in values.items():
        if isinstance(value, ec.Embeddings):
            value.save(tmp_path / f"{name}.parquet")
            line += [f"--{name.replace('_', '-')}", str(tmp_path / f"{name}.parquet")]
        elif isinstance(value, ec.Qrels):
            judged = [
                f"{query} 0 {item} {gain}" for query, gains in value.gains.items() for item, gain in gains.items()
            ]
            (tmp_path / "qrels").write_text("\n".join(judged))
            line += ["--qrels", str(tmp_path / "qrels")]
    outcome = CliRunner().invoke(app, line)
    assert outcome.exit_code == 0, outcome.exception
    command = json.loads(outcome.stdout)
    assert command.pop("provenance")["date"].endswith(" UTC")
    return command, ec.evaluate_upgrade(tmp_path / "a", **values).to_dict()


def test_both_doors_give_every_figure_decision_and_reason(tmp_path: Path) -> None:
    split = BETTER.pairs()
    galleries = {"old_gallery": BETTER.old, "new_gallery": BETTER.new}
    queries = {"old_queries": BETTER.old_queries, "new_queries": BETTER.new_queries, "qrels": BETTER.qrels}
    command, library = both_doors(tmp_path, ec.fit_affine(split.train, split.validation), split, **galleries, **queries)
    for curve in (*command["lazy_backfill"], *library["lazy_backfill"]):
        assert curve.pop("counters")  # they hold times
    assert command == library
    assert library["schema_version"] == 1
    assert {option["mode"] for option in library["options"]} == {"lazy_backfill", "backfill"}
    # an aligner that was not saved gives the same decision, and the same figures within the graph's rounding
    unsaved = BETTER.evaluate(split).to_dict()
    assert unsaved["decision"] == library["decision"]
    assert unsaved["converted"] == pytest.approx(library["converted"], abs=1e-3)


def test_both_doors_weigh_queries(tmp_path: Path) -> None:
    split = BETTER.pairs()
    weighted = reweight(ec.fit_affine(split.train, split.validation), split.validation)
    sides = {"old_gallery": BETTER.old, "new_gallery": BETTER.new, "qrels": BETTER.qrels}
    queries = {"old_queries": BETTER.old_queries, "new_queries": BETTER.new_queries}
    command, library = both_doors(tmp_path, weighted, split, "--weigh-queries", **sides, **queries, weigh_queries=True)
    for curve in (*command["lazy_backfill"], *library["lazy_backfill"]):
        assert curve.pop("counters")  # they hold times
    assert command == library
    assert any("weigh each query" in reason for reason in library["because"])


def test_both_doors_agree_without_judgements_and_on_a_pair(tmp_path: Path) -> None:
    split = BETTER.pairs()
    galleries = {"old_gallery": BETTER.old, "new_gallery": BETTER.new}
    command, library = both_doors(tmp_path, fit_canonical(split.train), split, **galleries)
    assert command == library
    assert library["decision"] == "unjudged"
    assert library["new_space"].startswith("new@1+canonical")


def test_both_doors_agree_on_verification(tmp_path: Path) -> None:
    pairs = make_pairs(800, source_dim=16, target_dim=16, noise=0.2, subjects=160, normalized=True).pairs
    split = ec.split_pairs(pairs, seed=0)
    command, library = both_doors(
        tmp_path,
        ec.fit_affine(split.train, split.validation),
        split,
        "--task",
        "verification",
        old_gallery=pairs.source,
        new_gallery=pairs.target,
        task="verification",
    )
    assert command == library
    assert library["kind"] == "verification"
    assert library["decision"] in ("stay", "convert", "reindex", "unjudged")
    assert library["reason"]


# Checks, and single queries


def test_the_checks_agree_with_the_decision() -> None:
    evaluation = BETTER.evaluate(BETTER.pairs(), quality_floor=0.5)
    checks = {check.name: check for check in evaluation.checks}
    assert checks["At least 20 held-out queries"].passed
    assert checks["The new model is better than today's"].passed
    assert evaluation.decision.mode == "convert"
    assert any("the new model embeds 360 items: 40.0 % of a" in each for each in evaluation.decision.because)
    assert all(check.passed for check in evaluation.checks)
    strict = {check.name: check for check in BETTER.evaluate(BETTER.pairs(), quality_floor=1.0).checks}
    assert not strict["Converting keeps 100.0 % of a full reindex"].passed
    shuffled = {check.name: check for check in BETTER.evaluate(BETTER.pairs(shuffled=True)).checks}
    assert not shuffled["Converting is better than today"].passed


def test_a_downgrade_fails_the_check_on_the_new_model() -> None:
    world = make_world(old_noise=0.2, new_noise=1.0)
    checks = {check.name: check.passed for check in world.evaluate(world.pairs()).checks}
    assert checks["The new model is better than today's"] is False
    unjudged = world.evaluate(world.pairs(), judged=False)
    assert [check.passed for check in unjudged.checks] == [False]


def test_single_queries_are_ranked_as_a_naive_search_ranks_them() -> None:
    split = BETTER.pairs()
    evaluation = BETTER.evaluate(split)
    changes = evaluation.report.changes  # type: ignore[union-attr]
    assert changes is not None
    assert changes.better + changes.worse + changes.same == QUERIES
    fitted = {*split.train.ids.tolist(), *split.validation.ids.tolist()}
    converted = ec.convert_embeddings(ec.fit_affine(split.train, split.validation), BETTER.old, BETTER.new.space)
    native = [identifier in fitted for identifier in BETTER.old.ids.tolist()]
    actual = np.where(np.array(native)[:, np.newaxis], BETTER.new.vectors, converted.vectors)
    for change in (*changes.gains, *changes.losses):
        row = int(change.query.removeprefix("q"))  # query q7 asks for item d7
        for queries, gallery, rank in (
            (BETTER.old_queries, BETTER.old.vectors, change.before),
            (BETTER.new_queries, actual, change.after),
        ):
            scores = gallery @ queries.vectors[row]
            assert rank == 1 + int((scores > scores[row]).sum())
    assert all(change.difference > 0 for change in changes.gains)
    assert all(change.difference < 0 for change in changes.losses)
    gains = [change.difference for change in changes.gains]
    assert gains == sorted(gains, reverse=True)


def test_texts_of_queries_are_shown_where_there_are_some() -> None:
    texts = {f"q{row}": f"query number {row}" for row in range(QUERIES)}
    named = World(BETTER.old, BETTER.new, BETTER.old_queries.with_texts(texts), BETTER.new_queries)
    changes = named.evaluate(named.pairs()).report.changes  # type: ignore[union-attr]
    assert changes is not None
    assert {change.text for change in changes.gains} == {texts[change.query] for change in changes.gains}


# What does not fit


def test_sides_that_do_not_fit_are_named() -> None:
    split = BETTER.pairs()
    aligner = ec.fit_affine(split.train, split.validation)
    galleries = {"old_gallery": BETTER.old, "new_gallery": BETTER.new}
    with pytest.raises(InputError, match="fitted_ids must name the items that an aligner was fitted and chosen on"):
        ec.evaluate_upgrade(aligner, **galleries)
    with pytest.raises(InputError, match="old_queries and new_queries must be given together"):
        ec.evaluate_upgrade(aligner, **galleries, old_queries=BETTER.old_queries, fitted_ids=())
    with pytest.raises(UnknownNameError, match="no task called 'ranking'"):
        ec.evaluate_upgrade(aligner, **galleries, fitted_ids=(), task="ranking")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="verification needs the subject of each row"):
        ec.evaluate_upgrade(aligner, **galleries, fitted_ids=(), task="verification")


def test_a_gallery_of_another_space_is_called_by_its_name(tmp_path: Path) -> None:
    split = BETTER.pairs()
    artifact = ec.save_artifact(
        ec.fit_affine(split.train, split.validation), tmp_path / "a", source=BETTER.old.space, target=BETTER.new.space
    )
    with pytest.raises(SpaceMismatchError, match="The new gallery must be in space 'new@1'. Got 'old@1'"):
        ec.evaluate_upgrade(artifact, old_gallery=BETTER.old, new_gallery=BETTER.old)
    with pytest.raises(SpaceMismatchError, match="The old gallery must be in space 'old@1'. Got 'new@1'"):
        ec.evaluate_upgrade(artifact, old_gallery=BETTER.new, new_gallery=BETTER.new)


def test_a_lexical_run_is_judged_beside_the_pure_lines() -> None:
    run = {f"q{row}": {f"d{row}": 5.0, f"d{row + 1}": 4.0, f"d{row + 2}": 1.0} for row in range(1, QUERIES)}
    evaluation = BETTER.evaluate(BETTER.pairs(), lexical_run=run)
    hybrid = evaluation.to_dict()["hybrid"]
    assert set(hybrid["lines"]) == {"status_quo", "naive_swap", "converted", "fused", "full_reindex"}  # type: ignore
    assert hybrid["missing_queries"] == 1  # type: ignore
    assert any("The lexical run lacks 1 of 60 held-out queries" in warning for warning in evaluation.warnings)


def test_judgements_that_match_nothing_are_counted_or_refused() -> None:
    gains = BETTER.qrels.gains
    partly = ec.Qrels({**gains, "q1": {"d1": 1.0, "gone": 1.0}, "absent": {"d2": 1.0}})
    options = {"old_queries": BETTER.old_queries, "new_queries": BETTER.new_queries, "fitted_ids": ()}
    galleries = {"old_gallery": BETTER.old, "new_gallery": BETTER.new}
    split = BETTER.pairs()
    aligner = ec.fit_affine(split.train, split.validation)
    evaluation = ec.evaluate_upgrade(aligner, **galleries, **options, qrels=partly)
    counted = f"Judgements: 1 of {len(gains) + 1} queries and 1 of {len(gains) + 1} relevant items are not among"
    assert any(counted in warning for warning in evaluation.warnings)
    whole = ec.evaluate_upgrade(aligner, **galleries, **options, qrels=BETTER.qrels)
    assert not any("Judgements:" in warning for warning in whole.warnings)
    for wrong, match in (
        (
            {f"Q-{query}": items for query, items in gains.items()},
            r"None of the 60 matches: .*'Q-q0', .*queries 'q0', 'q1'",
        ),
        (
            {query: {f"doc:{item}": 1.0 for item in items} for query, items in gains.items()},
            r"'doc:d0'.*items 'd0', 'd1'",
        ),
    ):
        with pytest.raises(InputError, match=match):
            ec.evaluate_upgrade(aligner, **galleries, **options, qrels=ec.Qrels(wrong))


def test_modes_with_native_rows_are_measured_without_the_reweighting(tmp_path: Path) -> None:
    split = BETTER.pairs()
    base = ec.fit_affine(split.train, split.validation)
    weighted = reweight(base, split.validation)
    galleries = {"old_gallery": BETTER.old, "new_gallery": BETTER.new}
    queries = {"old_queries": BETTER.old_queries, "new_queries": BETTER.new_queries, "qrels": BETTER.qrels}
    fitted = [*split.train.ids.tolist(), *split.validation.ids.tolist()]
    plain, ours = (
        ec.evaluate_upgrade(aligner, **galleries, **queries, fitted_ids=fitted) for aligner in (base, weighted)
    )
    assert plain.modes is not None
    assert ours.modes is not None
    assert ours.modes.options == plain.modes.options
    assert any("native rows must not stand among its rows" in warning for warning in ours.warnings)
    artifact = ec.save_artifact(weighted, tmp_path / "a", source=BETTER.old.space, target=BETTER.new.space, split=split)
    saved = ec.evaluate_upgrade(artifact, **galleries, **queries)
    assert saved.modes is not None
    for option, expected in zip(saved.modes.options, plain.modes.options, strict=True):
        assert option.difference.value == pytest.approx(expected.difference.value, abs=0.02)


def test_weighted_queries_search_rows_that_are_not_reweighted(tmp_path: Path) -> None:
    world = make_world(old_noise=1.2, new_noise=0.4)
    split = world.pairs()
    base = ec.fit_affine(split.train, split.validation)
    weighted = reweight(base, split.validation)
    spaces = {"source": world.old.space, "target": world.new.space}
    artifact = ec.save_artifact(weighted, tmp_path / "weighted", **spaces, split=split)
    bare = unweight_artifact(artifact, tmp_path / "bare")
    sides = {"old_gallery": world.old, "new_gallery": world.new}
    judged = {"old_queries": world.old_queries, "new_queries": world.new_queries, "qrels": world.qrels}
    fitted = {"fitted_ids": [*split.train.ids.tolist(), *split.validation.ids.tolist()]}
    plain = ec.evaluate_upgrade(weighted, **sides, **judged, **fitted)
    results = [
        ec.evaluate_upgrade(artifact, **sides, **judged, weigh_queries=True),
        ec.evaluate_upgrade(bare, **sides, **judged, weigh_queries=True),
        ec.evaluate_upgrade(weighted, **sides, **judged, **fitted, weigh_queries=True),
    ]
    lines = [each.report.metrics["ndcg@10"] for each in results]
    assert lines[0]["full_reindex"] == plain.report.metrics["ndcg@10"]["full_reindex"]
    assert lines[0]["status_quo"] == plain.report.metrics["ndcg@10"]["status_quo"]
    weights = query_weights(weighted)
    assert weights is not None
    rows = base.transform(world.old.vectors)
    native = np.isin(world.old.ids, fitted["fitted_ids"])
    rows[native] = world.new.vectors[native]
    scores = weigh_queries(world.new_queries.vectors, weights) @ rows.T
    ranks = 1 + np.sum(scores > scores[np.arange(QUERIES), np.arange(QUERIES), np.newaxis], axis=1)
    expected = np.mean(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0))
    for line in lines:
        assert line["converted"].value == pytest.approx(expected, abs=0.02)
    assert any("Weighted queries search" in each for each in results[0].warnings)


@pytest.mark.parametrize("helpful", [True, False])
def test_the_verdict_names_weighted_queries_where_they_gain(helpful: bool) -> None:
    world = make_world(old_noise=0.8, new_noise=0.2, turned=False)
    noise = np.zeros((QUERIES, DIM), dtype=np.float32)
    noise[:, : DIM // 2] = 0.4 * np.random.default_rng(2).standard_normal((QUERIES, DIM // 2))
    vectors = normalize_rows(world.new_queries.vectors + noise)
    noisy = ec.Embeddings(vectors, world.new_queries.ids, world.new.space)
    split = world.pairs()
    fitted = [*split.train.ids.tolist(), *split.validation.ids.tolist()]
    weight = np.repeat([0.1, 1.0] if helpful else [1.0, 0.1], DIM // 2)
    aligner = ReweightedAligner(ec.fit_affine(split.train, split.validation), np.diag(weight), normalize=True)
    decision = ec.evaluate_upgrade(
        aligner,
        old_gallery=world.old,
        new_gallery=world.new,
        old_queries=world.old_queries,
        new_queries=noisy,
        qrels=world.qrels,
        fitted_ids=fitted,
        quality_floor=1.0,
        models_alive=("new",),
    ).decision
    assert decision.mode in ("reindex", "lazy_backfill", "backfill")
    sentence = "Where 40.0 % of the rows are native, weighted queries gain +0."
    assert any(each.startswith(sentence) for each in decision.because) is helpful


def test_queries_are_weighted_only_where_there_are_weights() -> None:
    world = make_world(old_noise=1.2, new_noise=0.4)
    with pytest.raises(InputError, match="queries can be weighted for a reweighted aligner"):
        world.evaluate(world.pairs(), weigh_queries=True)
    with pytest.raises(InputError, match="it takes no queries, weighted or not"):
        world.evaluate(world.pairs(), judged=False, task="verification", weigh_queries=True)


def test_a_reweighted_gallery_is_served_without_native_rows() -> None:
    split = BETTER.pairs()
    weighted = reweight(ec.fit_affine(split.train, split.validation), split.validation)
    queries = {"old_queries": BETTER.old_queries, "new_queries": BETTER.new_queries, "qrels": BETTER.qrels}
    sides = {"old_gallery": BETTER.old, "new_gallery": BETTER.new}
    fitted = [*split.train.ids.tolist(), *split.validation.ids.tolist()]
    report = ec.evaluate_upgrade(weighted, **sides, **queries, fitted_ids=fitted).report
    pure = ec.evaluate_upgrade(weighted, **sides, **queries, fitted_ids=()).report
    assert isinstance(report, ec.RetrievalReport)
    assert isinstance(pure, ec.RetrievalReport)
    assert report.lines["converted"].value == pytest.approx(pure.lines["converted"].value)
