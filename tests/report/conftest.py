"""Make-believe results: every figure here is invented, and says so where it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embcompat.evaluation.verification.figures import det_curve
from embcompat.report import count_scores, project

LINES = {"status_quo": 0.28, "naive_swap": 0.01, "converted": 0.33, "fused": 0.35, "full_reindex": 0.43}


def estimate(value: float, width: float = 0.02) -> dict[str, Any]:
    return {"value": value, "low": value - width, "high": value + width}


def around(value: float, width: float = 0.02) -> list[float]:
    return [value - width, value + width]


@pytest.fixture(scope="session")
def demo() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    new = rng.standard_normal((60, 6))
    old, converted = rng.standard_normal((60, 6)), new + 0.1 * rng.standard_normal((60, 6))
    differences = {name: estimate(value - LINES["status_quo"]) for name, value in LINES.items() if name != "status_quo"}
    return {
        "kind": "demo",
        "title": "Made-up search",
        "metric": "ndcg@10",
        "old_space": "made-old@1",
        "new_space": "made-new@2",
        **LINES,
        **{f"{name}_interval": around(value) for name, value in LINES.items()},
        "gaps": {"converted": {"value": 0.333, "low": 0.2, "high": 0.45}},
        "differences": differences,
        "metrics": {
            f"recall@{k}": {name: estimate(min(1.0, value * k**0.3)) for name, value in LINES.items()}
            for k in (1, 10, 100)
        },
        "retention_by_size": [
            {
                "gallery_size": size,
                "differences": differences,
                "retentions": {"status_quo": estimate(share - 0.1), "converted": converted_share},
            }
            for size, share, converted_share in (
                (90, 0.9, estimate(0.9)),
                (300, 0.85, estimate(0.85)),
                (900, 0.77, {"value": 0.767, "low": 0.71, "high": None}),
            )
        ],
        "unfitted": {"gallery_size": 700, "differences": differences, "retentions": {}},
        "options": [
            {
                "mode": mode,
                "needs": needs,
                "fraction": fraction,
                "items": items,
                "difference": estimate(0.1),
                "retention": estimate(0.93),
            }
            for mode, needs, fraction, items in (
                ("lazy_backfill", ["new"], None, 321),
                ("lazy_backfill", ["old", "new"], None, 312),
                ("backfill", ["new"], 0.2, 123),
            )
        ],
        "workload": {"unit": "words", "items": 900, "gallery": 9000, "pairs": 900, "pieces": 900, "table": 450},
        "budget": [
            {
                "mode": mode,
                "needs": needs,
                "depth": depth,
                "cold": cold,
                "fraction": fraction,
                "share_of_reindex": share,
                "difference": estimate(0.1),
                "retention": estimate(retention),
            }
            for mode, needs, depth, cold, fraction, share, retention in (
                ("convert", ["new"], None, False, None, 0.25, 0.767),
                ("lazy_backfill", ["new"], 10, False, None, 0.41, 0.93),
                ("lazy_backfill", ["new"], 10, True, None, 0.26, 0.61),
                ("lazy_backfill", ["old", "new"], 10, False, None, 0.41, 0.94),
                ("backfill", ["new"], None, False, 0.2, 0.45, 0.8),
                ("reindex", ["new"], None, False, None, 1.0, 1.0),
            )
        ],
        "texts": {
            "metric": "ndcg@10",
            "lines": {
                name: {"value": estimate(value), "difference": estimate(value - 0.28), "gain": gain}
                for name, value, gain in (
                    ("text_aware", 0.33, None),
                    ("plain", 0.25, estimate(0.08)),
                    ("words_alone", 0.3, estimate(0.03)),
                )
            },
            "rows_without_text": 7,
            "seconds_per_million": 100.0,
        },
        "hybrid": {
            "metric": "ndcg@10",
            "lexical": estimate(0.31),
            "lines": {
                name: {
                    "equal": estimate(value + 0.05),
                    "equal_difference": None if name == "status_quo" else differences[name],
                    "chosen": estimate(value + 0.06),
                    "chosen_difference": None if name == "status_quo" else differences[name],
                    "weight": 0.7,
                }
                for name, value in LINES.items()
            },
            "missing_queries": 2,
        },
        "queries": 120,
        "gallery_size": 900,
        "native_fraction": 0.25,
        "checks": [
            {"name": "The figures are real", "passed": False, "detail": "they are made up"},
            {"name": "The page is drawn", "passed": True, "detail": "50.0 % of it"},
        ],
        "changes": {
            "better": 1,
            "worse": 1,
            "same": 118,
            "gains": [{"query": "q<1>", "text": "made-up <i>text</i>", "before": 1234, "after": 2, "difference": 0.6}],
            "losses": [{"query": "q2", "before": 1, "after": 3, "difference": -0.5}],
        },
        "decision": "convert",
        "reason": "This verdict is made up.",
        "needs": ["new"],
        "notes": ["Every figure on this page is made up."],
        "reembed_seconds": 92.3,
        "pairs_seconds": 5.1,
        "fit_seconds": 0.6,
        "convert_seconds": 0.04,
        "speedup": 16.1,
        "reasons": {"fused": "this reason is made up"},
        "candidates": [
            {
                "name": name,
                "kind": "ridge",
                "parameters": 10,
                "fit_seconds": 0.1,
                "score": estimate(score),
                "against_best": estimate(score - 0.6),
                "as_good": score == 0.6,
            }
            for name, score in (("first", 0.5), ("second", 0.6))
        ],
        "examples": [
            {
                "query": "a <b>made-up</b> query",
                "before": [{"text": "a wrong item"}, {"text": "the right item", "relevant": True}],
                "after": [{"text": "the right item", "relevant": True}, {"text": "a wrong item"}],
            }
        ],
        "projection": project(old, new, converted),
        "provenance": {
            "seed": 0,
            "date": "2026-02-03 04:05 UTC",
            "command": "none, made up",
            "versions": {"embcompat": "0"},
        },
        "a key of a later version": 1,
    }


def scenario(frr: float, far: float) -> dict[str, Any]:
    return {
        "threshold": 0.43,
        "frr": frr,
        "far": far,
        "far_at_frr": 1.2 * far,
        "threshold_at_frr": 0.4,
        "mean_genuine": 0.5,
        "mean_impostor": 0.9,
        "genuine_pairs": 100,
        "impostor_pairs": 10_000,
        "false_acceptances": round(10_000 * far),
        "false_acceptances_at_frr": round(12_000 * far),
        "intervals": {"frr": around(frr, 0.01), "far": around(far, 0.4 * far), "far_at_frr": [far, None]},
    }


@pytest.fixture(scope="session")
def verification() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(0.7, 0.1, 200), rng.normal(0.05, 0.15, 2_000)
    return {
        "kind": "verification",
        "title": "Made-up faces",
        "scenarios": {
            name: scenario(0.05, rate) for name, rate in (("S1", 1e-4), ("S2", 4e-4), ("S3", 2e-4), ("S4", 0.0))
        },
        "old": scenario(0.05, 3e-4),
        "target_frr": 0.05,
        "subjects": 100,
        "same_item_distance": 0.23,
        "status_quo_ratio": estimate(0.7, 0.2),
        "all_images": False,
        "weight": "person",
        "largest_share": 0.01,
        "similarity": "cosine",
        "seed": 0,
        "decision": "stay",
        "reason": "This verdict is made up.",
        "det": {"S1": det_curve(genuine, impostor).points(), "S3": det_curve(genuine - 0.1, impostor).points()},
        "histograms": [
            count_scores("new – new", genuine, impostor, threshold=0.43),
            count_scores("converted – new", genuine - 0.1, impostor, threshold=0.43, transferred=0.36),
        ],
    }


@pytest.fixture(scope="session")
def learning_curve() -> dict[str, Any]:
    values = [0.25, 0.29, 0.31]
    return {
        "kind": "learning_curve",
        "metric": "ndcg@10",
        "pairs": [250, 500, 1_000],
        "values": values,
        "intervals": [around(value) for value in values],
        "enough": 500,
        "status_quo": 0.28,
        "full_reindex": 0.43,
    }


@pytest.fixture(scope="session")
def backfill_curve() -> dict[str, Any]:
    return {
        "kind": "backfill_curve",
        "metric": "ndcg@10",
        "orders": {
            "random": {"fractions": [0.1, 0.5, 1.0], "metric": [0.33, 0.37, 0.43], "auc": 0.377},
            "class_mean": {
                "fractions": [0.1, 1.0],
                "metric": [0.34, 0.43],
                "intervals": [around(0.34), around(0.43)],
                "auc": 0.385,
            },
        },
        "status_quo": 0.28,
        "full_reindex": 0.43,
        "weights": {},
        "calibrated": 0.0,
        "judged": 120,
        "gallery_size": 900,
    }


@pytest.fixture(scope="session")
def results(
    demo: dict[str, Any],
    verification: dict[str, Any],
    learning_curve: dict[str, Any],
    backfill_curve: dict[str, Any],
) -> list[dict[str, Any]]:
    """One made-up result of each kind."""
    return [demo, verification, learning_curve, backfill_curve]


@pytest.fixture(scope="session")
def page(results: list[dict[str, Any]]) -> str:
    """The page of them all."""
    from embcompat.report.html import render_report

    return render_report(results, title="Made-up report")
