"""Fit neural aligners; needs ``embcompat[train]``, which is imported when a fit starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from pydantic import JsonValue

from embcompat.aligners import Aligner, AlignerPair, GramSums, fit_affine
from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import InputError, MissingExtraError, UnknownNameError
from embcompat.spaces import require_space
from embcompat.training.options import RunOptions
from embcompat.training.presets import find_preset

if TYPE_CHECKING:
    from embcompat.aligners.neural.module import NeuralAligner
    from embcompat.training.data import PairData


def fit_neural(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    kind: str,
    preset: str | None = None,
    options: Mapping[str, JsonValue] | None = None,
    loss: str | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> Aligner:
    """Fit a neural aligner.

    The output is normalized where the target space is, before the loss is computed. ``residual`` starts at the ridge
    solution. The weights returned are those of the epoch of least validation loss [ours]. The same seed gives the same
    weights on the same machine.

    Args:
        train: Pairs to fit on.
        validation: Held-out pairs, without a subject of ``train``: they decide when to lower the rate and when to
            stop.
        kind: ``dense``, ``multi_branch`` or ``residual``.
        preset: Name of a recipe, see `PRESETS`; the kind's own when None.
        options: Options of the aligner, before the recipe's.
        loss: Name of a loss, before the recipe's.
        learning_rate: Learning rate, before the recipe's.
        epochs: Most epochs, before the recipe's.
        batch_size: Rows of a step, before the recipe's.
        seed: Seed of initial weights, order and dropout.
        run: Device, precision, checkpoints, logs: see `RunOptions`.

    Raises:
        InputError: If there are too few pairs, the spaces of the two sets differ, or an option is out of range.
        UnknownNameError: If there is no such kind, recipe, option or loss.
        MissingExtraError: If torch or lightning is not installed.
    """
    recipe = find_preset(kind, preset)
    if loss is None and train.target.space.similarity != "cosine":
        loss = recipe.distance_loss
    values = {"loss": loss, "learning_rate": learning_rate, "epochs": epochs, "batch_size": batch_size}
    overrides: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    recipe = replace(recipe, **overrides)
    _check(train, validation, epochs=recipe.epochs, batch_size=recipe.batch_size, learning_rate=recipe.learning_rate)
    _require_training_extra()
    from embcompat.aligners.neural.losses import LOSSES
    from embcompat.training.modules import AlignerTraining
    from embcompat.training.trainer import run_training

    if recipe.loss not in LOSSES:
        raise UnknownNameError("loss", recipe.loss, LOSSES)
    aligner = _start(train, validation, kind, {**recipe.options, **(options or {})}, seed)
    optimization: dict[str, Any] = {
        name: getattr(recipe, name) for name in ("optimizer", "schedule", "learning_rate", "weight_decay")
    }
    module = AlignerTraining(aligner, LOSSES[recipe.loss], seed=seed, **optimization)
    settings = {**_settings(train, kind, seed), **optimization, "options": aligner.config()}
    settings |= {"loss": recipe.loss, "batch_size": recipe.batch_size}
    if recipe.schedule == "one_cycle":
        settings["epochs"] = recipe.epochs
    data = _data(train, validation, batch_size=recipe.batch_size, seed=seed)
    run_training(module, data, epochs=recipe.epochs, patience=recipe.patience, settings=settings, **run)
    return aligner


def fit_bidirectional(
    train: PairedEmbeddings,
    validation: PairedEmbeddings,
    *,
    backward: Literal["affine", "orthogonal"] = "affine",
    lam: float | None = None,
    alpha: float | None = None,
    loss_weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    temperature: float = 0.1,
    labels: bool = True,
    learning_rate: float = 1e-3,
    epochs: int = 100,
    batch_size: int = 1024,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> AlignerPair:
    """Fit two maps that meet: forward_map F of the source (old) space, backward_map B of the target (new) space.

    B makes new vectors comparable with stored old ones; F brings old vectors to B's side. F(old) is to be compared
    with B(new), which is a space of its own, see `shared_space`; never with raw new vectors. Source: Ricci et al.,
    "λ-Orthogonality Regularization for Compatible Representation Learning" (NeurIPS 2025); the Adam rate of 1e-3 is
    theirs, the other defaults are ours. Both maps start at closed-form solutions [ours for F and for an affine B]: B at
    the uncentred Procrustes rotation, F at ridge followed by that rotation.

    Args:
        train: Pairs to fit on, source = old, target = new.
        validation: Held-out pairs; the weights returned are those of the epoch of least validation loss [ours].
        backward: ``affine`` (with bias, under the λ-orthogonality penalty) or ``orthogonal`` (strict, no bias: cosines
            and distances among new vectors stay what they are).
        lam: λ of the penalty; 0.375·√dim when None, 0 for soft orthogonality, inf for a plain affine map.
        alpha: α of the penalty; 120/λ when None.
        loss_weights: Weights of the forward, backward and contrastive term.
        temperature: Temperature of the contrastive term.
        labels: Whether rows of one label are positives of each other, where the pairs have labels.
        learning_rate: Learning rate of Adam.
        epochs: Number of epochs.
        batch_size: Rows of a step.
        seed: Seed of the order.
        run: Device, precision, checkpoints, logs: see `RunOptions`.

    Raises:
        InputError: If there are too few pairs, the spaces of the two sets differ, or an option is out of range.
        UnknownNameError: If there is no such kind of backward map.
        MissingExtraError: If torch or lightning is not installed.
    """
    _check(train, validation, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    _require_training_extra()
    from embcompat.aligners.neural.bidirectional import BidirectionalWeights, start_maps
    from embcompat.training.modules import BidirectionalTraining
    from embcompat.training.trainer import run_training

    weights = BidirectionalWeights(*loss_weights, temperature=temperature, lam=lam, alpha=alpha)
    maps = start_maps(
        GramSums.of([(train.source.vectors, train.target.vectors)]), fit_affine(train, validation), backward
    )
    optimization: dict[str, Any] = {"optimizer": "adam", "learning_rate": learning_rate, "weight_decay": 0.0}
    module = BidirectionalTraining(maps, weights, schedule=None, seed=seed, **optimization)
    settings = {**_settings(train, "bidirectional", seed), **optimization, **asdict(weights)}
    settings |= {"backward_kind": backward, "labels": labels, "batch_size": batch_size}
    data = _data(train, validation, batch_size=batch_size, seed=seed, labels=labels)
    run_training(module, data, epochs=epochs, patience=None, settings=settings, **run)
    return maps.fold(normalize=train.target.space.normalized)


def _start(
    train: PairedEmbeddings, validation: PairedEmbeddings, kind: str, options: Mapping[str, JsonValue], seed: int
) -> NeuralAligner:
    """Return an aligner as training starts it."""
    from embcompat.aligners.neural import ResidualAligner, create_aligner

    source, target = train.source.space, train.target.space
    every: dict[str, Any] = {**options, "normalize": target.normalized}
    aligner = create_aligner(kind, source_dim=source.dim, target_dim=target.dim, seed=seed, **every)
    if aligner.standardize:
        aligner.set_statistics(train.source.vectors)
    if isinstance(aligner, ResidualAligner):
        ridge = fit_affine(train, validation)
        aligner.start_at(ridge.weight, ridge.bias)
    return aligner.train()


def _data(
    train: PairedEmbeddings, validation: PairedEmbeddings, *, batch_size: int, seed: int, labels: bool = False
) -> PairData:
    from embcompat.training.data import PairArrays, PairData

    def arrays(pairs: PairedEmbeddings) -> PairArrays:
        classes = None
        if labels and pairs.labels is not None:
            classes = np.unique(pairs.labels.astype(str), return_inverse=True)[1].astype(np.int64)
        return PairArrays(pairs.source.vectors, pairs.target.vectors, classes)

    return PairData(arrays(train), arrays(validation), batch_size=batch_size, seed=seed)


def _settings(train: PairedEmbeddings, kind: str, seed: int) -> dict[str, Any]:
    spaces = {"source": train.source.space.id, "target": train.target.space.id}
    return {"kind": kind, **spaces, "pairs": len(train), "seed": seed}


def _check(
    train: PairedEmbeddings, validation: PairedEmbeddings, *, epochs: int, batch_size: int, learning_rate: float
) -> None:
    for name, pairs, least in (("train", train, 2), ("validation", validation, 1)):
        if len(pairs) < least:
            raise InputError(f"{name} must hold at least {least} pairs. Got {len(pairs)}.")
    require_space(validation.source.space, train.source.space, what="The source side of validation")
    require_space(validation.target.space, train.target.space, what="The target side of validation")
    for name, value, smallest in (("epochs", epochs, 1), ("batch_size", batch_size, 2)):
        if value < smallest:
            raise InputError(f"{name} must be at least {smallest}. Got {value}.")
    if not 0 < learning_rate < math.inf:
        raise InputError(f"learning_rate must be above 0. Got {learning_rate}.")


def _require_training_extra() -> None:
    for package in ("torch", "lightning"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "embcompat[train]", "Training a neural aligner")
