"""Small galleries of known spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embcompat.doctor import DoctorReport
from embcompat.embeddings import Embeddings, normalize_rows
from embcompat.files.vectors import SPACE_KEY
from embcompat.spaces import SpaceVersion

DIM = 16


def space(name: str, *, normalized: bool = False, dim: int = DIM, **fingerprint: str) -> SpaceVersion:
    return SpaceVersion(name=name, version="1", dim=dim, normalized=normalized, fingerprint=dict(fingerprint))


def draw(name: str, count: int, *, seed: int, normalized: bool = False) -> np.ndarray:
    """Draw vectors of a space that is a Gaussian with a mean and covariance of its own."""
    shape = np.random.default_rng(sum(map(ord, name)))
    mixing = shape.standard_normal((DIM, DIM)) * np.geomspace(1, 0.05, DIM)
    vectors = shape.standard_normal(DIM) + np.random.default_rng(seed).standard_normal((count, DIM)) @ mixing.T
    return np.asarray(normalize_rows(vectors) if normalized else vectors, dtype=np.float32)


def embeddings(name: str, count: int, *, seed: int = 0, normalized: bool = False) -> Embeddings:
    vectors = draw(name, count, seed=seed, normalized=normalized)
    return Embeddings(vectors, [f"{name}-{row}" for row in range(count)], space(name, normalized=normalized))


def mix(home: str, other: str, count: int, foreign: int, *, seed: int = 7) -> tuple[Embeddings, np.ndarray]:
    gallery = embeddings(home, count, seed=seed, normalized=True)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:foreign])
    vectors = gallery.vectors.copy()
    vectors[rows] = draw(other, count, seed=seed, normalized=True)[rows]
    return Embeddings(vectors, gallery.ids, gallery.space), rows


def rows_of(report: DoctorReport, kind: str) -> list[int]:
    finding = report.finding(kind)
    return [] if finding is None else finding.rows.tolist()


def write(path: Path, columns: dict[str, Any], where: SpaceVersion | None = None) -> Path:
    metadata = None if where is None else {SPACE_KEY: where.to_json().encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path
