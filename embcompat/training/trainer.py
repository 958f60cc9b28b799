"""Runs a Lightning trainer: devices, precision, checkpoints, logs, and the best weights."""

# Lightning fixes the signatures of the hooks.
# ruff: noqa: ARG002
from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from pydantic import JsonValue
from torch import Tensor

from embcompat.errors import InputError, UnknownNameError
from embcompat.training.data import PairData
from embcompat.training.modules import VALIDATION_LOSS, Training
from embcompat.training.options import DEVICES, PRECISIONS, RunOptions

CHECKPOINT = "last"
_LOG_EVERY_STEPS = 50
_ANNOUNCERS = ("lightning.pytorch", "lightning.fabric")


def run_training(
    module: Training,
    data: PairData,
    *,
    epochs: int,
    patience: int | None,
    settings: Mapping[str, JsonValue],
    **run: Unpack[RunOptions],
) -> None:
    """Train a module in place; it ends on the CPU, with the weights of the epoch of least validation loss.

    Args:
        module: The module to train.
        data: Its batches.
        epochs: Most epochs.
        patience: Stop after that many epochs without a better validation loss; never when None.
        settings: The settings that define the run; a resumed run must have the same.
        run: See `RunOptions`.

    Raises:
        InputError: If an option is out of range, the directory holds another run, or the loss is never finite.
        UnknownNameError: If there is no such device or precision.
    """
    accelerator, devices = _check_device(run.get("device", "auto"), run.get("devices", 1))
    precision = run.get("precision", "32")
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    directory, checkpoint = _check_run_dir(run.get("run_dir"), resume=run.get("resume", False), settings=settings)
    callbacks: list[Callback] = [_QuietProcess(), BestWeights(settings)]
    loggers = list(run.get("loggers", ()))
    if patience is not None:
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=patience))
    if precision == "tf32":
        callbacks.append(_Tf32())
    time_limit = run.get("time_limit")
    if time_limit is not None:
        if not time_limit > 0:
            raise InputError(f"time_limit must be above 0 seconds. Got {time_limit}.")
        callbacks.append(_TimeLimit(time_limit))
    if run.get("progress", False):
        callbacks.append(RichProgressBar())
    if directory is not None:
        callbacks.append(ModelCheckpoint(directory, filename=CHECKPOINT, enable_version_counter=False))
        loggers.append(CSVLogger(directory, name="metrics"))
    with _quiet(), torch.random.fork_rng(devices=range(devices) if accelerator == "cuda" else []):
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_epochs=epochs,
            logger=loggers or False,
            log_every_n_steps=min(_LOG_EVERY_STEPS, data.steps),
            callbacks=callbacks,
            enable_checkpointing=directory is not None,
            enable_progress_bar=run.get("progress", False),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    module.cpu().eval()


class BestWeights(Callback):
    """Stores the weights of the epoch of least validation loss, and restores them when training ends.

    Args:
        settings: The settings that define the run; stored in its checkpoints.
    """

    def __init__(self, settings: Mapping[str, JsonValue]) -> None:
        self._settings = dict(settings)
        self._loss = math.inf
        self._weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Store the weights if they are the best so far."""
        loss = float(trainer.callback_metrics[VALIDATION_LOSS])
        if loss < self._loss:
            self._loss = loss
            self._weights = {name: tensor.detach().cpu().clone() for name, tensor in pl_module.state_dict().items()}

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Restore the best weights."""
        if not self._weights:
            raise InputError(
                "training must reach a finite validation loss. Got none in any epoch. Lower learning_rate, or look "
                "for extreme values in the pairs."
            )
        pl_module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint stores."""
        return {"settings": self._settings, "loss": self._loss, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state that a checkpoint stored."""
        self._loss, self._weights = state_dict["loss"], state_dict["weights"]


class _TimeLimit(Callback):
    """Ends training after the epoch that a further one as long would overrun."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._epoch_start = 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._epoch_start = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        now = time.monotonic()
        over = now + (now - self._epoch_start) > self._end
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(trainer.should_stop or over, all=False)


class _Tf32(Callback):
    """Lets products run in TF32 during training, in every process that trains."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        torch.set_float32_matmul_precision(self._before)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        torch.set_float32_matmul_precision(self._before)


def _check_device(device: str, devices: int) -> tuple[str, int]:
    if device not in DEVICES:
        raise UnknownNameError("device", device, DEVICES)
    available = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    if device == "gpu" and not available:
        raise InputError("device must be one that torch can use. Got 'gpu', and torch finds none: pass 'cpu'.")
    kind = torch.accelerator.current_accelerator() if available and device != "cpu" else None
    if devices < 1 or (kind is not None and devices > available):
        raise InputError(f"devices must be at least 1 and at most the {available} that torch finds. Got {devices}.")
    return ("cpu" if kind is None else kind.type), devices


def _check_run_dir(
    run_dir: str | Path | None, *, resume: bool, settings: Mapping[str, JsonValue]
) -> tuple[Path | None, Path | None]:
    """Return the directory, if any, and the checkpoint to resume from, if any."""
    if run_dir is None:
        if resume:
            raise InputError("run_dir must name the directory of the run to resume. Got None.")
        return None, None
    directory = Path(run_dir)
    checkpoint = directory / f"{CHECKPOINT}.ckpt"
    if not resume:
        if checkpoint.exists():
            raise InputError(
                f"run_dir must not hold a run already. Got {directory}. Pass resume=True to resume it, or choose "
                "another directory."
            )
        return directory, None
    if not checkpoint.is_file():
        raise InputError(f"run_dir must hold {checkpoint.name} to be resumed. Got {directory}, which does not.")
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    recorded = stored["callbacks"][BestWeights.__qualname__]["settings"]
    if different := [key for key in {**settings, **recorded} if recorded.get(key) != settings.get(key)]:
        key = different[0]
        raise InputError(
            f"a resumed run must have the options of the run in {directory}. {key}: {settings.get(key)!r} instead of "
            f"{recorded.get(key)!r}."
        )
    return directory, checkpoint


class _QuietProcess(Callback):
    """Silences another process as `_quiet` silences this one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _silence_process, ()


def _silence_process() -> _QuietProcess:
    _silence()
    return _QuietProcess()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's announcements out of the caller's log; warnings stay."""
    levels = {name: logging.getLogger(name).level for name in _ANNOUNCERS}
    try:
        with warnings.catch_warnings():
            _silence()
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _silence() -> None:
    for name in _ANNOUNCERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A directory that is not empty is one to resume from, as `_check_run_dir` has made sure.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Lightning uses a class of torch's that torch has renamed.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
