"""What a service answered: vectors in the order of the texts, or an error in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from embcompat.errors import EmbcompatError, ExtractionError, ServiceError

if TYPE_CHECKING:
    import openai

_ABOUT_ITEMS: Final = {400, 413, 422}
_KEYS: Final = {401, 403}
_LONGEST: Final = 300


def read_vectors(answer: Any, count: int, *, dim: int | None, host: str) -> NDArray[np.float32]:
    """Return the vectors (count, dim) of an answer, by their ``index``.

    Args:
        answer: What the client returned.
        count: How many texts were sent.
        dim: The length that vectors must have; any, but one for all, when None.
        host: The service, for the error.

    Raises:
        ServiceError: If there is not one vector of that length for each text.
    """
    entries = getattr(answer, "data", None)
    try:
        rows = {int(entry.index): np.asarray(entry.embedding, dtype=np.float32) for entry in entries or ()}
    except (TypeError, ValueError, AttributeError) as error:
        raise ServiceError(f"{host} must answer with lists of numbers. It answered otherwise: {error}") from error
    if len(entries or ()) != count or set(rows) != set(range(count)):
        raise ServiceError(
            f"{host} must answer with one vector for each of {count} texts, numbered from 0. Got {len(entries or ())} "
            f"with the numbers {_listed(rows)}. Nothing was joined."
        )
    shapes = {row.shape for row in rows.values()}
    expected = (dim,) if dim is not None else next(iter(shapes))
    if shapes != {expected} or len(expected) != 1 or expected[0] == 0:
        lengths = ", ".join(sorted({str(row.size) for row in rows.values()}))
        raise ServiceError(
            f"{host} must answer with vectors of {'one length' if dim is None else f'{dim} numbers'}. Got {lengths}. "
            "The model behind its name has changed, or another one answers: check with embcompat doctor."
        )
    return np.stack([rows[index] for index in range(count)])


def service_error(error: openai.OpenAIError, *, host: str, texts: int, key_variable: str) -> EmbcompatError:
    """Translate an error of the client: one that a text may be to blame for, or one of the service."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return ServiceError(f"{host} did not answer in time, however often it was asked. Run the same again later.")
    if isinstance(error, openai.APIConnectionError):
        return ServiceError(f"{host} cannot be reached: {error.__cause__ or error}. Check base_url and the network.")
    if not isinstance(error, openai.APIStatusError):
        return ServiceError(f"{host} answered something that is no answer: {_shortened(str(error))}")
    status, message = error.status_code, _message(error)
    if status in _ABOUT_ITEMS:
        what = "the text" if texts == 1 else f"{texts} texts"
        return ExtractionError(f"{host} refuses {what} ({status}): {message}")
    if status in _KEYS:
        hint = f"Put a key that is allowed to use the model into the environment variable {key_variable}."
    elif status == 404:
        hint = "Check the name of the model, and base_url, which mostly ends in /v1."
    elif status == 429:
        wait = error.response.headers.get("retry-after")
        pause = "" if wait is None else f"It asks to wait {wait} s. "
        hint = f"{pause}Run the same again later, with requests_per_minute or tokens_per_minute below your limits."
    else:
        hint = "Run the same again later."
    return ServiceError(f"{host} answered {status}: {message} {hint}")


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    text = body.get("message") if isinstance(body, dict) else body
    return _shortened(str(text or error.message))


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def _listed(numbers: Any) -> str:
    listed = ", ".join(str(number) for number in sorted(numbers)[:5])
    return listed + (", …" if len(numbers) > 5 else "") if numbers else "none"
