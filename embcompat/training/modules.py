"""What Lightning trains: one module for an aligner, one for a pair of maps."""

# Lightning fixes the signatures of the hooks.
# ruff: noqa: ARG002
from __future__ import annotations

from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from embcompat.aligners.neural.bidirectional import BidirectionalMaps, BidirectionalWeights, bidirectional_losses
from embcompat.aligners.neural.losses import Loss
from embcompat.aligners.neural.module import NeuralAligner

VALIDATION_LOSS = "validation_loss"

PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.1, 2
"""Vieira-e-Silva et al., FC-Aligner, section 4.1."""

WARM_UP = 0.1
"""Fraction of the steps in which a one-cycle schedule rises [ours]."""

SHORTEST_CYCLE = 20
"""Steps of the shortest cycle; torch divides by zero in shorter ones, so a shorter training ends within this one."""


class Training(pl.LightningModule):
    """Optimizer, schedule and logging.

    Args:
        optimizer: ``adam`` or ``adamw``.
        schedule: ``plateau``, ``one_cycle``, or None for a constant rate.
        learning_rate: Learning rate.
        weight_decay: Weight decay.
        seed: Seed of whatever is random in training, dropout above all; another one in each epoch and process, so
            that a resumed run goes on as it would have.
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
        self._rates: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}

    def configure_optimizers(self) -> Any:
        """Return optimizer and schedule."""
        optimizer = self._optimizer(self.parameters(), fused=True, **self._rates)
        if self._schedule is None:
            return optimizer
        if self._schedule == "one_cycle":
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=self._rates["lr"],
                total_steps=max(SHORTEST_CYCLE, int(self.trainer.estimated_stepping_batches)),
                pct_start=WARM_UP,
            )
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
        )
        return [optimizer], [{"scheduler": plateau, "monitor": VALIDATION_LOSS}]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule, but a plateau's, which Lightning would only step after it has written the checkpoint."""
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

    def record(self, name: str, value: Tensor, rows: int) -> None:
        """Log the epoch's mean of a value over rows and processes."""
        self.log(name, value, on_step=False, on_epoch=True, batch_size=rows, sync_dist=self.trainer.world_size > 1)


class AlignerTraining(Training):
    """Trains an aligner to return the target vectors; the loss sees what the aligner returns, normalized if it does.

    Args:
        aligner: What to train.
        loss: Loss between converted and target rows.
        optimization: Arguments of optimizer and schedule.
    """

    def __init__(self, aligner: NeuralAligner, loss: Loss, **optimization: Any) -> None:
        super().__init__(**optimization)
        self.aligner, self._loss = aligner, loss

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train_loss")

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Log the loss of a batch."""
        self._step(batch, VALIDATION_LOSS)

    def _step(self, batch: tuple[Tensor, Tensor], name: str) -> Tensor:
        source, target = batch
        loss = self._loss(self.aligner(source).float(), target)
        self.record(name, loss.detach(), len(source))
        return loss


class BidirectionalTraining(Training):
    """Trains two maps together.

    Args:
        maps: What to train.
        weights: Weights of the loss's terms.
        optimization: Arguments of optimizer and schedule.
    """

    def __init__(self, maps: BidirectionalMaps, weights: BidirectionalWeights, **optimization: Any) -> None:
        super().__init__(**optimization)
        self.maps, self._weights = maps, weights

    def training_step(self, batch: tuple[Tensor, ...], index: int) -> Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, ...], index: int) -> None:
        """Log the loss of a batch, and its terms."""
        self._step(batch, "validation")

    def _step(self, batch: tuple[Tensor, ...], part: str) -> Tensor:
        old, new, *labels = batch
        terms = bidirectional_losses(self.maps, old, new, labels[0] if labels else None, self._weights)
        loss = torch.stack(list(terms.values())).sum()
        for name, value in {**terms, "loss": loss}.items():
            self.record(f"{part}_{name}", value.detach(), len(old))
        return loss
