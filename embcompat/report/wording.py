"""The format of figures, and the names of things, on the page and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from embcompat.durations import format_duration
from embcompat.results import Estimate, Line, Scenario, TextLineName

LINES: Final[dict[Line, str]] = {
    "status_quo": "Status quo",
    "naive_swap": "Naive swap",
    "converted": "Converted",
    "fused": "Fused",
    "full_reindex": "Full reindex",
}
"""The lines of a retrieval result, in the order they are shown."""

WHAT: Final[dict[Line, str]] = {
    "status_quo": "old queries, old gallery",
    "naive_swap": "new queries, old gallery",
    "converted": "new queries, converted gallery",
    "fused": "both scores added",
    "full_reindex": "new queries, new gallery",
}
"""What each line searches with and in."""

TEXT_LINES: Final[dict[TextLineName, str]] = {
    "text_aware": "Vectors and words",
    "plain": "Vectors alone",
    "words_alone": "Words alone",
}
"""What a conversion with texts reads, and the simpler ones beside it."""

FIDELITY: Final = "new_model_neighbours"
"""The source of relevance where a result measures fidelity to the new model rather than quality."""

DECISIONS: Final = {
    "unjudged": "No verdict yet",
    "stay": "Stay with the old model",
    "swap": "Swap the model, keep the vectors",
    "fused": "Serve fused",
    "convert": "Convert the gallery",
    "lazy_backfill": "Convert, and backfill lazily",
    "backfill": "Convert, and re-embed a part",
    "reindex": "Re-embed everything",
}
"""The instruction of each decision."""

NEEDS: Final = {"old": "the old model", "new": "the new model"}
"""The models that must be alive at query time."""

SCENARIOS: Final[dict[Scenario, str]] = {
    "old": "old – old",
    "S1": "new – new",
    "S2": "converted – converted",
    "S3": "converted – new",
    "S4": "new – converted",
}
"""What each verification scenario compares: anchor – positive."""

NAMES: Final[dict[Scenario, str]] = {"old": "Status quo"}
"""Names of the scenarios that have no number."""

MISSING: Final = "–"


def as_interval(figure: Estimate | None, write: Callable[[float | None], str] | None = None) -> str:
    """Write the ends of an interval.

    Example:
        >>> as_interval(Estimate(0.5, 0.45, 0.551)), as_interval(Estimate(0.5))
        ('0.450 to 0.551', '–')
    """
    if figure is None or (math.isinf(figure.low) and math.isinf(figure.high)):
        return MISSING
    low, high = ("∞" if math.isinf(end) else (write or as_number)(end) for end in (figure.low, figure.high))
    return f"{'−' if low == '∞' else ''}{low} to {high}"


def as_number(value: float | None) -> str:
    """Write a retrieval metric.

    Example:
        >>> as_number(0.4341), as_number(None)
        ('0.434', '–')
    """
    return MISSING if value is None else f"{value:.3f}".replace("-", "−")


def as_difference(value: float | None) -> str:
    """Write the difference of two retrieval metrics.

    Example:
        >>> as_difference(0.0451), as_difference(-0.05)
        ('+0.045', '−0.050')
    """
    return MISSING if value is None else f"{value:+.3f}".replace("-", "−")


def as_percent(value: float | None) -> str:
    r"""Write a fraction as per cent, with as many decimals as it takes to show three digits below 10 %.

    Example:
        >>> as_percent(0.8514), as_percent(0.04977), as_percent(-0.05)
        ('85.1\xa0%', '4.98\xa0%', '−5.00\xa0%')
    """
    if value is None:
        return MISSING
    decimals = 2 if abs(value) < 0.1 else 1
    return f"{100 * value:.{decimals}f}\N{NO-BREAK SPACE}%".replace("-", "−")


def as_share(value: float) -> str:
    r"""Write a fraction that somebody chose as per cent, as short as it is.

    Example:
        >>> as_share(0.05), as_share(0.001)
        ('5\xa0%', '0.1\xa0%')
    """
    return f"{100 * value:g}\N{NO-BREAK SPACE}%"


def as_seconds(value: float | None) -> str:
    """Write a duration, or that there is none."""
    return MISSING if value is None else format_duration(value)


def as_factor(value: float | None) -> str:
    """Write how many times.

    Example:
        >>> as_factor(11.04), as_factor(1.48), as_factor(1234.0)
        ('11×', '1.5×', '1,234×')
    """
    if value is None:
        return MISSING
    return f"{value:.1f}×" if value < 10 else f"{value:,.0f}×"
