"""Partial backfill: which few items to re-embed with the new model, and what it buys."""

from embcompat.backfill.backlog import Backlog, HeldOut
from embcompat.backfill.curves.curve import BackfillCurve, OrderCurve, backfill_curve
from embcompat.backfill.curves.search import SearchTask
from embcompat.backfill.curves.verification import VerificationTask
from embcompat.backfill.order import SCORERS, backfill_order
from embcompat.backfill.plan import BackfillPlan, Budget, plan_backfill, time_per_item
from embcompat.backfill.plan_file import PlanFile, read_plan, save_plan

__all__ = [
    "SCORERS",
    "BackfillCurve",
    "BackfillPlan",
    "Backlog",
    "Budget",
    "HeldOut",
    "OrderCurve",
    "PlanFile",
    "SearchTask",
    "VerificationTask",
    "backfill_curve",
    "backfill_order",
    "plan_backfill",
    "read_plan",
    "save_plan",
    "time_per_item",
]
