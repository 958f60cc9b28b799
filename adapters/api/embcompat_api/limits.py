"""What may be asked of a service: so much a minute, so much in all."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import final

from embcompat.errors import InputError, ServiceError

WINDOW_SECONDS = 60.0

BYTES_PER_TOKEN = 3.0
"""UTF-8 bytes of a token until the service has counted some: English has 4, Chinese 3 [ours]."""

_COUNTED_BYTES = 4_096
"""Bytes after which the service's own count is trusted [ours]."""


@final
class MinuteLimits:
    """Waits so that the requests and tokens of the last minute stay below their limits.

    Args:
        requests: Requests a minute, or None for any number.
        tokens: Tokens a minute, or None for any number. A request of more goes alone.
        clock: Returns seconds.
        sleep: Waits for seconds.

    Raises:
        InputError: If a limit is below 1.
    """

    def __init__(
        self,
        requests: int | None,
        tokens: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        for name, limit in (("requests_per_minute", requests), ("tokens_per_minute", tokens)):
            if limit is not None and limit < 1:
                raise InputError(f"{name} must be at least 1. Got {limit!r}.")
        self._requests, self._tokens = requests, tokens
        self._clock, self._sleep = clock, sleep
        self._window: deque[tuple[float, int]] = deque()

    def wait(self, tokens: int) -> None:
        """Wait until a request of so many tokens is allowed, and count it."""
        while True:
            now = self._clock()
            while self._window and now - self._window[0][0] >= WINDOW_SECONDS:
                self._window.popleft()
            if not self._window or self._allows(tokens):
                self._window.append((now, tokens))
                return
            self._sleep(self._window[0][0] + WINDOW_SECONDS - now)

    def _allows(self, tokens: int) -> bool:
        if self._requests is not None and len(self._window) >= self._requests:
            return False
        return self._tokens is None or sum(count for _, count in self._window) + tokens <= self._tokens


@final
class Budget:
    """Counts tokens and what they cost.

    Args:
        price: Cost of a million tokens, in any currency; None where it is not known.
        max_cost: What may be spent, in the same currency; None for any amount.

    Raises:
        InputError: If a number is negative, or there is a cap and no price.
    """

    def __init__(self, price: float | None, max_cost: float | None) -> None:
        for name, value in (("price", price), ("max_cost", max_cost)):
            if value is not None and not value >= 0:
                raise InputError(f"{name} must not be negative. Got {value!r}.")
        if max_cost is not None and price is None:
            raise InputError("max_cost needs price, the cost of a million tokens.")
        self._price, self._max_cost = price, max_cost
        self._bytes, self.tokens = 0, 0

    def tokens_of(self, texts: Sequence[str]) -> int:
        """Estimate the tokens of texts from their bytes; by the service's own count as soon as there is one."""
        ratio = self.tokens / self._bytes if self.tokens and self._bytes >= _COUNTED_BYTES else 1 / BYTES_PER_TOKEN
        return sum(int(len(text.encode()) * ratio) + 1 for text in texts)

    def cost_of(self, tokens: int) -> float | None:
        """Return what tokens cost, or None without a price."""
        return None if self._price is None else tokens * self._price / 1e6

    def check(self, tokens: int) -> None:
        """Refuse a request that would go beyond the cap.

        Raises:
            ServiceError: If it would.
        """
        spent, more = self.cost_of(self.tokens), self.cost_of(tokens)
        if spent is None or more is None or self._max_cost is None:
            return
        if spent + more > self._max_cost:
            raise ServiceError(
                f"the next request of about {tokens:,} tokens would cost {more:.4g}; {spent:.4g} is spent, and "
                f"max_cost is {self._max_cost:.4g}. Nothing more was asked. Raise max_cost, and run the same again."
            )

    def count(self, texts: Sequence[str], tokens: int | None) -> None:
        """Count a request that was answered: the tokens that the service counted, or else the estimate."""
        self.tokens += tokens or self.tokens_of(texts)
        self._bytes += sum(len(text.encode()) for text in texts)


def cut_batches(texts: Sequence[str], sizes: Sequence[int], *, items: int, tokens: int) -> Iterator[list[str]]:
    """Cut texts, in their order, into batches of at most so many items and tokens; a longer text goes alone.

    Example:
        >>> list(cut_batches(["a", "b", "c", "d"], [5, 5, 9, 1], items=3, tokens=10))
        [['a', 'b'], ['c', 'd']]
    """
    batch: list[str] = []
    total = 0
    for text, size in zip(texts, sizes, strict=True):
        if batch and (len(batch) == items or total + size > tokens):
            yield batch
            batch, total = [], 0
        batch.append(text)
        total += size
    if batch:
        yield batch
