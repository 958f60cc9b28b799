from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from embcompat.errors import FileFormatError, InputError, UnknownNameError
from embcompat.results import (
    KINDS,
    BackfillCurve,
    RetrievalReport,
    VerificationReport,
    parse_result,
    read_result,
)


def test_every_kind_is_read(results: list[dict[str, Any]]) -> None:
    kinds = {parse_result(result).kind for result in results}
    assert kinds | {"retrieval"} == set(KINDS)


def test_a_figure_meets_its_interval(demo: dict[str, Any], verification: dict[str, Any]) -> None:
    search, faces = parse_result(demo).measured, parse_result(verification).measured
    assert isinstance(search, RetrievalReport)
    assert isinstance(faces, VerificationReport)
    assert search.retention is not None
    assert (search.retention.value, search.retention.low, search.retention.high) == (0.767, 0.71, math.inf)
    assert list(search.lines) == ["status_quo", "naive_swap", "converted", "fused", "full_reindex"]
    assert faces.scenarios["S2"].frr.low == pytest.approx(0.04)
    assert list(faces.in_order()) == ["old", "S1", "S2", "S3", "S4"]


def test_recall_curves_come_from_the_other_metrics(demo: dict[str, Any]) -> None:
    result = parse_result(demo).measured
    assert isinstance(result, RetrievalReport)
    assert list(result.recall()["fused"]) == [1, 10, 100]
    assert result.recall()["status_quo"][1] == pytest.approx(0.28)


def test_null_is_what_was_not_measured() -> None:
    result = parse_result({"kind": "retrieval", "metric": "mrr", "naive_swap": None, "notes": None, "converted": 0.5})
    assert isinstance(result.measured, RetrievalReport)
    assert list(result.measured.lines) == ["converted"]
    assert result.notes == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "must name its kind, one of backfill_curve, demo, learning_curve, retrieval, verification. Got None"),
        ({"kind": 3}, "Got 3"),
        ({"kind": "retrieval"}, "is not a retrieval result. metric: Field required"),
        ({"kind": "retrieval", "metric": "mrr", "converted": "high"}, "metrics.mrr.converted"),
        ({"kind": "retrieval", "metric": "mrr", "converted": float("nan")}, "finite"),
        (
            {"kind": "learning_curve", "metric": "mrr", "pairs": [1, 2], "values": [0.5], "enough": 2},
            "lengths must agree, got 2 counts and 1",
        ),
        ({"kind": "backfill_curve", "metric": "mrr", "orders": {}}, "orders: "),
        (
            {
                "kind": "retrieval",
                "metric": "mrr",
                "histograms": [{"name": "x", "edges": [0], "genuine": [], "impostor": []}],
            },
            "do not fit",
        ),
        (
            {
                "kind": "retrieval",
                "metric": "mrr",
                "projection": {"new": [[0, 0]], "converted": [], "explained": [1, 0]},
            },
            "same items, got 1 and 0",
        ),
        ({"kind": "verification", "scenarios": 3}, "scenarios: "),
        (
            {"kind": "learning_curve", "metric": "mrr", "pairs": [0], "values": [0.5], "enough": 1},
            "pairs.0: .*greater than 0",
        ),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_result(data)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="kind of result called 'weather'.*verification"):
        parse_result({"kind": "weather"})


def test_files(tmp_path: Path, backfill_curve: dict[str, Any]) -> None:
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(backfill_curve))
    result = read_result(path).measured
    assert isinstance(result, BackfillCurve)
    assert result.orders["class_mean"].auc.value == 0.385


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "does not exist"), ("{", "is not a JSON file"), ("[1]", "must hold one JSON object. Got a list")],
)
def test_files_that_hold_no_result(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_result(path)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"kind": "retrieval"}')
    with pytest.raises(InputError, match=r"result\.json is not a retrieval result"):
        read_result(path)
