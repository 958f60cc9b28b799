"""Aligners as scikit-learn transformers; needs scikit-learn (``embcompat[cluster]``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.errors import MissingExtraError

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtraError("scikit-learn", "embcompat[cluster]", "embcompat.integrations.sklearn") from error


class AffineTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A ridge map from old vectors to new ones, by scikit-learn's conventions.

    ``fit(X, y)`` takes old vectors (n, source_dim) and new ones of the same items (n, target_dim) and chooses its
    penalty on a held-out part of the rows, as `embcompat.fit_affine` does; ``transform(X)`` maps.

    Args:
        validation: Share of the rows on which the penalty is chosen.
        random_state: Seed of the choice of these rows.
    """

    def __init__(self, *, validation: float = 0.175, random_state: int = 0) -> None:
        self.validation = validation
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> AffineTransformer:
        """Fit on pairs of rows."""
        from embcompat.aligners import fit_affine
        from embcompat.selection.arrays import split_arrays

        old, new = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=4)
        targets = np.asarray(new, dtype=np.float64).reshape(len(old), -1)
        pairs = split_arrays(old, targets, validation=self.validation, similarity="euclidean", seed=self.random_state)
        self.aligner_ = fit_affine(*pairs)
        self._n_features_out = targets.shape[1]
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Map old vectors (n, source_dim) to the new space (n, target_dim)."""
        check_is_fitted(self)
        vectors = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.aligner_.transform(vectors.astype(np.float32)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
