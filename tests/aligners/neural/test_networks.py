from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import erf

from embcompat.aligners import ALIGNERS, Aligner, parameter_count
from embcompat.aligners.neural import NEURAL_ALIGNERS, DenseAligner, ResidualAligner, create_aligner
from embcompat.embeddings import PairSplit, normalize_rows, split_pairs
from embcompat.errors import InputError, UnknownNameError
from embcompat.testing import check_aligner, make_pairs

KINDS = sorted(NEURAL_ALIGNERS)


def fill(aligner: torch.nn.Module, seed: int = 0) -> None:
    """Give every weight and statistic a value that training might have given it."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in aligner.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                values = rng.standard_normal(tuple(tensor.shape)) * 0.3
                tensor.copy_(torch.tensor(0.5 + np.abs(values) if name.endswith(("_var", "_rms")) else values))


def filled(kind: str, **options) -> Aligner:
    aligner = create_aligner(kind, source_dim=6, target_dim=4, **options)
    fill(aligner)
    return aligner


def rows(count: int = 9, dim: int = 6, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("dense", {"hidden": 16}),
        ("multi_branch", {"hidden": 8, "wide": 16, "standardize": True}),
        ("residual", {"hidden": 16, "normalize": True}),
    ],
)
def test_passes_the_suite_of_every_aligner(kind: str, options: dict[str, object], split: PairSplit) -> None:
    if options.get("normalize"):
        split = split_pairs(make_pairs(200, source_dim=12, target_dim=8, normalized=True).pairs)
    aligner = create_aligner(kind, source_dim=12, target_dim=8, **options)
    fill(aligner)
    check_aligner(aligner, split)


def test_every_neural_kind_is_in_the_zoo() -> None:
    assert set(NEURAL_ALIGNERS) <= set(ALIGNERS)
    for kind, cls in NEURAL_ALIGNERS.items():
        assert cls.kind == kind
        assert isinstance(filled(kind), Aligner)


@pytest.mark.parametrize(
    ("kind", "stored", "trainable"), [("dense", 1_337_600, 1_333_504), ("multi_branch", 1_888_640, 1_880_448)]
)
def test_sizes_fit_the_files_of_the_paper(kind: str, stored: int, trainable: int) -> None:
    # Vieira-e-Silva et al., section 5.3: 5.4 MB and 7.6 MB of float32.
    aligner = create_aligner(kind, source_dim=128, target_dim=128)
    assert parameter_count(aligner) == stored
    assert sum(weight.numel() for weight in aligner.parameters()) == trainable


def test_dense_is_the_deep_branch_of_multi_branch() -> None:
    shapes = [
        [
            tuple(array.shape)
            for name, array in create_aligner(kind, source_dim=128, target_dim=128).state().items()
            if branch in name
        ]
        for kind, branch in (("dense", "branches.0"), ("multi_branch", "branches.1"))
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("dims", "hidden", "wide"), [((128, 64), 1024, 2048), ((3, 16), 128, 256), ((768, 8), 4096, 8192)]
)
def test_widths_follow_the_larger_dimension(dims: tuple[int, int], hidden: int, wide: int) -> None:
    with torch.device("meta"):
        aligner = NEURAL_ALIGNERS["multi_branch"](*dims)
    assert (aligner.config()["hidden"], aligner.config()["wide"]) == (hidden, wide)


def batch_norm(x: np.ndarray, state: dict[str, np.ndarray], layer: str) -> np.ndarray:
    scale = state[f"{layer}.weight"] / np.sqrt(state[f"{layer}.running_var"] + 1e-5)
    return (x - state[f"{layer}.running_mean"]) * scale + state[f"{layer}.bias"]


def linear(x: np.ndarray, state: dict[str, np.ndarray], layer: str) -> np.ndarray:
    return x @ state[f"{layer}.weight"].T.astype(np.float64) + state[f"{layer}.bias"]


def test_dense_against_numpy() -> None:
    aligner = filled("dense", hidden=5, standardize=True, normalize=True)
    state = aligner.state()
    x = (rows().astype(np.float64) - state["input_mean"]) / state["input_rms"]
    for layer in (0, 3):
        x = linear(x, state, f"branches.0.{layer}")
        x = np.maximum(batch_norm(x, state, f"branches.0.{layer + 1}"), 0)
    expected = normalize_rows(linear(linear(x, state, "branches.0.6"), state, "head"))
    np.testing.assert_allclose(aligner.transform(rows()), expected, atol=1e-5)


def test_residual_against_numpy() -> None:
    aligner = filled("residual", hidden=5, layers=1, dropout=0.5)
    state = aligner.state()
    x = (rows().astype(np.float64) - state["input_mean"]) / state["input_rms"]
    hidden = batch_norm(linear(x, state, "hidden.0"), state, "hidden.1")
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    expected = linear(x, state, "skip") + linear(hidden, state, "correction")
    np.testing.assert_allclose(aligner.transform(rows()), expected, atol=1e-5)


@pytest.mark.parametrize("standardize", [False, True])
def test_residual_starts_at_the_linear_map_it_is_given(standardize: bool) -> None:
    aligner = create_aligner("residual", source_dim=6, target_dim=4, hidden=8, standardize=standardize)
    assert isinstance(aligner, ResidualAligner)
    if standardize:
        aligner.set_statistics(3 + 5 * rows(100))
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((4, 6)), rng.standard_normal(4)
    aligner.start_at(weight, bias)
    expected = rows() @ weight.T + bias
    np.testing.assert_allclose(aligner.transform(rows()), expected, rtol=1e-4, atol=1e-5)


def test_statistics_make_mean_zero_and_mean_square_one() -> None:
    aligner = create_aligner("dense", source_dim=6, target_dim=4, hidden=8, standardize=True)
    vectors = 3 + np.arange(1, 7) * rows(20_000)
    aligner.set_statistics(vectors)
    state = aligner.state()
    standardized = (vectors - state["input_mean"]) / state["input_rms"]
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-5)
    assert np.mean(np.square(standardized)) == pytest.approx(1, rel=1e-5)
    aligner.set_statistics(np.ones((3, 6), np.float32))
    assert aligner.state()["input_rms"].tolist() == [1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_map_comes_before_normalization(kind: str) -> None:
    plain, normalizing = filled(kind, hidden=8), filled(kind, hidden=8, normalize=True)
    rng = np.random.default_rng(2)
    matrix, offset = rng.standard_normal((4, 4)), rng.standard_normal(4)
    expected = plain.transform(rows()) @ matrix.T + offset
    np.testing.assert_allclose(plain.with_output_map(matrix, offset).transform(rows()), expected, rtol=1e-4, atol=1e-4)
    mapped = normalizing.with_output_map(matrix, offset).transform(rows())
    np.testing.assert_allclose(mapped, normalize_rows(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_rows_alone_and_no_rows(kind: str) -> None:
    aligner = filled(kind, hidden=8)
    many = rows(8_200)
    whole = aligner.transform(many)
    for part in (slice(0, 0), slice(0, 1), slice(8_190, 8_200)):
        np.testing.assert_allclose(aligner.transform(many[part]), whole[part], atol=1e-5)
    frozen = many[:3].copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(aligner.transform(frozen), aligner.transform(many[:3]))


def test_a_zero_row_stays_finite_when_normalized() -> None:
    aligner = create_aligner("residual", source_dim=6, target_dim=4, hidden=8, normalize=True, standardize=False)
    assert isinstance(aligner, ResidualAligner)
    aligner.start_at(np.ones((4, 6)), np.zeros(4))
    assert aligner.transform(np.zeros((1, 6), np.float32)).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("kind", KINDS)
def test_transform_leaves_the_module_as_it_was(kind: str) -> None:
    aligner = filled(kind, hidden=8)
    aligner.train()
    original = aligner.state()
    first, second = aligner.transform(rows()), aligner.transform(rows())
    np.testing.assert_array_equal(first, second)
    assert aligner.training
    for name, array in aligner.state().items():
        np.testing.assert_array_equal(array, original[name])


@pytest.mark.parametrize("kind", KINDS)
def test_forward_is_the_entire_map(kind: str) -> None:
    aligner = filled(kind, hidden=8, normalize=True, standardize=True)
    with torch.no_grad():
        np.testing.assert_array_equal(aligner(torch.tensor(rows())).numpy(), aligner.transform(rows()))


def test_the_seed_decides_and_torchs_own_state_stays() -> None:
    original = torch.get_rng_state()
    aligners = [create_aligner("dense", source_dim=6, target_dim=4, hidden=8, seed=seed) for seed in (0, 0, 1)]
    DenseAligner.from_state(aligners[0].config(), aligners[0].state())
    assert torch.equal(torch.get_rng_state(), original)
    first, again, other = (aligner.state()["head.weight"] for aligner in aligners)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_state_must_be_that_of_the_options() -> None:
    aligner = filled("dense", hidden=8)
    state = aligner.state()
    missing = {name: array for name, array in state.items() if name != "head.bias"}
    with pytest.raises(InputError, match=r"'head.bias' must have shape \(4,\). Got none"):
        DenseAligner.from_state(aligner.config(), missing)
    with pytest.raises(InputError, match=r"'head.scale' must have shape none. Got \(1,\)"):
        DenseAligner.from_state(aligner.config(), {**state, "head.scale": np.ones(1)})
    with pytest.raises(InputError, match=r"must have shape \(9,\). Got \(8,\)"):
        DenseAligner.from_state({**aligner.config(), "hidden": 9}, state)


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("dens", {}, "There is no neural aligner called 'dens'. Known: dense, multi_branch, residual."),
        ("dense", {"wide": 3}, "There is no option of the dense aligner called 'wide'. Known: hidden, normalize"),
        ("dense", {"hidden": 0}, "hidden must be a whole number above 0. Got 0."),
        ("residual", {"layers": 1.5}, "layers must be a whole number above 0. Got 1.5."),
        ("residual", {"dropout": 1.0}, "dropout must be a fraction below 1. Got 1.0."),
    ],
)
def test_refusals(kind: str, options: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        create_aligner(kind, source_dim=6, target_dim=4, **options)
    assert isinstance(caught.value, UnknownNameError) == match.startswith("There is no")


def test_dimensions_and_statistics_are_checked() -> None:
    with pytest.raises(InputError, match="target_dim must be a whole number above 0. Got 0."):
        create_aligner("dense", source_dim=6, target_dim=0)
    with pytest.raises(InputError, match="standardize=True"):
        create_aligner("dense", source_dim=6, target_dim=4, hidden=8).set_statistics(rows())


def test_without_torch_the_extra_is_named() -> None:
    program = """
import sys
sys.modules["torch"] = None
from embcompat.aligners import ALIGNERS
try:
    ALIGNERS["dense"]({}, {})
except ImportError as error:
    print(type(error).__name__, error)
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.startswith("MissingExtraError A neural aligner needs the package 'torch'")
    assert "pip install 'embcompat[train]'" in process.stdout
