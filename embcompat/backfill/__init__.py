"""Partial backfill: which few items to re-embed with the new model, and what it buys."""

from embcompat.backfill.backlog import Backlog, HeldOut
from embcompat.backfill.curve import BackfillCurve, OrderCurve, backfill_curve
from embcompat.backfill.order import SCORERS, backfill_order
from embcompat.backfill.plan import BackfillPlan, Budget, plan_backfill, time_per_item
from embcompat.backfill.plan_file import PlanFile, read_plan, save_plan
from embcompat.backfill.search_curve import SearchTask
from embcompat.backfill.verification_curve import VerificationTask

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
