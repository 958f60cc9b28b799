"""Batches of pairs, by index from memory or chunk by chunk from memory-mapped files; never row by row."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WINDOW_BYTES = 256 * 2**20
"""Memory that a window of a memory-mapped data set takes; rows are shuffled within it [ours]."""

RESIDENT_BYTES = 4 * 2**30
"""Data up to this size are kept on the accelerator as a whole [ours]."""


@dataclass(frozen=True, eq=False)
class PairArrays:
    """The arrays that batches are cut from.

    Attributes:
        source: Array (n, source_dim) float32, in memory or memory-mapped.
        target: Array (n, target_dim) float32.
        classes: Class of each row as int64 (n,), or None.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    classes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that are not None."""
        return (self.source, self.target) if self.classes is None else (self.source, self.target, self.classes)

    def __reduce__(self) -> tuple[Any, ...]:
        # Sent to another process, a memory-mapped array travels as its file's name, not as its contents.
        return _rebuild, tuple(_pack(array) for array in self.arrays)


class PairBatches:
    """The batches of an epoch; each is a tuple (source rows, target rows[, classes]) of tensors.

    Arrays in memory are shuffled as a whole. Memory-mapped ones, and those too large for the accelerator, are read in
    windows of random blocks of ``batch_size`` consecutive rows and shuffled within the window: reads stay sequential
    and memory stays bounded.

    Args:
        pairs: The arrays.
        batch_size: Rows of a batch, over all processes together.
        device: The device to put the batches on.
        seed: Seed of the order, which differs from epoch to epoch; the rows' own order when None.
        rank: Number of this process; it gets its share of every batch.
        processes: Number of processes.
        window_bytes: Memory of a window.

    Attributes:
        epoch: Number of the epoch; set it before iterating.
    """

    def __init__(
        self,
        pairs: PairArrays,
        *,
        batch_size: int,
        device: torch.device,
        seed: int | None,
        rank: int = 0,
        processes: int = 1,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self.epoch = 0
        self.pairs, self.batch_size, self.device, self.seed = pairs, batch_size, device, seed
        self.rank, self.processes = rank, processes
        row_bytes = sum(array.nbytes for array in pairs.arrays) // max(len(pairs), 1)
        self.window_blocks = max(1, window_bytes // max(1, row_bytes * batch_size))
        large = device.type != "cpu" and row_bytes * len(pairs) > RESIDENT_BYTES
        self.resident: tuple[Tensor, ...] | None = None
        if not large and all(_mapped(array) is None for array in pairs.arrays):
            self.resident = tuple(_tensor(array).to(device) for array in pairs.arrays)

    def __len__(self) -> int:
        full, rest = divmod(len(self.pairs), self.batch_size)
        return full + (rest >= self.smallest)

    @property
    def smallest(self) -> int:
        """Rows below which a last batch is dropped: BatchNorm needs 2 in each process to train, evaluation needs 1."""
        return self.processes * (1 if self.seed is None else 2)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for window, order in self._windows():
            for rows in torch.split(order, self.batch_size):
                if len(rows) >= self.smallest:
                    part = rows.tensor_split(self.processes)[self.rank]
                    yield tuple(tensor.index_select(0, part) for tensor in window)

    def _windows(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Yield tensors on the device, each with the order in which its rows are to be used."""
        count = len(self.pairs)
        random = None if self.seed is None else _generator(self.seed, self.epoch)
        if self.resident is not None:
            order = torch.arange(count) if random is None else torch.randperm(count, generator=random)
            yield self.resident, order.to(self.device)
            return
        blocks = torch.arange(count // self.batch_size)
        if random is not None:
            blocks = blocks[torch.randperm(len(blocks), generator=random)]
        # The incomplete block comes last, so that every window but the last one is cut into whole batches.
        blocks = torch.cat([blocks, torch.arange(len(blocks), -(-count // self.batch_size))])
        for group in torch.split(blocks, self.window_blocks):
            starts = group.sort().values.numpy() * self.batch_size
            window = tuple(self._read(array, starts) for array in self.pairs.arrays)
            rows = len(window[0])
            order = torch.arange(rows) if random is None else torch.randperm(rows, generator=random)
            yield window, order.to(self.device)

    def _read(self, array: NDArray[Any], starts: NDArray[np.int64]) -> Tensor:
        parts = [array[start : start + self.batch_size] for start in starts]
        return torch.from_numpy(np.concatenate(parts)).to(self.device)


class PairData(pl.LightningDataModule):
    """Training and validation batches for a Lightning trainer that asks for its loaders every epoch.

    Args:
        train: Pairs to train on.
        validation: Pairs to validate on.
        batch_size: Rows of a batch, over all processes together.
        seed: Seed of the order.
    """

    def __init__(self, train: PairArrays, validation: PairArrays, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self._pairs = {"train": train, "validation": validation}
        self._batch_size, self._seed = batch_size, seed
        self._batches: dict[str, PairBatches] = {}

    @property
    def steps(self) -> int:
        """Training steps of an epoch, with or without the last incomplete batch."""
        return max(1, len(self._pairs["train"]) // self._batch_size)

    def setup(self, stage: str) -> None:
        """Prepare the batches of this process."""
        del stage
        trainer: Any = self.trainer
        for part, pairs in self._pairs.items():
            self._batches[part] = PairBatches(
                pairs,
                batch_size=self._batch_size,
                device=trainer.strategy.root_device,
                seed=self._seed if part == "train" else None,
                rank=trainer.global_rank,
                processes=trainer.world_size,
            )

    def train_dataloader(self) -> PairBatches:
        """Return the training batches, in the order of the epoch."""
        trainer: Any = self.trainer
        self._batches["train"].epoch = trainer.current_epoch
        return self._batches["train"]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch, which is already on its device."""
        del device, dataloader_idx
        return batch

    def val_dataloader(self) -> PairBatches:
        """Return the validation batches, in the rows' own order."""
        return self._batches["validation"]


def _generator(seed: int, epoch: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def _tensor(array: NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        # Batches are copies: nothing ever writes to the array.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(array)


def _mapped(array: NDArray[Any]) -> np.memmap[Any, Any] | None:
    """Return the memory map that an array is a view of, or None."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and not isinstance(base.base, np.ndarray):
            return base
        base = base.base
    return None


def _pack(array: NDArray[Any]) -> Any:
    mapped = _mapped(array)
    if mapped is None or mapped.filename is None or not array.flags.c_contiguous:
        return array
    offset = mapped.offset + array.ctypes.data - mapped.ctypes.data
    return str(mapped.filename), array.dtype.str, offset, array.shape


def _rebuild(*packed: Any) -> PairArrays:
    def unpack(part: Any) -> NDArray[Any]:
        if isinstance(part, np.ndarray):
            return part
        filename, dtype, offset, shape = part
        return np.asarray(np.memmap(filename, dtype=dtype, mode="r", offset=offset, shape=shape))

    return PairArrays(*map(unpack, packed))
