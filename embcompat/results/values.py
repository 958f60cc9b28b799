"""Figures with their intervals, and the base of every value that was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from embcompat.errors import InputError

SCHEMA_VERSION = 1
"""Version of the JSON that commands print; a version may gain names but never loses one."""


def _end(unbounded: float) -> tuple[BeforeValidator, PlainSerializer]:
    """Return how JSON holds an end of an interval: null where the data do not bound it."""

    def read(end: Any) -> Any:
        if isinstance(end, float) and math.isnan(end):
            raise ValueError("must be a number or null")
        return unbounded if end is None else end

    def write(end: float) -> float | None:
        return end if math.isfinite(end) else None

    return BeforeValidator(read), PlainSerializer(write)


_Low = Annotated[float, *_end(-math.inf)]
_High = Annotated[float, *_end(math.inf)]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: The figure on the data as they are.
        low: Lower end of the interval; −inf where the data do not bound it, or no interval was measured.
        high: Upper end of the interval; inf in the same cases.
    """

    value: Annotated[float, Field(allow_inf_nan=False)]
    low: _Low = -math.inf
    high: _High = math.inf

    def __format__(self, spec: str) -> str:
        """Write ``value (low to high)``, each number by ``spec``."""
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})" if spec else repr(self)

    def to_dict(self) -> dict[str, float | None]:
        """Return the three numbers by name, as JSON: None for an end that is not bounded."""
        ends = {"low": self.low, "high": self.high}
        return {"value": self.value} | {name: end if math.isfinite(end) else None for name, end in ends.items()}


class Value(BaseModel):
    """Base of what is measured: immutable, and equal to what its JSON reads as.

    JSON holds a figure as ``{"value", "low", "high"}``, or flat, as a number beside its interval. Null is what was not
    measured. Keys that are not known are ignored: a later version may have added them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    flat: ClassVar[Mapping[str, str]] = {}
    """Figures that JSON holds flat: field → name of its interval (of its list of intervals, where it is a tuple)."""

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        fields = {name: value for name, value in data.items() if value is not None}
        for name, interval in cls.flat.items():
            if name in fields:
                fields[name] = fold_figure(fields[name], fields.get(interval))
        return fields

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        for name, interval in self.flat.items():
            fields[name], fields[interval] = flatten_figure(fields[name])
        return fields

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the value as JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the value from JSON.

        Raises:
            InputError: If something is missing or of another type; names it.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(f"this is not a {cls.__name__}. {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """Return the first fault of a validation as a sentence that names the field."""
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"]) or "the object"
    return f"{field}: {fault['msg']}."


def fold_figure(figure: Any, interval: Any) -> Any:
    """Put a number and its interval, or numbers and their intervals, together as they are inside.

    Example:
        >>> fold_figure(0.5, [0.25, None])
        {'value': 0.5, 'low': 0.25, 'high': None}
    """
    if isinstance(figure, list) and not any(isinstance(each, Mapping | Estimate) for each in figure):
        ends: Sequence[Any] = interval or [None] * len(figure)
        if len(ends) != len(figure):
            raise ValueError(f"lengths must agree, got {len(figure)} figures and {len(ends)} intervals")
        return [fold_figure(each, pair) for each, pair in zip(figure, ends, strict=True)]
    if not isinstance(figure, int | float):
        return figure
    low, high = interval if isinstance(interval, list | tuple) and len(interval) == 2 else (None, None)
    return {"value": figure, "low": low, "high": high}


def flatten_figure(figure: Any) -> tuple[Any, Any]:
    """Return a figure, or a list of them, as numbers and intervals: what `fold_figure` puts together."""
    if figure is None:
        return None, None
    if isinstance(figure, Mapping):
        return figure["value"], [figure["low"], figure["high"]]
    return [each["value"] for each in figure], [[each["low"], each["high"]] for each in figure]
