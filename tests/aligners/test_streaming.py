from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embcompat.aligners import GramSums, fit_affine_sums, streaming
from embcompat.aligners.streaming import stream_sums
from embcompat.embeddings import PairedEmbeddings
from embcompat.errors import FileFormatError, InputError
from embcompat.testing import make_pairs


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_BLOCK_ROWS", 64)


def save(pairs: PairedEmbeddings, folder: Path, suffix: str) -> tuple[Path, Path]:
    paths = folder / f"old{suffix}", folder / f"new{suffix}"
    for side, path in zip((pairs.source, pairs.target), paths, strict=True):
        if suffix == ".npy":
            np.save(path, side.vectors)
        else:
            side.save(path)
    return paths


def assert_same(result: GramSums, expected: GramSums) -> None:
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(result, name), value, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_both_parts_together_are_all_pairs(tmp_path: Path, suffix: str) -> None:
    pairs = make_pairs(500, source_dim=6, target_dim=4).pairs
    train, held_out = stream_sums(*save(pairs, tmp_path, suffix), validation=0.2)
    assert train.count + held_out.count == 500
    assert 60 < held_out.count < 140
    train.merge(held_out)
    assert_same(train, GramSums.of([(pairs.source.vectors, pairs.target.vectors)]))


def test_other_row_groups_in_the_two_files(tmp_path: Path) -> None:
    pairs = make_pairs(333, source_dim=6, target_dim=4).pairs
    source, target = save(pairs, tmp_path, ".parquet")
    expected = stream_sums(source, target)
    pq.write_table(pq.read_table(target), target, row_group_size=50)
    for result, sums in zip(stream_sums(source, target), expected, strict=True):
        assert_same(result, sums)


def test_a_subject_falls_on_one_side_in_every_file(tmp_path: Path) -> None:
    pairs = make_pairs(400, source_dim=3, target_dim=3, subjects=20).pairs
    assert pairs.labels is not None
    sides = []
    for label in sorted(set(pairs.labels.tolist())):
        images = np.flatnonzero(pairs.labels == label)
        for rows in (images[:7], images[7:]):
            counts = [
                part.count for part in stream_sums(*save(pairs.select(rows), tmp_path, ".parquet"), validation=0.5)
            ]
            assert 0 in counts
            sides.append(counts[1] > 0)
    assert sides[::2] == sides[1::2]
    assert 3 < sum(sides[::2]) < 17


def test_the_seed_decides_who_is_held_out(tmp_path: Path) -> None:
    paths = save(make_pairs(200, source_dim=3, target_dim=3).pairs, tmp_path, ".npy")
    counts = [[part.source_mean[0] for part in stream_sums(*paths, seed=seed)] for seed in (0, 0, 1)]
    assert counts[0] == counts[1] != counts[2]


def test_a_known_map_is_recovered_from_files(tmp_path: Path) -> None:
    synthetic = make_pairs(600, source_dim=8, target_dim=5, how="affine", noise=1e-4)
    aligner = fit_affine_sums(*stream_sums(*save(synthetic.pairs, tmp_path, ".npy")), normalize=False)
    np.testing.assert_allclose(aligner.weight, synthetic.matrix, atol=1e-3)
    np.testing.assert_allclose(aligner.bias, synthetic.offset, atol=1e-3)


def test_edges(tmp_path: Path) -> None:
    pairs = make_pairs(70, source_dim=3, target_dim=3).pairs
    one = stream_sums(*save(pairs.select([0]), tmp_path, ".npy"), validation=0)
    assert [part.count for part in one] == [1, 0]
    with pytest.raises(InputError, match=r"at least one pair is needed"):
        stream_sums(*save(pairs.select([]), tmp_path, ".npy"))
    with pytest.raises(InputError, match=r"validation must be a fraction below 1\. Got 1"):
        stream_sums(*save(pairs, tmp_path, ".npy"), validation=1)


def test_files_of_other_items_are_refused(tmp_path: Path) -> None:
    pairs = make_pairs(100, source_dim=3, target_dim=3).pairs
    source, target = save(pairs, tmp_path, ".parquet")
    pairs.target.select(np.roll(np.arange(100), 1)).save(target)
    with pytest.raises(FileFormatError, match=r"must hold the same ids, row by row\. Row 0 has 'item-0' and 'item-99'"):
        stream_sums(source, target)
    pairs.target.select(np.r_[:70, 80:100, 70:80]).save(target)
    with pytest.raises(FileFormatError, match=r"Row 70 has 'item-70' and 'item-80'"):
        stream_sums(source, target)
    pairs.target.select(np.arange(99)).save(target)
    with pytest.raises(FileFormatError, match=r"must hold the same items\. Got 100 and 99 rows"):
        stream_sums(source, target)


def test_files_without_vectors_are_refused(tmp_path: Path) -> None:
    source, target = save(make_pairs(100, source_dim=3, target_dim=3).pairs, tmp_path, ".npy")
    np.save(target, np.zeros(100))
    with pytest.raises(FileFormatError, match=r"must hold floats of shape \(n, dim\)\. Got float64 of shape \(100,\)"):
        stream_sums(source, target)
    bad = np.zeros((100, 3), np.float32)
    bad[80] = np.nan
    np.save(target, bad)
    with pytest.raises(InputError, match=r"new\.npy must be finite\. Row 80 holds NaN or infinity"):
        stream_sums(source, target)
    plain = tmp_path / "plain.parquet"
    pq.write_table(pq.read_table(save(make_pairs(9).pairs, tmp_path, ".parquet")[0]).replace_schema_metadata(), plain)
    with pytest.raises(FileFormatError, match=r"plain\.parquet does not name its space"):
        stream_sums(plain, plain)


def test_a_missing_label_is_refused(tmp_path: Path) -> None:
    source, target = save(make_pairs(100, source_dim=3, target_dim=3, subjects=10).pairs, tmp_path, ".parquet")
    table = pq.read_table(source)
    labels = table.column("label").to_pylist()
    labels[90] = None
    table = table.set_column(2, table.schema.field("label"), [labels])
    pq.write_table(table, source)
    with pytest.raises(FileFormatError, match=r"must hold a label in every row\. Row 90 has none"):
        stream_sums(source, target)
