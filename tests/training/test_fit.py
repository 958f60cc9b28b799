from __future__ import annotations

import csv
import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from embcompat.aligners import Aligner, fit_affine
from embcompat.embeddings import Embeddings, PairedEmbeddings, PairSplit, split_pairs
from embcompat.errors import InputError, MissingExtraError, SpaceMismatchError, UnknownNameError
from embcompat.spaces import SpaceVersion
from embcompat.testing import make_pairs
from embcompat.training import fit_neural, modules, trainer
from embcompat.training.presets import PLATEAU_FACTOR

SMALL = {"hidden": 16}


def fit(split: PairSplit, kind: str = "dense", **options) -> Aligner:
    settings = {"kind": kind, "epochs": 2, "batch_size": 64, "options": SMALL, "device": "cpu", **options}
    return fit_neural(split.train, split.validation, **settings)


def same(first: Aligner, second: Aligner) -> bool:
    left, right = first.state(), second.state()
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def error(aligner: Aligner, pairs: PairedEmbeddings) -> float:
    return float(np.linalg.norm(aligner.transform(pairs.source.vectors) - pairs.target.vectors, axis=1).mean())


def with_targets(pairs: PairedEmbeddings, change: Callable[[np.ndarray], np.ndarray]) -> PairedEmbeddings:
    target = pairs.target
    return PairedEmbeddings(pairs.source, Embeddings(change(target.vectors), target.ids, target.space))


@pytest.fixture(scope="module")
def curved() -> PairSplit:
    """Pairs of a map that is not linear."""
    rng = np.random.default_rng(0)
    source = rng.standard_normal((1_000, 4)).astype(np.float32)
    mixed = source @ rng.standard_normal((4, 6)).astype(np.float32)
    target = mixed + 0.9 * np.abs(mixed)
    ids = [str(row) for row in range(len(source))]
    sides = [
        Embeddings(side, ids, SpaceVersion(name=name, version="1", dim=side.shape[1], similarity="euclidean"))
        for name, side in (("old", source), ("new", target))
    ]
    return split_pairs(PairedEmbeddings(*sides))


@pytest.mark.parametrize(
    ("kind", "preset", "options"),
    [
        ("dense", None, {"hidden": 32}),
        ("multi_branch", None, {"hidden": 32, "wide": 64}),
        ("residual", "drift_adapter", {"hidden": 64}),
    ],
)
def test_learns_what_ridge_cannot(kind: str, preset: str | None, options: dict[str, int], curved: PairSplit) -> None:
    aligner = fit(curved, kind, preset=preset, options=options, epochs=10, learning_rate=1e-2)
    assert error(aligner, curved.test) < 0.6 * error(fit_affine(curved.train, curved.validation), curved.test)


def test_skip_learns_directions_that_ridge_cannot(curved: PairSplit) -> None:
    def off(aligner: Aligner) -> float:
        result, expected = aligner.transform(curved.test.source.vectors), curved.test.target.vectors
        cosines = np.sum(result * expected, axis=1) / np.linalg.norm(result, axis=1) / np.linalg.norm(expected, axis=1)
        return float(np.mean(1 - cosines))

    aligner = fit(curved, "residual", options={"hidden": 64, "dropout": 0.0}, loss="cosine", epochs=10)
    assert off(aligner) < 0.6 * off(fit_affine(curved.train, curved.validation))


def test_skip_takes_the_loss_that_suits_the_space(curved: PairSplit, split: PairSplit) -> None:
    for pairs, suits, other in ((curved, "euclidean", "cosine"), (split, "cosine", "euclidean")):
        chosen, same_loss, other_loss = (fit(pairs, "residual", epochs=1, loss=loss) for loss in (None, suits, other))
        assert same(chosen, same_loss)
        assert not same(chosen, other_loss)


def test_residual_is_ridge_before_the_first_step(curved: PairSplit) -> None:
    # At a rate of nearly nothing training changes nearly nothing.
    aligner = fit(curved, "residual", epochs=1, learning_rate=1e-12)
    ridge = fit_affine(curved.train, curved.validation)
    vectors = curved.test.source.vectors
    np.testing.assert_allclose(aligner.transform(vectors), ridge.transform(vectors), rtol=1e-3, atol=1e-4)


def test_normalizes_where_the_target_does_and_returns_an_evaluating_module_on_the_cpu() -> None:
    split = split_pairs(make_pairs(200, source_dim=5, target_dim=4, normalized=True).pairs)
    aligner = fit(split, "residual")
    assert aligner.normalize
    np.testing.assert_allclose(np.linalg.norm(aligner.transform(split.test.source.vectors), axis=1), 1, atol=1e-5)
    assert isinstance(aligner, torch.nn.Module)
    assert not aligner.training
    assert {weight.device.type for weight in aligner.parameters()} == {"cpu"}


