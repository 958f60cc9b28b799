"""Costs of the modes, and the cheapest mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embcompat.durations import format_duration
from embcompat.errors import InputError
from embcompat.results import MODES, Mode, Option


@dataclass(frozen=True)
class Costs:
    """What the modes cost.

    Attributes:
        seconds: Measured time of whole modes, in seconds.
        seconds_per_item: Seconds to embed one item with the new model.
        price_per_item: Price of embedding one item, in any currency.
    """

    seconds: Mapping[Mode, float]
    seconds_per_item: float | None = None
    price_per_item: float | None = None

    def __post_init__(self) -> None:
        for mode, cost in self.seconds.items():
            if mode not in MODES or not cost >= 0:
                modes = ", ".join(MODES)
                raise InputError(f"seconds must give modes ({modes}) a time of 0 or more. Got {mode!r}: {cost}.")
        for name in ("seconds_per_item", "price_per_item"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(f"{name} must be 0 or more. Got {value}.")

    def of(self, option: Option) -> tuple[float | None, float | None]:
        """Return seconds and price of an option, None where they are not known.

        A mode that converts and embeds items takes the time of both.
        """
        seconds = self.seconds.get(option.mode)
        if seconds is None and self.seconds_per_item is not None and option.items is not None:
            converting = 0.0 if option.mode in ("swap", "reindex") else self.seconds.get("convert", 0.0)
            seconds = converting + option.items * self.seconds_per_item
        known = self.price_per_item is not None and option.items is not None
        return seconds, (option.items or 0) * (self.price_per_item or 0.0) if known else None

    def order(self, options: Sequence[Option]) -> list[Option]:
        """Sort options, the cheapest first: by time, else by price, where all have one; else by `MODES`."""
        known = [self.of(option) for option in options]
        column = next((column for column in (0, 1) if all(each[column] is not None for each in known)), None)

        def effort(number: int) -> tuple[float, int, float, int]:
            cost = None if column is None else known[number][column]
            option = options[number]
            return cost or 0.0, MODES.index(option.mode), option.fraction or option.depth or 0.0, len(option.needs)

        return [options[number] for number in sorted(range(len(options)), key=effort)]

    def describe(self, option: Option) -> str:
        """Describe what an option costs, as far as that is known; empty if nothing is."""
        seconds, price = self.of(option)
        parts = [f"{option.items:,} items to embed"] if option.items else []
        parts += [format_duration(seconds)] if seconds else []
        parts += [f"price {price:,.2f}"] if price else []
        return ", ".join(parts)
