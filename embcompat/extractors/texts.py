"""What all text extractors share: checks of texts, and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from embcompat.errors import ExtractionError, InputError

Side = Literal["query", "document"]
"""Which side of a search the texts are on, for models that treat the two differently."""


@dataclass(frozen=True)
class Prompt:
    """What goes before each text.

    Attributes:
        prefix: The prompt of the side that is embedded.
        fingerprint: The prompts of the space: one where both sides share it, else one for each side, so that queries
            and documents of an asymmetric model are in one space.
    """

    prefix: str
    fingerprint: JsonValue


def choose_prompt(prompts: str | Mapping[str, str], encode: Side | None) -> Prompt:
    """Choose the prompt for one side.

    Args:
        prompts: One prompt for all texts, or one for each side.
        encode: The side, where there are two prompts.

    Raises:
        InputError: If there are prompts for two sides and no side is chosen, or one prompt and a side.

    Example:
        >>> choose_prompt({"query": "find: ", "document": ""}, "query")
        Prompt(prefix='find: ', fingerprint={'document': '', 'query': 'find: '})
    """
    if encode not in (None, "query", "document"):
        raise InputError(f"encode must be 'query', 'document' or None. Got {encode!r}.")
    if isinstance(prompts, str):
        if encode is not None:
            raise InputError("prompt must be a mapping from query and document where encode is given. Got one string.")
        return Prompt(prompts, prompts)
    if set(prompts) != {"query", "document"} or not all(isinstance(value, str) for value in prompts.values()):
        raise InputError(f"prompt must be a string, or map query and document to strings. Got {prompts!r}.")
    if encode is None:
        raise InputError("encode must be 'query' or 'document' where there is a prompt for each. Got None.")
    query, document = prompts["query"], prompts["document"]
    if query == document:
        return Prompt(query, query)
    return Prompt(prompts[encode], {"document": document, "query": query})


def check_texts(items: Sequence[Any]) -> list[str]:
    """Return the items as a list of strings that can be encoded.

    Raises:
        ExtractionError: If an item is not a string, is blank, or holds a lone surrogate.
    """
    for item in items:
        if not isinstance(item, str):
            raise ExtractionError(f"a text must be a string. Got {item!r:.80} ({type(item).__name__})")
        if not item.strip():
            raise ExtractionError(f"a text must not be empty or blank. Got {item!r:.80}")
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise ExtractionError(f"a text must be valid Unicode. Got {item!r:.80}: {error.reason}") from error
    return list(items)


def length_notes(lengths: Sequence[int], limit: int) -> list[str]:
    """Say how many texts are longer than the model reads; nothing where none is.

    Args:
        lengths: Tokens of each text.
        limit: Tokens that the model reads.

    Example:
        >>> length_notes([3, 600, 512], 512)
        ['1 of 3 texts is longer than 512 tokens; the rest of it is not read.']
    """
    long = sum(length > limit for length in lengths)
    if not long:
        return []
    end = "is longer than {:,} tokens; the rest of it" if long == 1 else "are longer than {:,} tokens; the rest of each"
    return [f"{long:,} of {len(lengths):,} texts {end.format(limit)} is not read."]


def usable_texts(items: Sequence[Any]) -> list[str]:
    """Return the items that are texts at all: what `check_texts` refuses is left out."""
    texts = []
    for item in items:
        try:
            texts += check_texts([item])
        except ExtractionError:
            continue
    return texts