@pytest.mark.parametrize("kind", ["dense", "residual"])
def test_the_seed_decides(kind: str, split: PairSplit) -> None:
    original = torch.get_rng_state()
    first = fit(split, kind, seed=3)
    torch.manual_seed(99)
    assert same(first, fit(split, kind, seed=3))
    assert not same(first, fit(split, kind, seed=4))
    torch.set_rng_state(original)


def test_torchs_own_state_and_precision_stay(split: PairSplit) -> None:
    original, precision = torch.get_rng_state(), torch.get_float32_matmul_precision()
    fit(split, "residual", precision="tf32")
    assert torch.equal(torch.get_rng_state(), original)
    assert torch.get_float32_matmul_precision() == precision


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_is_near(precision: str, curved: PairSplit) -> None:
    exact, rounded = (fit(curved, "residual", epochs=3, precision=each) for each in ("32", precision))
    assert error(rounded, curved.test) == pytest.approx(error(exact, curved.test), rel=0.1)
    assert {array.dtype for array in rounded.state().values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kind", ["dense", "residual"])  # a plateau's schedule and a one-cycle
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    kind: str, split: PairSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Validation targets so far away that no epoch changes their loss by a relevant part: a plateau from the first epoch
    # on, so that the rate also falls in the last epoch before the power cut.
    monkeypatch.setattr(modules, "PLATEAU_PATIENCE", 0)
    unreachable = replace(split, validation=with_targets(split.validation, lambda vectors: vectors + np.float32(1e6)))
    options = {"epochs": 6, "batch_size": 32, "learning_rate": 1e-2, "run_dir": tmp_path / "broken"}
    whole = fit(unreachable, kind, **{**options, "run_dir": tmp_path / "whole"})

    def stop(self, pl_trainer, pl_module) -> None:
        if pl_trainer.current_epoch == 4:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(trainer.BestWeights, "on_train_epoch_start", stop, raising=False)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(unreachable, kind, **options)
    assert same(fit(unreachable, kind, resume=True, **options), whole)
    stored = [torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("broken", "whole")]
    rates = [checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] for checkpoint in stored]
    assert rates[0] == rates[1] < 1e-2
    if kind == "dense":
        assert rates[0] == pytest.approx(1e-2 * PLATEAU_FACTOR**5)


@pytest.mark.parametrize(("seconds", "epochs"), [(0.5, 1), (45, 2)])
def test_a_time_limit_ends_training_after_an_epoch_and_a_later_run_resumes(
    seconds: float, epochs: int, split: PairSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(split, epochs=3)
    clock = SimpleNamespace(monotonic=itertools.count(0, 10).__next__)  # each look at the clock is 10 s after the last
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "time", clock)
        fit(split, epochs=3, run_dir=tmp_path, time_limit=seconds)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] + 1 == epochs
    assert same(fit(split, epochs=3, run_dir=tmp_path, resume=True), whole)


def test_a_finished_run_resumed_gives_its_result(split: PairSplit, tmp_path: Path) -> None:
    first = fit(split, run_dir=tmp_path)
    assert same(fit(split, run_dir=tmp_path, resume=True), first)


def test_the_best_epoch_is_returned_and_patience_stops(split: PairSplit, tmp_path: Path) -> None:
    # Validation pairs that say the opposite of the training pairs: what is learned makes their loss worse.
    opposite = replace(split, validation=with_targets(split.validation, lambda vectors: -vectors))
    aligner = fit(opposite, run_dir=tmp_path, epochs=60, learning_rate=1e-2)
    rows = metrics(tmp_path)
    losses = [float(row["validation_loss"]) for row in rows if row["validation_loss"]]
    best = int(np.argmin(losses))
    assert len(losses) < 60
    assert len(losses) == best + 1 + 10
    assert error(aligner, opposite.validation) == pytest.approx(min(losses), rel=1e-4)


