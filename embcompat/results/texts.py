"""The quality of a conversion with texts beside simpler ways, and its cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from embcompat.results.values import Estimate, Value

TextLineName = Literal["text_aware", "plain", "words_alone"]

TEXT_LINES: tuple[TextLineName, ...] = ("text_aware", "plain", "words_alone")
"""With the texts; by the vectors alone; by the words alone, the old vector unused."""


class TextLine(Value):
    """One way to make the converted gallery.

    Attributes:
        value: The metric.
        difference: The metric less that of the status quo.
        gain: The metric of ``text_aware`` less this one's, query by query; None for ``text_aware`` itself.
    """

    value: Estimate
    difference: Estimate
    gain: Estimate | None = None


class TextReport(Value):
    """A conversion with texts beside simpler ways, in the gallery without the fitted items, every row converted.

    Attributes:
        metric: What was measured.
        lines: The ways, by name.
        rows_without_text: Rows of the gallery without a known word: they were converted by the vector alone.
        seconds_per_million: Time to convert a million documents, on this machine.
    """

    metric: str
    lines: Mapping[TextLineName, TextLine]
    rows_without_text: int
    seconds_per_million: float
