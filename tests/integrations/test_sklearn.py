from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import parametrize_with_checks

from embcompat.integrations.sklearn import AffineTransformer


@parametrize_with_checks([AffineTransformer()])
def test_it_follows_the_conventions(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else one of the checks is skipped
    check(estimator)


def test_it_maps_in_a_pipeline() -> None:
    rng = np.random.default_rng(0)
    old, matrix = rng.standard_normal((300, 6)), rng.standard_normal((6, 4))
    line = make_pipeline(AffineTransformer(), Normalizer()).fit(old, old @ matrix)
    expected = old @ matrix / np.linalg.norm(old @ matrix, axis=1, keepdims=True)
    np.testing.assert_allclose(line.transform(old), expected, atol=1e-2)
