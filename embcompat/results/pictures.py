"""What a page draws or shows beside the figures: small enough to live in a result file."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from embcompat.results.values import Value
from embcompat.results.verification import Point


class Projection(Value):
    """Vectors of the same items on two principal components; made by `embcompat.report.project`.

    Attributes:
        new: Native vectors under the new model.
        converted: The same items, converted.
        old: The same items under the old model; absent where the dimensions differ.
        explained: Share of the new vectors' variance on each of the two components.
    """

    new: list[Point]
    converted: list[Point]
    old: list[Point] | None = None
    explained: tuple[float, float]

    @model_validator(mode="after")
    def _same_items(self) -> Self:
        if len(self.new) != len(self.converted):
            raise ValueError(f"new and converted must be the same items, got {len(self.new)} and {len(self.converted)}")
        return self


class Histogram(Value):
    """How genuine and impostor scores are spread; made by `embcompat.report.count_scores`.

    Attributes:
        name: The two sides that are compared ("converted with new").
        edges: Ends of the bins, one more than there are bins.
        genuine: Share of the genuine scores in each bin.
        impostor: Share of the impostor scores in each bin.
        threshold: The old threshold, or None.
        transferred: The threshold transferred to these scores, or None.
    """

    name: str
    edges: list[float]
    genuine: list[float]
    impostor: list[float]
    threshold: float | None = None
    transferred: float | None = None

    @model_validator(mode="after")
    def _bins_fit(self) -> Self:
        bins = len(self.edges) - 1
        if bins < 1 or len(self.genuine) != bins or len(self.impostor) != bins:
            raise ValueError(f"{len(self.edges)} edges, {len(self.genuine)} and {len(self.impostor)} bins do not fit")
        return self


class Hit(Value):
    """One result of an example search.

    Attributes:
        text: The item.
        relevant: Whether it answers the query.
    """

    text: str
    relevant: bool = False


class Example(Value):
    """One search before and after the upgrade.

    Attributes:
        query: The query.
        before: Best items of the old query in the old gallery.
        after: Best items of the new query in the converted gallery.
    """

    query: str
    before: list[Hit]
    after: list[Hit]
