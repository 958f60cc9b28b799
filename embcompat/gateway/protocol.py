"""What clients of an embeddings endpoint send and expect: OpenAI's request, answer and error."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

MAX_INPUTS = 2_048
"""Inputs of one request, as OpenAI's endpoint allows them."""

Input = str | list[int]


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        message: What must be, what was, what to do.
        status: HTTP status.
        code: A short word for programs.
    """

    def __init__(self, message: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class EmbeddingRequest:
    """One request: the model, the inputs (texts or token ids), and how the vectors are to be encoded."""

    model: str
    inputs: list[Input]
    encoding: Literal["float", "base64"]


def parse_request(body: Any, *, dims: Mapping[str, int]) -> EmbeddingRequest:
    """Check the JSON of a request.

    Args:
        body: The parsed JSON.
        dims: The models that are served, and the length of their vectors.

    Raises:
        RequestError: If the request cannot be answered as it stands.
    """
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object with model and input.")
    model = body.get("model")
    if not isinstance(model, str) or model not in dims:
        raise RequestError(
            f"model must be one of {', '.join(dims)}. Got {model!r}.", status=404, code="model_not_found"
        )
    encoding = body.get("encoding_format", "float")
    if encoding != "float" and encoding != "base64":
        raise RequestError(f"encoding_format must be float or base64. Got {encoding!r}.")
    dimensions = body.get("dimensions")
    if dimensions not in (None, dims[model]):
        raise RequestError(
            f"dimensions must be {dims[model]} for {model}, or left out: its vectors cannot be shortened. "
            f"Got {dimensions!r}."
        )
    return EmbeddingRequest(model, _parse_inputs(body.get("input")), encoding)


def _parse_inputs(value: Any) -> list[Input]:
    inputs = value if isinstance(value, list) and not _is_tokens(value) else [value]
    if not 1 <= len(inputs) <= MAX_INPUTS:
        raise RequestError(f"input must hold 1 to {MAX_INPUTS} texts. Got {len(inputs)}.")
    for row, entry in enumerate(inputs):
        if not (isinstance(entry, str) or _is_tokens(entry)):
            raise RequestError(f"input must be a text, texts, or lists of token ids. Input {row} is neither.")
        if not entry:
            raise RequestError(f"input must not be empty. Input {row} is.")
    return inputs


def _is_tokens(entry: Any) -> bool:
    return isinstance(entry, list) and bool(entry) and all(type(token) is int for token in entry)


def encode_answer(request: EmbeddingRequest, vectors: NDArray[np.float32], usage: Mapping[str, int] | None) -> bytes:
    """Make the JSON of an answer; base64 is little-endian float32, as OpenAI's.

    Floats are the shortest decimals that read back as the same float32.
    """
    rows: list[Any] = list(np.ascontiguousarray(vectors, dtype=np.float32))
    if request.encoding == "base64":
        rows = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
    answer = {
        "object": "list",
        "model": request.model,
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "usage": dict(usage or {"prompt_tokens": 0, "total_tokens": 0}),
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_error(message: str, *, status: int, code: str | None = None) -> dict[str, Any]:
    """Make the JSON of an error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
