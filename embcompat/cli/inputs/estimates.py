"""What a model in a service will be asked for, printed before it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from embcompat.cli.console import messages

if TYPE_CHECKING:
    from embcompat.extractors import Extractor


def show_estimate(extractor: Extractor, items: Callable[[], Sequence[Any]]) -> None:
    """Print tokens, requests and cost of embedding items, where the extractor can estimate them.

    Args:
        extractor: The model.
        items: Gathers what will be embedded; called for such an extractor alone.
    """
    from embcompat.extractors import EstimatingExtractor

    if not isinstance(extractor, EstimatingExtractor):
        return
    estimate = extractor.estimate(items())
    cost = "" if estimate.cost is None else f", a cost of about {estimate.cost:,.4g}"
    messages().print(
        f"At most about {estimate.tokens:,} tokens in {estimate.requests:,} requests{cost}.", soft_wrap=True
    )
