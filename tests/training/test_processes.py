"""Two processes on the CPU, joined by gloo, stand for two GPUs."""

from __future__ import annotations

import numpy as np
import pytest

from embcompat.embeddings import split_pairs
from embcompat.testing import make_pairs
from embcompat.training import fit_neural


def test_two_processes_fit_what_one_does(capfd: pytest.CaptureFixture[str]) -> None:
    split = split_pairs(make_pairs(300, source_dim=6, target_dim=4).pairs)
    # Without BatchNorm, which sees each share of a batch alone, sharing a batch must not change the result.
    options = {"hidden": 8, "layers": 1, "batch_norm": False, "dropout": 0.0}
    one, two = (
        fit_neural(
            split.train,
            split.validation,
            kind="residual",
            preset="drift_adapter",
            options=options,
            epochs=2,
            batch_size=32,
            device="cpu",
            devices=devices,
        )
        for devices in (1, 2)
    )
    for name, array in one.state().items():
        np.testing.assert_allclose(two.state()[name], array, atol=1e-4)
    assert not two.training
    assert capfd.readouterr() == ("", "")
