"""The modules that Lightning trains: one for an aligner, one for a pair of maps."""

# Lightning fixes the signatures of the hooks.
# ruff: noqa: ARG002
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from embcompat.aligners.neural.bidirectional import BidirectionalMaps, BidirectionalWeights, bidirectional_losses
from embcompat.aligners.neural.losses import Loss
from embcompat.aligners.neural.module import NeuralAligner
from embcompat.training.presets import PLATEAU_FACTOR, PLATEAU_PATIENCE, WARM_UP

VALIDATION_LOSS = "validation_loss"

SHORTEST_CYCLE = 20
"""Steps of the shortest cycle; torch divides by zero in shorter ones, so a shorter training ends within this one."""


class Training(pl.LightningModule, ABC):
    """Optimizer, schedule and logging.

    Args:
        optimizer: ``adam`` or ``adamw``.
        schedule: ``plateau``, ``one_cycle``, or None for a constant rate.
        learning_rate: Learning rate.
        weight_decay: Weight decay.
        seed: Seed of all randomness in training, mainly dropout. Each epoch and process derives its own from it, so
            that a resumed run continues exactly like an uninterrupted one.
    """

    def __init__(
        self,
        *,
        optimizer: Literal["adam", "adamw"],
        schedule: Literal["plateau", "one_cycle"] | None,
        learning_rate: float,
        weight_decay: float,
        seed: int,
    ) -> None:
        super().__init__()
        self._optimizer = torch.optim.Adam if optimizer == "adam" else torch.optim.AdamW
        self._schedule, self._seed = schedule, seed
        self._sums: dict[str, tuple[Any, int]] = {}
        self._rates: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the schedule."""
        optimizer = self._optimizer(self.parameters(), fused=True, **self._rates)
        if self._schedule is None:
            return optimizer
        if self._schedule == "one_cycle":
            steps = max(SHORTEST_CYCLE, int(self.trainer.estimated_stepping_batches))
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self._rates["lr"], steps, pct_start=WARM_UP)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
        )
        return [optimizer], [{"scheduler": plateau, "monitor": VALIDATION_LOSS}]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule, except a plateau's, which Lightning would step only after it has written the checkpoint."""
        if self._schedule != "plateau":
            scheduler.step()

    def on_train_epoch_end(self) -> None:
        """Step a plateau's schedule."""
        if self._schedule == "plateau":
            plateau: Any = self.lr_schedulers()
            plateau.step(self.trainer.callback_metrics[VALIDATION_LOSS])

    def on_train_epoch_start(self) -> None:
        """Seed the epoch."""
        seeds = np.random.SeedSequence([self._seed, self.current_epoch, self.global_rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))

    @abstractmethod
    def terms(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return ``loss``, and the other terms of a batch to log."""

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, ...], index: int) -> None:
        """Add the loss of a batch to the epoch's mean."""
        self._step(batch, "validation")

    def _step(self, batch: tuple[Tensor, ...], part: str) -> Tensor:
        """Return the loss and add all terms to the epoch's means; Lightning's own way to do so costs more a step."""
        terms, rows = self.terms(batch), len(batch[0])
        for name, value in terms.items():
            total, count = self._sums.get(f"{part}_{name}", (0.0, 0))
            self._sums[f"{part}_{name}"] = total + value.detach() * rows, count + rows
        return terms["loss"]

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's means over rows and processes."""
        for name, (total, count) in self._sums.items():
            several = self.trainer.world_size > 1
            self.log(name, total / count, batch_size=count, sync_dist=several, prog_bar=name == VALIDATION_LOSS)
        self._sums.clear()


class AlignerTraining(Training):
    """Trains an aligner to return the target vectors; the loss sees what the aligner returns, normalized if it does.

    Args:
        aligner: The aligner to train.
        loss: Loss between converted and target rows.
        optimization: Arguments of optimizer and schedule.
    """

    def __init__(self, aligner: NeuralAligner, loss: Loss, **optimization: Any) -> None:
        super().__init__(**optimization)
        self.aligner, self._loss = aligner, loss

    def terms(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the loss of a batch (source, target)."""
        source, target = batch
        return {"loss": self._loss(self.aligner(source).float(), target)}


class BidirectionalTraining(Training):
    """Trains two maps together.

    Args:
        maps: The maps to train.
        weights: Weights of the loss's terms.
        optimization: Arguments of optimizer and schedule.
    """

    def __init__(self, maps: BidirectionalMaps, weights: BidirectionalWeights, **optimization: Any) -> None:
        super().__init__(**optimization)
        self.maps, self._weights = maps, weights

    def terms(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the loss of a batch (old, new[, classes]), and its terms."""
        old, new, *classes = batch
        terms = bidirectional_losses(self.maps, old, new, classes[0] if classes else None, self._weights)
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}
