"""All measurements as one family of values; decision, report and command line read them."""

from embcompat.results.budget import BudgetPoint, Workload
from embcompat.results.candidates import Scored
from embcompat.results.changes import QueryChange, QueryChanges
from embcompat.results.curves import BackfillCurve, LearningCurve, OrderCurve
from embcompat.results.decision import (
    CONVERTING_MODES,
    MIXED_MODES,
    MODES,
    Check,
    ColdStart,
    Decision,
    DecisionName,
    Judge,
    Mode,
    Model,
    Option,
)
from embcompat.results.files import KINDS, ResultFile, Times, parse_result, read_result
from embcompat.results.pictures import Example, Histogram, Hit, Projection
from embcompat.results.retrieval import (
    ENOUGH_QUERIES,
    LINES,
    MIN_QUERIES,
    Figures,
    GalleryPart,
    HybridLine,
    HybridReport,
    Line,
    RetrievalReport,
)
from embcompat.results.texts import TEXT_LINES, TextLine, TextLineName, TextReport
from embcompat.results.values import SCHEMA_VERSION, Estimate, Value
from embcompat.results.verification import GroupRates, Point, Scenario, ScenarioResult, VerificationReport

__all__ = [
    "CONVERTING_MODES",
    "ENOUGH_QUERIES",
    "KINDS",
    "LINES",
    "MIN_QUERIES",
    "MIXED_MODES",
    "MODES",
    "SCHEMA_VERSION",
    "TEXT_LINES",
    "BackfillCurve",
    "BudgetPoint",
    "Check",
    "ColdStart",
    "Decision",
    "DecisionName",
    "Estimate",
    "Example",
    "Figures",
    "GalleryPart",
    "GroupRates",
    "Histogram",
    "Hit",
    "HybridLine",
    "HybridReport",
    "Judge",
    "LearningCurve",
    "Line",
    "Mode",
    "Model",
    "Option",
    "OrderCurve",
    "Point",
    "Projection",
    "QueryChange",
    "QueryChanges",
    "ResultFile",
    "RetrievalReport",
    "Scenario",
    "ScenarioResult",
    "Scored",
    "TextLine",
    "TextLineName",
    "TextReport",
    "Times",
    "Value",
    "VerificationReport",
    "Workload",
    "parse_result",
    "read_result",
]
