"""The model of ``--extractor``, ``--model`` and ``--option``, and an estimate of its work."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from embcompat.cli.console import messages
from embcompat.errors import InputError

if TYPE_CHECKING:
    from embcompat.extractors import Extractor


def open_model(
    extractor: str, model: str | None, options: list[str] | None, *, batch_size: int | None = None
) -> Extractor:
    """Load the model that the command line names.

    Raises:
        InputError: If there is no such extractor, or it has no such option.
    """
    from embcompat.extractors import load_extractor

    settings = parse_options(extractor, options or [])
    if batch_size is not None:
        settings["batch_size"] = batch_size
    with messages().status(f"Loading {extractor}"):
        return load_extractor(extractor, *([] if model is None else [model]), **settings)


def parse_options(extractor: str, pairs: list[str]) -> dict[str, Any]:
    """Parse KEY=VALUE pairs as the extractor's parameters take them.

    A value that is JSON (a number, true, {…}) is taken as such, anything else as a string. A number stays the string
    that it was written as where the parameter takes strings, so that version 1.10 is not 1.1.
    """
    from embcompat.extractors.discovery import extractor_signature

    parameters = extractor_signature(extractor).parameters
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.replace("-", "_")
        if not equals or not key.isidentifier() or key in options:
            raise InputError(f"--option must be KEY=VALUE, each key once. Got {pair!r}.")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        takes_strings = key in parameters and "str" in str(parameters[key].annotation)
        options[key] = text if takes_strings and isinstance(value, (int, float)) else value
    return options


def show_estimate(extractor: Extractor, items: Callable[[], Sequence[Any]]) -> None:
    """Print tokens, requests and cost of embedding items, where the extractor can estimate them.

    Args:
        extractor: The model.
        items: Returns the items to embed; only called for such an extractor.
    """
    from embcompat.extractors import EstimatingExtractor

    if not isinstance(extractor, EstimatingExtractor):
        return
    estimate = extractor.estimate(items())
    cost = "" if estimate.cost is None else f", a cost of about {estimate.cost:,.4g}"
    messages().print(
        f"At most about {estimate.tokens:,} tokens in {estimate.requests:,} requests{cost}.", soft_wrap=True
    )
