"""Texts under two real models, for stores before, during and after a migration."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

DOCS = {
    f"np.{name}": " ".join((inspect.getdoc(member) or "").split())[:150]
    for name, member in sorted(vars(np).items())
    if inspect.isroutine(member) and len(inspect.getdoc(member) or "") > 100
}
UNIQUE = {name: text for text, name in {text: name for name, text in DOCS.items()}.items()}  # aliases tie
TEXTS = dict(list(UNIQUE.items())[:60])
QUERIES = ["the largest element of an array", "join arrays along an axis", "random rounding of decimals"]
NAMES = list(TEXTS)


def search_in(rows: np.ndarray, names: list[str]) -> Any:
    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ rows.T
        order = np.argsort(-scores, axis=1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.array(names, dtype=object)[order]

    return search
