"""Bare ONNX text encoders: onnxruntime and tokenizers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, final, get_args

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from embcompat.embeddings import normalize_rows
from embcompat.errors import ExtractionError, InputError
from embcompat.extractors import Side, check_batch_size, check_texts, choose_prompt, length_notes, usable_texts
from embcompat.extractors.models import OnnxModel, choose_output, open_onnx, sha256_of, space_name
from embcompat.spaces import Similarity, SpaceVersion
from embcompat_text.batches import CHUNK_BATCHES, batches_by_length, read_tokenizer

Pooling = Literal["mean", "cls", "last", "none"]

BATCH_SIZE = 32
MAX_LENGTH = 512
"""Length limit where neither the caller nor the tokenizer file gives one: what BERT-like encoders take [ours]."""

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_NUMBERS: Final[dict[str, type[np.generic]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


@final
class OnnxTextExtractor:
    """An ONNX text encoder and its tokenizer.

    The graph's inputs are fed by their names: ``input_ids`` and, where it has them, ``attention_mask``,
    ``token_type_ids`` and ``position_ids``. The fingerprint of the space covers the digests of graph and tokenizer,
    output, pooling, prompt, length limit and normalization.

    Args:
        model: The ONNX file; one that holds all its weights.
        tokenizer: The ``tokenizer.json`` that fits it.
        pooling: How the token vectors become one: ``mean`` over the attention mask, ``cls`` (the first token),
            ``last`` (the last token that is not padding), or ``none`` where the output is one vector a text already.
        output: Name of the graph's output; its only float output with the right number of axes when None.
        normalize: Whether vectors are scaled to unit norm.
        max_length: Tokens of a text that are read; what the tokenizer file says, else 512, when None.
        prompt: Put before each text: one for all, or a mapping with the keys ``query`` and ``document``.
        encode: ``query`` or ``document`` where there is a prompt for each. Both sides are one space.
        batch_size: Texts that go through the network together. When None 32, or 1 for a graph that quantizes
            activations at run time, whose vectors would depend on the texts beside them.
        similarity: How vectors of the space are compared.
        name: Name of the space; made from the file name when None.
        version: Version of the space; the first 12 digits of the graph's digest when None.

    Raises:
        InputError: If a file cannot be used, or an option does not fit the graph.
    """

    def __init__(
        self,
        model: str | Path,
        tokenizer: str | Path,
        *,
        pooling: Pooling = "mean",
        output: str | None = None,
        normalize: bool = True,
        max_length: int | None = None,
        prompt: str | Mapping[str, str] = "",
        encode: Side | None = None,
        batch_size: int | None = None,
        similarity: Similarity = "cosine",
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        if pooling not in get_args(Pooling):
            raise InputError(f"pooling must be one of {', '.join(get_args(Pooling))}. Got {pooling!r}.")
        model, tokenizer = Path(model), Path(tokenizer)
        self._pooling, self._normalize = pooling, normalize
        self._prompt = choose_prompt(prompt, encode)
        self._tokenizer, self._limit = _open_tokenizer(tokenizer, max_length)
        opened = open_onnx(model)
        self._session = opened.session
        self._inputs = _input_types(opened, model)
        self._output = choose_output(opened, output, rank=2 if pooling == "none" else 3, where=str(model))
        self._batch_size = check_batch_size(
            (1 if opened.batch_dependent else BATCH_SIZE) if batch_size is None else batch_size
        )
        self._space = SpaceVersion(
            name=name or space_name(model.stem),
            version=version or opened.sha256[:12],
            dim=self._probe(model, tokenizer),
            similarity=similarity,
            normalized=normalize,
            modality="text",
            fingerprint={
                "weights": f"sha256:{opened.sha256}",
                "tokenizer": f"sha256:{sha256_of(tokenizer)}",
                "output": self._output,
                "pooling": pooling,
                "prompt": self._prompt.fingerprint,
                "max_length": self._limit,
                "normalize": normalize,
            },
        )

    def __repr__(self) -> str:
        return f"OnnxTextExtractor(space={self._space.id!r}, dim={self._space.dim})"

    @property
    def space(self) -> SpaceVersion:
        """The space of the vectors."""
        return self._space

    @property
    def chunk_size(self) -> int:
        """Texts to hand over in one call."""
        return CHUNK_BATCHES * max(self._batch_size, BATCH_SIZE)

    def extract(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """Embed texts.

        Raises:
            ExtractionError: If an item is not a string, or has no token.
        """
        texts = [self._prompt.prefix + text for text in check_texts(items)]
        encoded = self._tokenizer.encode_batch(texts)
        for text, encoding in zip(texts, encoded, strict=True):
            if not encoding.ids:
                raise ExtractionError(f"a text must have at least one token. Got {text!r:.80}")
        result = np.empty((len(texts), self._space.dim), dtype=np.float32)
        for rows in batches_by_length([len(encoding.ids) for encoding in encoded], self._batch_size):
            result[rows] = self._embed([encoded[row] for row in rows])
        return result

    def notes(self, items: Sequence[Any]) -> list[str]:
        """Say how many texts are longer than the model reads."""
        tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.no_truncation()
        texts = [self._prompt.prefix + text for text in usable_texts(items)]
        return length_notes([len(encoding.ids) for encoding in tokenizer.encode_batch(texts)], self._limit)

    def _probe(self, model: Path, tokenizer: Path) -> int:
        """Return the length of the vectors."""
        try:
            return int(self._embed(self._tokenizer.encode_batch([self._prompt.prefix + "a"])).shape[1])
        except ExtractionError as error:
            raise InputError(f"{tokenizer} does not fit {model}: {error}") from error

    def _embed(self, encoded: Sequence[Encoding]) -> NDArray[np.float32]:
        """Run one batch through the graph."""
        length = max(len(encoding.ids) for encoding in encoded)
        feeds = {name: np.zeros((len(encoded), length), dtype=np.int64) for name in _INPUTS}
        feeds["position_ids"][:] = np.arange(length)
        for row, encoding in enumerate(encoded):
            count = len(encoding.ids)
            feeds["input_ids"][row, :count] = encoding.ids
            feeds["attention_mask"][row, :count] = 1
            feeds["token_type_ids"][row, :count] = encoding.type_ids
        try:
            (output,) = self._session.run(
                [self._output], {name: feeds[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
            )
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ExtractionError(f"the graph fails on {length} tokens: {error}") from error
        vectors = _pool(np.asarray(output, np.float32), feeds["attention_mask"], self._pooling)
        return normalize_rows(vectors) if self._normalize else vectors


def _pool(states: NDArray[np.float32], mask: NDArray[np.int64], pooling: Pooling) -> NDArray[np.float32]:
    """Make one vector (n, dim) of the token vectors (n, length, dim) of each text."""
    if pooling == "none":
        return states
    counts = mask.sum(axis=1)
    weights = np.zeros(mask.shape, dtype=np.float32)
    if pooling == "mean":
        weights[:] = mask / counts[:, np.newaxis]
    else:
        weights[np.arange(len(mask)), counts - 1 if pooling == "last" else 0] = 1
    return np.asarray(np.einsum("ntd,nt->nd", states, weights, optimize=True))


def _open_tokenizer(path: Path, max_length: int | None) -> tuple[Tokenizer, int]:
    """Return the tokenizer without padding, cutting texts at the limit, and the limit."""
    tokenizer = read_tokenizer(path)
    if max_length is None:
        max_length = int((tokenizer.truncation or {"max_length": MAX_LENGTH})["max_length"])
    if max_length < 1:
        raise InputError(f"max_length must be a positive integer. Got {max_length!r}.")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer, max_length


def _input_types(model: OnnxModel, path: Path) -> dict[str, type[np.generic]]:
    """Return the graph's inputs, and which numbers each takes."""
    inputs = model.session.get_inputs()
    unknown = [
        each.name for each in inputs if each.name not in _INPUTS or len(each.shape) != 2 or each.type not in _NUMBERS
    ]
    if unknown or "input_ids" not in [each.name for each in inputs]:
        raise InputError(
            f"{path} must take input_ids and may take {', '.join(_INPUTS[1:])}, each int64 or int32 of shape (texts, "
            f"tokens). Got {', '.join(f'{each.name} {each.type} {each.shape}' for each in inputs) or 'none'}."
        )
    return {each.name: _NUMBERS[each.type] for each in inputs}
