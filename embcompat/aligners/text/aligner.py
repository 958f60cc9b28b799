"""The text-aware aligner: a converted vector from the old vector and the words of its item. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from embcompat.aligners.base import Aligner, Config, State, check_source
from embcompat.aligners.parts import build_parts, describe_parts, state_of_parts
from embcompat.aligners.reweighted import query_weights, unweight
from embcompat.aligners.text.encoder import StaticEncoder
from embcompat.errors import InputError

ENCODER_PREFIX = "encoder."
"""What precedes the names of the encoder's arrays in an artifact."""


@final
class TextAwareAligner:
    """y = f([x ; u(text)]) where the text holds a known word, and g(x) where it does not.

    u is a `StaticEncoder`; f and g are aligners of any kind, f of the longer input. [ours]

    Args:
        encoder: What the words of a text say.
        worded: f, which reads the old vector and the encoder's output beside it.
        plain: g, which reads the old vector alone.

    Raises:
        InputError: If the dimensions do not fit, or only one of the two normalizes its output.
    """

    kind: ClassVar[str] = "text_aware"
    reads_texts: ClassVar[bool] = True

    def __init__(self, encoder: StaticEncoder, worded: Aligner, plain: Aligner) -> None:
        self.encoder, self.worded, self.plain = encoder, worded, plain
        if worded.source_dim != plain.source_dim + encoder.dim or worded.target_dim != plain.target_dim:
            raise InputError(
                f"the worded aligner must map {plain.source_dim} + {encoder.dim} to {plain.target_dim} dimensions, as "
                f"the plain one and the encoder say. Got {worded.source_dim} to {worded.target_dim}."
            )
        if worded.normalize != plain.normalize:
            raise InputError("the worded and the plain aligner must both normalize their output, or neither.")

    @property
    def source_dim(self) -> int:
        """Length of the vectors that go in."""
        return self.plain.source_dim

    @property
    def target_dim(self) -> int:
        """Length of the vectors that come out."""
        return self.plain.target_dim

    @property
    def normalize(self) -> bool:
        """Whether the output is scaled to unit norm."""
        return self.plain.normalize

    @property
    def unweighted(self) -> Self:
        """The same without the reweighting of either map; itself where neither is reweighted."""
        worded, plain = unweight(self.worded), unweight(self.plain)
        if worded is self.worded and plain is self.plain:
            return self
        return type(self)(self.encoder, worded, plain)

    @property
    def query_weights(self) -> NDArray[np.float32] | None:
        """What weighs queries instead of the rows that words make, see `query_weights`; None without reweighting."""
        return query_weights(self.worded)

    def config(self) -> Config:
        """Return kind and options of the worded and the plain aligner, and what goes in."""
        return {"inputs": ["vectors", "texts"], "parts": describe_parts((self.worded, self.plain))}

    def state(self) -> State:
        """Return the arrays of the worded aligner (0.), the plain one (1.) and the encoder (encoder.)."""
        encoder = {f"{ENCODER_PREFIX}{name}": array for name, array in self.encoder.state().items()}
        return {**state_of_parts((self.worded, self.plain)), **encoder}

    @classmethod
    def from_state(cls, config: Mapping[str, JsonValue], state: Mapping[str, NDArray[Any]]) -> Self:
        """Build the aligner again from `config` and `state`."""
        worded, plain = build_parts(cast(Any, config["parts"]), state)
        return cls(encoder_from_state(state), worded, plain)

    def transform(self, vectors: ArrayLike, texts: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Map vectors (n, source_dim) and the n texts of their items to float32 (n, target_dim).

        Args:
            vectors: Array (n, source_dim).
            texts: n texts; a row whose text is empty, or holds no known word, is mapped from its vector alone.

        Raises:
            InputError: If the vectors have another shape, or there are no texts, or not as many.
        """
        rows = check_source(vectors, self.source_dim)
        features = self.encoder.encode(check_texts(texts, len(rows)))
        return combine(
            rows, features, lambda part, words: self.worded.transform(np.hstack([part, words])), self.plain.transform
        )

    def with_output_map(self, matrix: NDArray[Any], offset: NDArray[Any]) -> Self:
        """Return the aligner followed by an affine map, folded into both parts."""
        parts = (part.with_output_map(matrix, offset) for part in (self.worded, self.plain))
        return type(self)(self.encoder, *parts)


def encoder_from_state(state: Mapping[str, NDArray[Any]]) -> StaticEncoder:
    """Build the encoder of a `TextAwareAligner` from its arrays; others beside them are not read."""
    prefix = ENCODER_PREFIX
    return StaticEncoder.from_state(
        {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
    )


def check_texts(texts: Sequence[str] | None, count: int) -> Sequence[str]:
    """Check the texts that go with ``count`` vectors.

    Raises:
        InputError: If there are none, or not as many.
    """
    if texts is None:
        raise InputError(
            "a text_aware aligner needs the text of each item beside its vector. Got no texts. Pass texts=… (on the "
            "command line --items, or a text column); an empty text is converted from the vector alone."
        )
    if isinstance(texts, str) or len(texts) != count:
        actual = "one string" if isinstance(texts, str) else f"{len(texts)}"
        raise InputError(f"texts must have one entry for each of the {count} vectors. Got {actual}.")
    return texts


def combine(
    vectors: NDArray[np.float32], features: NDArray[np.float32], worded: Any, plain: Any
) -> NDArray[np.float32]:
    """Map rows that have features by ``worded(vectors, features)`` and the others by ``plain(vectors)``."""
    known: NDArray[np.bool_] = np.asarray(features.any(axis=1))
    if known.all() and len(known):
        return np.asarray(worded(vectors, features))
    mapped = np.array(plain(vectors))
    if known.any():
        mapped[known] = worded(vectors[known], features[known])
    return mapped
