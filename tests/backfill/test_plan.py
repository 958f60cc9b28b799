from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from embcompat.backfill import (
    BackfillCurve,
    BackfillPlan,
    Budget,
    OrderCurve,
    plan_backfill,
    read_plan,
    save_plan,
    time_per_item,
)
from embcompat.errors import FileFormatError, InputError
from embcompat.evaluation import Estimate

VALUES = (0.7, 0.8, 0.9, 0.97, 1.0)
LOWS = (0.66, 0.76, 0.86, 0.93, 1.0)
IDS = [f"item-{number}" for number in range(80)]


@pytest.fixture
def curve() -> BackfillCurve:
    retention = tuple(Estimate(v, low, min(v + 0.04, 1.0)) for v, low in zip(VALUES, LOWS, strict=True))
    metric = tuple(Estimate(*(0.5 * end for end in (each.value, each.low, each.high))) for each in retention)
    order = OrderCurve(
        fractions=(0.2, 0.4, 0.6, 0.8, 1.0), metric=metric, retention=retention, auc=Estimate(0.4, 0.3, 0.5)
    )
    full = Estimate(0.5, 0.4, 0.6)
    return BackfillCurve(
        metric="ndcg@10",
        orders={"random": order},
        status_quo=0.3,
        full_reindex=full,
        weights={},
        calibrated=0.0,
        judged=50,
        gallery_size=1_000,
    )


def test_a_target_is_read_off_the_curve(curve: BackfillCurve) -> None:
    budget = Budget(target_retention=0.85, seconds_per_item=90.0, price_per_item=0.25)
    plan = plan_backfill(IDS, budget, native_items=20, curve=curve)
    # 0.85 lies halfway between the fractions 0.4 and 0.6: 50 of 100 items, 20 of which are native.
    assert plan.ids == tuple(IDS[:30])
    assert plan.expected is not None
    assert (plan.expected.value, plan.expected.low) == (pytest.approx(0.85), pytest.approx(0.81))
    assert plan.sure_rows == 38  # 0.85 by the lower end: at 0.578
    assert plan.stop_rows == 60  # the upper end reaches 1 at 0.8
    assert plan.sentence == (
        "Re-embed these 30 items (30% of the gallery) to reach 85% of a full reindex, expected between 81 and 89 %; "
        "takes 45 min; costs 7.50."
    )
    assert "To be sure of the target, re-embed 38 items." in plan.advice
    assert "Stop after 60 items" in plan.advice


@pytest.mark.parametrize(
    ("budget", "rows"),
    [
        (Budget(rows=12), 12),
        (Budget(rows=500), 80),
        (Budget(fraction=0.5), 30),
        (Budget(fraction=0.1), 0),
        (Budget(seconds=100, seconds_per_item=3), 33),
        (Budget(money=2, price_per_item=0.1), 20),
        (Budget(target_retention=1.0), 80),
        (Budget(target_retention=0.5), 0),
    ],
)
def test_what_a_budget_buys(budget: Budget, rows: int, curve: BackfillCurve) -> None:
    plan = plan_backfill(IDS, budget, native_items=20, curve=curve)
    assert plan.ids == tuple(IDS[:rows])
    assert plan.expected is not None


def test_more_items_never_expect_less_on_a_rising_curve(curve: BackfillCurve) -> None:
    expected = [plan_backfill(IDS, Budget(rows=n), native_items=20, curve=curve).expected for n in range(0, 81, 8)]
    values = [each.value for each in expected if each is not None]
    assert len(values) == 11
    assert values == sorted(values)


def test_below_the_curves_pairs_it_says_nothing_and_a_target_asks_for_them(curve: BackfillCurve) -> None:
    fresh = [f"x{number}" for number in range(100)]
    plan = plan_backfill(fresh, Budget(rows=10), curve=curve)
    assert plan.expected is None
    assert "no curve shows" in plan.sentence
    assert len(plan_backfill(fresh, Budget(target_retention=0.1), curve=curve).ids) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of .* Got none"),
        ({"rows": 3, "fraction": 0.5}, "Got rows, fraction"),
        ({"fraction": 1.5}, "fraction up to 1"),
        ({"rows": -1}, "from 0 upwards"),
        ({"seconds": 5.0}, "needs seconds_per_item"),
        ({"money": 5.0, "price_per_item": 0.0}, "needs price_per_item"),
    ],
)
def test_bad_budgets_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Budget(**options)  # type: ignore[arg-type]


def test_a_target_needs_a_curve_of_its_order(curve: BackfillCurve) -> None:
    with pytest.raises(InputError, match="needs a curve"):
        plan_backfill(IDS, Budget(target_retention=0.9))
    with pytest.raises(InputError, match="must hold the order 'class_mean'. It has random"):
        plan_backfill(IDS, Budget(rows=1), order="class_mean", curve=curve)
    with pytest.raises(InputError, match="items to plan for"):
        plan_backfill([], Budget(rows=1))


def save(plan: BackfillPlan, folder: Path) -> Path:
    save_plan(plan, folder / "plan.json", folder / "ids.txt", artifact="a" * 64, source="old@1", target="new@1")
    return folder / "plan.json"


def test_a_plan_survives_the_disk(curve: BackfillCurve, tmp_path: Path) -> None:
    plan = plan_backfill(IDS, Budget(rows=12), native_items=20, curve=curve)
    copy, ids = read_plan(save(plan, tmp_path))
    assert ids == IDS[:12]
    assert (copy.count, copy.order, copy.source, copy.ids_file) == (12, "random", "old@1", "ids.txt")
    assert copy.sentence == plan.sentence
    assert copy.curve is not None
    assert copy.curve["kind"] == "backfill_curve"
    (tmp_path / "moved").mkdir()
    for name in ("plan.json", "ids.txt"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert read_plan(tmp_path / "moved" / "plan.json")[1] == ids


def test_damaged_plans_are_refused(tmp_path: Path) -> None:
    path = save(plan_backfill(IDS, Budget(rows=12)), tmp_path)
    text = path.read_text()
    path.write_text(text.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(FileFormatError, match="not a backfill plan. schema_version"):
        read_plan(path)
    path.write_text("{")
    with pytest.raises(FileFormatError, match="not JSON"):
        read_plan(path)
    path.write_text(text)
    (tmp_path / "ids.txt").write_text("item-1\n")
    with pytest.raises(FileFormatError, match="does not hold the ids"):
        read_plan(path)
    (tmp_path / "ids.txt").unlink()
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_plan(path)
    with pytest.raises(InputError, match="single lines"):
        save(plan_backfill(["a\nb"], Budget(rows=1)), tmp_path)


def test_the_model_is_timed_on_some_items() -> None:
    class Slow:
        chunk_size = 4
        sizes: ClassVar[list[int]] = []

        def extract(self, items: list[str]) -> np.ndarray:
            self.sizes.append(len(items))
            time.sleep(0.01 * len(items))
            return np.zeros((len(items), 2), np.float32)

    assert time_per_item(Slow(), IDS) >= 0.01  # type: ignore[arg-type]
    assert Slow.sizes == [4, 4]
    assert time_per_item(Slow(), IDS[:1]) >= 0.01  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one item"):
        time_per_item(Slow(), [])  # type: ignore[arg-type]
