"""Backfill: which items to re-embed with the new model, what that gains, and how: ahead of time or as queries come."""

from embcompat.backfill.backlog import Backlog, HeldOut
from embcompat.backfill.curves.curve import backfill_curve
from embcompat.backfill.curves.search import SearchTask
from embcompat.backfill.curves.verification import VerificationTask
from embcompat.backfill.embed import Embed, NativeRows, embed_items, look_up
from embcompat.backfill.execute import BackfillRun, run_backfill
from embcompat.backfill.lazy.backfill import DEFAULT_DEPTH, FirstSearch, LazyBackfill
from embcompat.backfill.lazy.counters import LazyCounters
from embcompat.backfill.lazy.replay import LazyCurve, replay_lazy
from embcompat.backfill.order import SCORERS, available_orders, backfill_order
from embcompat.backfill.plan import BackfillPlan, Budget, plan_backfill, time_per_item
from embcompat.backfill.plan_file import PlanFile, read_plan, save_plan
from embcompat.results import BackfillCurve, OrderCurve

__all__ = [
    "DEFAULT_DEPTH",
    "SCORERS",
    "BackfillCurve",
    "BackfillPlan",
    "BackfillRun",
    "Backlog",
    "Budget",
    "Embed",
    "FirstSearch",
    "HeldOut",
    "LazyBackfill",
    "LazyCounters",
    "LazyCurve",
    "NativeRows",
    "OrderCurve",
    "PlanFile",
    "SearchTask",
    "VerificationTask",
    "available_orders",
    "backfill_curve",
    "backfill_order",
    "embed_items",
    "look_up",
    "plan_backfill",
    "read_plan",
    "replay_lazy",
    "run_backfill",
    "save_plan",
    "time_per_item",
]
