"""Training recipes, as plain data. No torch here, so that the command line can list them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pydantic import JsonValue

from embcompat.errors import InputError, UnknownNameError

PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.1, 2
"""A ``plateau`` schedule multiplies the rate by this after that many epochs (Vieira-e-Silva et al., section 4.1)."""

WARM_UP = 0.1
"""Fraction of the steps in which a ``one_cycle`` schedule rises [ours]."""


@dataclass(frozen=True)
class Preset:
    """The settings that training needs beside the pairs.

    Attributes:
        kinds: Kinds of aligner that the recipe is for.
        loss: Name of the loss, see ``embcompat.aligners.neural.losses``.
        optimizer: ``adam``, or ``adamw`` (weight decay apart from the gradient).
        learning_rate: Learning rate, the highest one in a one-cycle schedule.
        weight_decay: Weight decay.
        schedule: ``plateau`` (a tenth of the rate when the validation loss has not improved for 2 epochs) or
            ``one_cycle`` (up during the first tenth of the steps, then down along a cosine).
        patience: Stop when the validation loss has not improved for that many epochs; never when None.
        epochs: Most epochs.
        batch_size: Rows of a step.
        distance_loss: Name of the loss where the target space does not compare by cosine; ``loss`` when None.
        options: Options of the aligner.
    """

    kinds: tuple[str, ...]
    loss: str
    optimizer: Literal["adam", "adamw"]
    learning_rate: float
    schedule: Literal["plateau", "one_cycle"]
    epochs: int
    batch_size: int
    weight_decay: float = 0.0
    patience: int | None = None
    distance_loss: str | None = None
    options: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # Vieira-e-Silva et al., FC-Aligner, section 4.1. The paper's batch is 128 or 512.
        "fc_aligner": Preset(
            kinds=("dense", "multi_branch"),
            loss="euclidean",
            optimizer="adam",
            learning_rate=1e-3,
            schedule="plateau",
            patience=10,
            epochs=240,
            batch_size=512,
        ),
        # Ours, for faces: a regularized network learns the residual of ridge; faces are compared by cosine.
        "skip": Preset(
            kinds=("residual",),
            loss="cosine",
            distance_loss="euclidean",
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=1e-4,
            schedule="one_cycle",
            epochs=15,
            batch_size=256,
            options=MappingProxyType(
                {"hidden": 1024, "layers": 2, "batch_norm": True, "dropout": 0.3, "standardize": True}
            ),
        ),
        # Vejendla, Drift-Adapter (EMNLP 2025): W x + W2·GELU(W1 x), fitted in mean square. Width and schedule ours.
        "drift_adapter": Preset(
            kinds=("residual",),
            loss="mse",
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=1e-4,
            schedule="plateau",
            patience=10,
            epochs=60,
            batch_size=256,
            options=MappingProxyType(
                {"hidden": 256, "layers": 1, "batch_norm": False, "dropout": 0.0, "standardize": False}
            ),
        ),
    }
)
"""The recipes by name."""

DEFAULT_PRESETS: Mapping[str, str] = MappingProxyType(
    {"dense": "fc_aligner", "multi_branch": "fc_aligner", "residual": "skip"}
)
"""The recipe of each kind when none is named."""


def find_preset(kind: str, preset: str | None) -> Preset:
    """Return the recipe of that name, or the kind's default when the name is None.

    Raises:
        UnknownNameError: If there is no such kind or recipe.
        InputError: If the recipe is for other kinds.

    Example:
        >>> find_preset("dense", None).loss
        'euclidean'
    """
    if kind not in DEFAULT_PRESETS:
        raise UnknownNameError("neural aligner", kind, DEFAULT_PRESETS)
    name = DEFAULT_PRESETS[kind] if preset is None else preset
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    if kind not in PRESETS[name].kinds:
        fitting = ", ".join(sorted(other for other in PRESETS if kind in PRESETS[other].kinds))
        raise InputError(f"preset must be one for {kind!r}: {fitting}. Got {name!r}.")
    return PRESETS[name]
