"""Quality against cost: what the new model embeds under each mode, and the quality that results."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from embcompat.results.decision import Mode, Model
from embcompat.results.values import Estimate, Value


class Workload(Value):
    """What the new model embeds to fit an aligner, and what it would embed in a full reindex.

    Counted in words where the texts of the gallery are known, and in items elsewhere. The pieces of an item hold its
    words once more.

    Attributes:
        unit: What is counted.
        items: Items of the gallery.
        gallery: The whole gallery: what a full reindex embeds.
        pairs: The items that the aligner was fitted, chosen or measured on.
        pieces: Their pieces.
        table: The words, and the pairs of words, that a text-aware aligner knows.
        seconds_per_item: Time to embed one item; None where it is unknown.
    """

    unit: Literal["words", "items"]
    items: int = Field(gt=0)
    gallery: float = Field(gt=0)
    pairs: float = 0.0
    pieces: float = 0.0
    table: float = 0.0
    seconds_per_item: float | None = None

    @property
    def fixed(self) -> float:
        """The cost of an aligner, which does not depend on the size of the gallery."""
        return self.pairs + self.pieces + self.table

    @property
    def share(self) -> float:
        """`fixed` as a share of a full reindex."""
        return self.fixed / self.gallery

    def seconds(self, share: float) -> float | None:
        """Return the time that a share of a full reindex takes; None where it is not known."""
        return None if self.seconds_per_item is None else share * self.items * self.seconds_per_item

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the counts as JSON, with the share of a full reindex."""
        return {**super().to_dict(), "share_of_reindex": self.share}


class BudgetPoint(Value):
    """One mode: what it costs, and what it is worth on held-out queries.

    Attributes:
        mode: The mode.
        needs: The models that must be alive at query time.
        depth: Items that a query brings up, where the mode is ``lazy_backfill``.
        cold: Whether each query is judged as if it came first, where the mode is ``lazy_backfill``.
        fraction: Share of the gallery that is native, where the mode is ``backfill``.
        share_of_reindex: All that the new model embeds, pairs and words of the aligner included, as a share of a full
            reindex; for a cold query, what it embeds at most.
        seconds: The time that this takes; None where nobody said how long one item takes.
        difference: The metric less that of the status quo.
        retention: The metric as a share of a full reindex's.
    """

    mode: Mode
    needs: tuple[Model, ...] = ()
    depth: int | None = None
    cold: bool = False
    fraction: float | None = None
    share_of_reindex: float
    seconds: float | None = None
    difference: Estimate
    retention: Estimate
