"""The options of a training run that do not depend on the model. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

Device = Literal["auto", "cpu", "gpu"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "gpu")

Precision = Literal["32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("32", "tf32", "bf16")


class RunOptions(TypedDict, total=False):
    """Options that every neural fit takes; only a time limit changes what is fitted, beyond rounding.

    Attributes:
        device: ``auto`` (an accelerator where there is one), ``cpu`` or ``gpu``; ``auto`` when not given.
        devices: Number of processes, each with its own device or, on CPU, with its share of the cores; 1 when not
            given. They share each batch, so the batch size keeps its meaning; BatchNorm sees each share alone. More
            than one are started anew: the calling script must be importable (``if __name__ == "__main__":``).
        precision: ``32``; ``tf32`` (products in TF32 where the device has it); ``bf16`` (bfloat16 where autocast finds
            it safe, weights in float32). ``32`` when not given.
        run_dir: Directory for ``last.ckpt``, written after every epoch, and ``metrics/version_N/metrics.csv``. Nothing
            is written when not given.
        resume: Whether to resume from ``last.ckpt`` in ``run_dir``. The options must be those of the run that wrote it.
        time_limit: Seconds for this run: training ends after the epoch that a further one as long would overrun. At
            least one epoch is trained; with ``run_dir``, a later run resumes after the last. No limit when not given.
        loggers: Lightning loggers that get the metrics as well.
        progress: Whether to show a progress bar.
    """

    device: Device
    devices: int
    precision: Precision
    run_dir: str | Path | None
    resume: bool
    time_limit: float | None
    loggers: Sequence[Any]
    progress: bool
