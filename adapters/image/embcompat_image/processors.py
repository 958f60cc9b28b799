"""What a model does to an image before it sees it, as a part of a fingerprint."""

from __future__ import annotations

import json
from typing import Any

from pydantic import JsonValue

_NAMES = ("image_processor_type", "processor_class", "_processor_class")
"""What a processor's settings say of its class, which differs between folders that were saved by other releases."""


def describe_processor(processor: Any) -> JsonValue:
    """Return the class and the settings of an image processor of transformers."""
    settings = {name: value for name, value in processor.to_dict().items() if name not in _NAMES and value is not None}
    plain: dict[str, JsonValue] = json.loads(json.dumps(settings, sort_keys=True, default=str))
    return {"processor": type(processor).__name__, **plain}
