from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from embcompat.training.data import PairArrays, PairBatches

CPU = torch.device("cpu")


def arrays(count: int, *, classes: bool = False) -> PairArrays:
    """Rows that know their number: source (i, i), target (−i, −i, −i), class i."""
    number = np.arange(count, dtype=np.float32)
    source, target = np.repeat(number[:, None], 2, axis=1), np.repeat(-number[:, None], 3, axis=1)
    return PairArrays(source, target, np.arange(count) if classes else None)


@pytest.fixture(params=["memory", "mapped"])
def make_arrays(request: pytest.FixtureRequest, tmp_path: Path):
    def make(count: int) -> PairArrays:
        pairs = arrays(count)
        if request.param == "memory":
            return pairs
        np.save(tmp_path / "source.npy", pairs.source)
        np.save(tmp_path / "target.npy", pairs.target)
        sides = (np.asarray(np.load(tmp_path / f"{side}.npy", mmap_mode="r")) for side in ("source", "target"))
        return PairArrays(*sides)

    return make


def seen(batches: PairBatches) -> list[int]:
    return [int(row) for batch in batches for row in batch[0][:, 0]]


# A window of 60 rows of 20 bytes: the mapped data are read in several.
WINDOW = 1_200


@pytest.mark.parametrize(("count", "size"), [(100, 10), (103, 10), (7, 10), (250, 50), (101, 10)])
def test_every_row_once_in_pairs_and_in_the_promised_number_of_batches(make_arrays, count: int, size: int) -> None:
    batches = PairBatches(make_arrays(count), batch_size=size, device=CPU, seed=0, window_bytes=WINDOW)
    parts = list(batches)
    assert len(parts) == len(batches)
    for source, target in parts:
        assert source.shape[1:] == (2,)
        assert torch.equal(target[:, :2], -source)
    rows = seen(batches)
    # A last batch of one row is dropped: BatchNorm cannot train on it.
    assert len(rows) == count - (count % size == 1)
    assert len(set(rows)) == len(rows)
    assert [len(source) for source, _ in parts[:-1]] == [size] * (len(parts) - 1)


def test_the_order_changes_with_seed_and_epoch_and_with_nothing_else(make_arrays) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = PairBatches(make_arrays(200), batch_size=10, device=CPU, seed=seed, window_bytes=WINDOW)
        batches.epoch = epoch
        return seen(batches)

    orders = [order(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(rows) for rows in orders}) == 3
    assert order(0, 1) == orders[1]
    assert all(rows != sorted(rows) for rows in orders)


def test_without_a_seed_rows_come_in_order_and_all_of_them(make_arrays) -> None:
    for count in (1, 95, 101):
        batches = PairBatches(make_arrays(count), batch_size=10, device=CPU, seed=None, window_bytes=WINDOW)
        assert seen(batches) == list(range(count))
        assert len(batches) == len(list(batches))


@pytest.mark.parametrize("count", [100, 103, 105])
def test_processes_share_every_batch(make_arrays, count: int) -> None:
    pairs = make_arrays(count)
    one = PairBatches(pairs, batch_size=10, device=CPU, seed=0, window_bytes=WINDOW)
    processes = [
        PairBatches(pairs, batch_size=10, device=CPU, seed=0, window_bytes=WINDOW, rank=rank, processes=2)
        for rank in (0, 1)
    ]
    shares = [list(batches) for batches in processes]
    assert len(shares[0]) == len(shares[1]) == len(processes[0])
    assert min(len(source) for share in shares for source, _ in share) >= 2
    for whole, first, second in zip(one, *shares, strict=False):
        assert torch.equal(whole[0], torch.cat([first[0], second[0]]))


def test_mapped_rows_are_mixed_across_the_file(tmp_path: Path) -> None:
    pairs = arrays(1_000)
    np.save(tmp_path / "x.npy", pairs.source)
    mapped = PairArrays(np.load(tmp_path / "x.npy", mmap_mode="r"), pairs.target)
    first = next(iter(PairBatches(mapped, batch_size=10, device=CPU, seed=0, window_bytes=200 * 20)))[0][:, 0]
    assert len({int(row) // 10 for row in first}) > 5
    assert first.max() - first.min() > 500


def test_classes_travel_with_their_rows() -> None:
    for source, _, classes in PairBatches(arrays(30, classes=True), batch_size=7, device=CPU, seed=0):
        assert torch.equal(source[:, 0].long(), classes)


def test_batches_are_copies(make_arrays) -> None:
    pairs = make_arrays(20)
    for source, _ in PairBatches(pairs, batch_size=10, device=CPU, seed=0):
        source.zero_()
    assert pairs.source[3, 0] == 3


def test_mapped_arrays_are_sent_by_name(tmp_path: Path) -> None:
    pairs = arrays(5_000, classes=True)
    np.save(tmp_path / "source.npy", pairs.source)
    mapped = np.load(tmp_path / "source.npy", mmap_mode="r")
    sent = pickle.dumps(PairArrays(np.asarray(mapped)[1_000:], pairs.target[1_000:], pairs.classes[1_000:]))
    without = pickle.dumps(PairArrays(pairs.source[1_000:], pairs.target[1_000:], pairs.classes[1_000:]))
    assert len(without) - len(sent) > 0.9 * 4_000 * 8
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.source, pairs.source[1_000:])
    np.testing.assert_array_equal(again.target, pairs.target[1_000:])
    np.testing.assert_array_equal(again.classes, pairs.classes[1_000:])
