"""Models behind OpenAI's embeddings API."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from embcompat.embeddings import UNIT_NORM_TOLERANCE
from embcompat.errors import ExtractionError, InputError, ServiceError
from embcompat.extractors import CANARY_TEXTS, Estimate, Side, check_texts, choose_prompt, read_canary
from embcompat.extractors.models import space_name
from embcompat.redaction import remember_secret
from embcompat.spaces import Similarity, SpaceVersion
from embcompat_api.answers import read_vectors, service_error
from embcompat_api.limits import Budget, MinuteLimits, cut_batches

OPENAI_URL = "https://api.openai.com/v1"

BATCH_SIZE = 128
"""Texts of a request: one that is lost costs little, and longer ones are not faster [ours]."""

BATCH_TOKENS = 100_000
"""Tokens of a request: a third of what OpenAI takes, since they are estimated [ours]."""

RETRIES = 8
"""Tries after the first: about 40 s of waiting where the service names no time [ours]."""


@final
class OpenAIExtractor:
    """A text model behind OpenAI's API: OpenAI, Azure, Ollama, vLLM, TEI, llama.cpp, LiteLLM and others.

    Making one embeds three short fixed texts: their vectors tell the length, whether they are normalized, and are the
    canary in the fingerprint, by which a silent change of the model shows. The key is read from the environment and
    is nowhere else: not in the fingerprint, not in an error.

    Requests that fail for a reason that passes (429, 500, no answer) are tried again by the client, after the time
    that the service names (``Retry-After``, up to two minutes) or growing times with jitter.

    Args:
        model: The model's name at the service.
        base_url: Where the service is, mostly ending in ``/v1``; the environment's ``OPENAI_BASE_URL``, or OpenAI,
            when None.
        dimensions: Length to ask for, where the model can shorten its vectors.
        prompt: Put before each text: one for all, or a mapping with the keys ``query`` and ``document``.
        encode: ``query`` or ``document`` where there is a prompt for each. Both sides are one space.
        key_variable: Environment variable that holds the key.
        batch_size: Texts of a request, at most.
        batch_tokens: Tokens of a request, at most, as estimated.
        requests_per_minute: Requests a minute, at most; as many as the service answers when None.
        tokens_per_minute: Tokens a minute, at most; as many as the service answers when None.
        price: Cost of a million tokens, in any currency, for the estimate.
        max_cost: What this extractor may spend, in the same currency; checked before each request.
        timeout_seconds: How long one request may take.
        retries: Tries after the first.
        similarity: How vectors of the space are compared.
        name: Name of the space; made from the model's name when None.
        version: Version of the space; the length of its vectors ("1536d") when None.

    Raises:
        InputError: If an option cannot be used, or the service refuses the model or an option.
        ServiceError: If the service cannot be reached, or does not answer as it must.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        dimensions: int | None = None,
        prompt: str | Mapping[str, str] = "",
        encode: Side | None = None,
        key_variable: str = "OPENAI_API_KEY",
        batch_size: int = BATCH_SIZE,
        batch_tokens: int = BATCH_TOKENS,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        price: float | None = None,
        max_cost: float | None = None,
        timeout_seconds: float = 60.0,
        retries: int = RETRIES,
        similarity: Similarity = "cosine",
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        import openai

        for option, number in (("batch_size", batch_size), ("batch_tokens", batch_tokens)):
            if not isinstance(number, int) or number < 1:
                raise InputError(f"{option} must be a positive integer. Got {number!r}.")
        url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        self._host, self._model, self._dimensions = _host_of(url), model, dimensions
        self._prompt = choose_prompt(prompt, encode)
        self._key_variable = key_variable
        self._batch_size, self._batch_tokens = batch_size, min(batch_tokens, tokens_per_minute or batch_tokens)
        self._limits, self._budget = MinuteLimits(requests_per_minute, tokens_per_minute), Budget(price, max_cost)
        self._dim: int | None = None
        key = _key(key_variable, needed=url == OPENAI_URL)
        self._client = openai.OpenAI(base_url=url, api_key=key, max_retries=retries, timeout=timeout_seconds)
        canary = self._embed_canary()
        self._dim = canary.shape[1]
        self._space = SpaceVersion(
            name=name or space_name(model),
            version=version or f"{self._dim}d",
            dim=self._dim,
            similarity=similarity,
            normalized=bool(np.abs(np.linalg.norm(canary, axis=1) - 1).max() <= UNIT_NORM_TOLERANCE),
            modality="text",
            fingerprint={
                "service": self._host,
                "model": model,
                "dimensions": dimensions,
                "prompt": self._prompt.fingerprint,
                "canary": read_canary(canary),
            },
        )

    def __repr__(self) -> str:
        return f"OpenAIExtractor(space={self._space.id!r}, service={self._host!r})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Texts to hand over in one call: one request, so that each answer is kept as soon as it is there."""
        return self._batch_size

    @property
    def tokens(self) -> int:
        """Tokens that were sent so far, as the service counted them, the canary's included."""
        return self._budget.tokens

    def estimate(self, items: Sequence[Any]) -> Estimate:
        """Estimate what texts will take, without asking the service; items that are no texts count nothing."""
        texts = [self._prompt.prefix + item for item in items if isinstance(item, str)]
        tokens = self._budget.tokens_of(texts)
        return Estimate(tokens, sum(1 for _ in self._batches(texts)), self._budget.cost_of(tokens))

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed texts.

        Raises:
            ExtractionError: If an item is not a text, or the service refuses a request for what is in it.
            ServiceError: If the service is down, refuses, is at a limit, or does not answer as it must; its
                ``vectors`` are those of the requests before.
        """
        texts = [self._prompt.prefix + text for text in check_texts(items)]
        rows = np.empty((0, self._space.dim), dtype=np.float32)
        for batch in self._batches(texts):
            try:
                vectors = self._request(batch)
            except ServiceError as error:
                error.vectors = rows
                raise
            rows = np.concatenate([rows, vectors])
        return rows

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        sizes = [self._budget.tokens_of([text]) for text in texts]
        return cut_batches(texts, sizes, items=self._batch_size, tokens=self._batch_tokens)

    def _request(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import openai

        tokens = self._budget.tokens_of(texts)
        self._budget.check(tokens)
        self._limits.wait(tokens)
        dimensions = openai.omit if self._dimensions is None else self._dimensions
        try:
            answer = self._client.embeddings.create(model=self._model, input=list(texts), dimensions=dimensions)
        except openai.OpenAIError as error:
            raise service_error(
                error, host=self._host, texts=len(texts), key_variable=self._key_variable
            ) from None  # the client's own error holds the request, and with it the key
        except (ValueError, TypeError, AttributeError) as error:  # what the client cannot read
            raise ServiceError(f"{self._host} must answer with embeddings. It answered otherwise: {error}") from error
        usage = getattr(getattr(answer, "usage", None), "prompt_tokens", None)
        self._budget.count(texts, usage if isinstance(usage, int) else None)
        return read_vectors(answer, len(texts), dim=self._dim, host=self._host)

    def _embed_canary(self) -> NDArray[np.float32]:
        try:
            vectors = self._request(CANARY_TEXTS)  # without a prompt: queries and documents have one canary
        except ExtractionError as error:
            raise InputError(f"{self._model!r} cannot be used with these options. {error}") from error
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise ServiceError(f"{self._host} must answer with finite numbers, not all zero. Got NaN or zeros.")
        if self._dimensions is not None and vectors.shape[1] != self._dimensions:
            raise InputError(
                f"{self._model!r} at {self._host} must shorten its vectors to dimensions={self._dimensions}. "
                f"Got {vectors.shape[1]} numbers. Leave dimensions out."
            )
        return vectors


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"base_url must be an address like https://host/v1. Got {url!r}.")
    if parts.username is not None or parts.query:
        raise InputError(
            "base_url must hold no user, password or key. Put the key into the environment, and name its variable "
            "with key_variable."
        )
    return parts.hostname


def _key(variable: str, *, needed: bool) -> str:
    key = os.environ.get(variable)
    if not key and needed:
        raise InputError(f"the service needs a key. Put it into the environment variable {variable}.")
    if not key:
        return "none"  # servers of one's own mostly want none; the client wants one
    remember_secret(key)
    return key