def metrics(run_dir: Path, version: int = 0) -> list[dict[str, str]]:
    with (run_dir / "metrics" / f"version_{version}" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_metrics_go_to_csv_and_to_the_callers_logger(split: PairSplit, tmp_path: Path) -> None:
    fit(split, run_dir=tmp_path / "run", loggers=[CSVLogger(tmp_path / "mine", name="", version="")])
    rows = metrics(tmp_path / "run")
    assert {"epoch", "train_loss", "validation_loss"} <= rows[0].keys()
    assert sum(bool(row["train_loss"]) for row in rows) == 2
    assert (tmp_path / "mine" / "metrics.csv").is_file()


def test_nothing_is_written_and_nothing_is_said_by_default(
    split: PairSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("lightning.pytorch").level
    fit(split)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("lightning.pytorch").level == level


def test_progress_shows_when_asked(split: PairSplit, capfd: pytest.CaptureFixture[str]) -> None:
    fit(split, progress=True)
    assert "Epoch" in capfd.readouterr().out


def test_memory_mapped_pairs_train_as_well(curved: PairSplit, tmp_path: Path) -> None:
    sides = []
    for side in ("source", "target"):
        embeddings = getattr(curved.train, side)
        np.save(tmp_path / f"{side}.npy", embeddings.vectors)
        sides.append(Embeddings.from_npy(tmp_path / f"{side}.npy", embeddings.ids.tolist(), space=embeddings.space))
    mapped = PairedEmbeddings(*sides)
    assert not mapped.source.vectors.flags.writeable
    options = {"kind": "dense", "options": {"hidden": 32}, "epochs": 8, "batch_size": 128, "learning_rate": 1e-2}
    aligner = fit_neural(mapped, curved.validation, device="cpu", **options)
    inside = fit_neural(curved.train, curved.validation, device="cpu", **options)
    assert error(aligner, curved.test) == pytest.approx(error(inside, curved.test), rel=0.3)


def test_a_last_batch_of_one_row_is_no_trouble(split: PairSplit) -> None:
    odd = split.train.select(np.arange(65))
    fit_neural(odd, split.validation.select([0]), kind="dense", epochs=1, batch_size=64, options=SMALL, device="cpu")


def test_two_rows_are_enough_to_run(split: PairSplit) -> None:
    two = split.train.select([0, 1])
    assert fit_neural(two, two, kind="dense", epochs=1, options=SMALL, device="cpu").source_dim == 12


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"kind": "kernel"}, UnknownNameError, "no neural aligner called 'kernel'"),
        ({"preset": "skip"}, InputError, "preset must be one for 'dense': fc_aligner"),
        ({"loss": "hinge"}, UnknownNameError, "no loss called 'hinge'. Known: cosine, euclidean"),
        ({"options": {"widht": 3}}, UnknownNameError, "no option of the dense aligner called 'widht'"),
        ({"epochs": 0}, InputError, "epochs must be at least 1. Got 0."),
        ({"batch_size": 1}, InputError, "batch_size must be at least 2. Got 1."),
        ({"learning_rate": 0.0}, InputError, "learning_rate must be above 0. Got 0.0."),
        ({"device": "tpu"}, UnknownNameError, "no device called 'tpu'. Known: auto, cpu, gpu."),
        ({"devices": 0}, InputError, "devices must be at least 1"),
        ({"precision": "16"}, UnknownNameError, "no precision called '16'. Known: 32, bf16, tf32."),
        ({"time_limit": 0.0}, InputError, "time_limit must be above 0 seconds. Got 0.0"),
        ({"resume": True}, InputError, "run_dir must name the directory of the run to resume"),
        ({"learning_rate": 1e30}, InputError, "training must reach a finite validation loss"),
    ],
)
def test_refusals(options: dict[str, object], error: type[Exception], match: str, split: PairSplit) -> None:
    with pytest.raises(error, match=match):
        fit(split, **options)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_a_gpu_that_is_not_there(split: PairSplit) -> None:
    with pytest.raises(InputError, match="device must be one that torch can use. Got 'gpu'"):
        fit(split, device="gpu")


def test_run_directories_are_not_mixed_up(split: PairSplit, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run_dir must hold last.ckpt to be resumed"):
        fit(split, run_dir=tmp_path, resume=True)
    fit(split, run_dir=tmp_path)
    with pytest.raises(InputError, match=r"run_dir must not hold a run already"):
        fit(split, run_dir=tmp_path)
    with pytest.raises(InputError, match=r"seed: 1 instead of 0"):
        fit(split, run_dir=tmp_path, resume=True, seed=1)
    with pytest.raises(InputError, match=r"kind: 'residual' instead of 'dense'"):
        fit(split, "residual", run_dir=tmp_path, resume=True)


def test_pairs_are_checked(split: PairSplit) -> None:
    other = split_pairs(make_pairs(100, source_dim=12, target_dim=8, similarity="dot").pairs)
    with pytest.raises(InputError, match="train must hold at least 2 pairs. Got 1."):
        fit_neural(split.train.select([0]), split.validation, kind="dense")
    with pytest.raises(InputError, match="validation must hold at least 1 pairs. Got 0."):
        fit_neural(split.train, split.validation.select([]), kind="dense")
    with pytest.raises(SpaceMismatchError, match="The source side of validation"):
        fit_neural(split.train, other.validation, kind="dense")


def test_without_lightning_the_extra_is_named(split: PairSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lightning", None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'lightning'.*pip install 'embcompat\[train\]'"):
        fit(split)
