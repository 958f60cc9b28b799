"""ONNX graphs from files that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from embcompat.errors import ArtifactError

FILE: Final = "aligner.onnx"
"""Name of the graph's file in an artifact."""


def check_graph(data: bytes) -> None:
    """Refuse a graph that is not self-contained: external data, or operators outside the ONNX standard.

    Raises:
        ArtifactError: If the bytes are not an ONNX model, its names are no text, or it reaches outside itself.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if data[4:8] == b"ORTM":  # onnxruntime would read this as its own format, whatever else the bytes may be
        raise ArtifactError(f"{FILE} must be in the ONNX format. Got onnxruntime's own.")
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, TypeError) as error:
        raise ArtifactError(f"{FILE} is not an ONNX model: {error}") from error
    messages = list(_messages(model))
    if any(map(_has_broken_text, messages)):
        raise ArtifactError(f"{FILE} is not an ONNX model: a name in it is not UTF-8.")
    domains = {entry.domain for entry in model.opset_import}
    for message in messages:
        if isinstance(message, onnx.TensorProto):
            if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
                raise ArtifactError(f"{FILE} keeps data outside the file, which is refused.")
        elif isinstance(message, (onnx.NodeProto, onnx.FunctionProto)):
            domains.add(message.domain)
    if foreign := domains - {"", "ai.onnx"}:
        raise ArtifactError(f"{FILE} uses operators outside the ONNX standard, which is refused: {sorted(foreign)}.")


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and every message inside it, wherever it stands."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        yield found
        for field, value in found.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _has_broken_text(message: Any) -> bool:
    """Return whether a text of a protobuf message is not UTF-8: it is then given as bytes."""
    texts = (value for field, value in message.ListFields() if field.type == field.TYPE_STRING)
    return any(
        isinstance(text, bytes) for value in texts for text in ([value] if isinstance(value, (str, bytes)) else value)
    )
