"""Texts of items on the command line: read, joined by id, and embedded word by word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import messages
from embcompat.cli.inputs.models import open_model, show_estimate
from embcompat.cli.progress import show_step, track
from embcompat.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from embcompat.embeddings import Embeddings, PairSplit
    from embcompat.extractors import Extractor
    from embcompat.selection.text import TextAwareFit

ItemsFile = Annotated[
    Path | None, typer.Option(help="The items' texts, as `embcompat embed` reads them, for a text_aware aligner.")
]
TextColumn = Annotated[str | None, typer.Option(help="Column of the texts; text if there is one.")]


def read_texts(items: Path | None, text_column: str | None) -> dict[str, str] | None:
    """Read the texts of items by id; None without a file.

    Raises:
        InputError: If two items have one id.
        FileFormatError: As `read_items`.
    """
    from embcompat.cli.inputs.items import read_items

    if items is None:
        return None
    rows = read_items(items, text_column=text_column)
    texts = dict(zip(rows.ids, rows.items, strict=True))
    if len(texts) < len(rows.ids):
        raise InputError(f"{items} must name each id once. Got {len(rows.ids) - len(texts)} repeated ids.")
    return texts


def add_texts(embeddings: Embeddings, texts: dict[str, str] | None) -> Embeddings:
    """Give embeddings the texts of a file, where there is one; print how many rows have none."""
    if texts is None:
        return embeddings
    worded = embeddings.with_texts(texts)
    missing = 0 if worded.texts is None else int((worded.texts == "").sum())
    if missing:
        messages().print(
            f"{missing:,} of {len(worded):,} items have no text: they are converted from the vector alone."
        )
    return worded


def load_word_model(
    extractor: str | None, model: str | None, options: list[str], *, kind: str, task: str
) -> Extractor | None:
    """Load the model that embeds the words; None if words are not to be tried.

    They are tried for ``text_aware``, and for ``auto`` in search where a model of texts is named.

    Raises:
        InputError: If ``text_aware`` has no extractor.
    """
    if kind != "text_aware" and (kind != "auto" or task != "retrieval" or extractor is None):
        return None
    if extractor is None:
        raise InputError("--kind text_aware asks the new model about words. Name it: --extractor (and --model).")
    loaded = open_model(extractor, model, options)
    return loaded if kind == "text_aware" or loaded.space.modality == "text" else None


def fit_with_words(
    split: PairSplit,
    texts: dict[str, str] | None,
    extractor: Extractor,
    *,
    min_count: int,
    stop_words: Path | None,
    seed: int,
) -> TextAwareFit:
    """Ask the new model about the words of the texts, and fit a text-aware aligner.

    Raises:
        InputError: If there are no texts.
        SpaceMismatchError: If the extractor is of another space than the pairs' new side.
    """
    from embcompat.aligners.text import build_static_encoder
    from embcompat.selection import fit_text_aware
    from embcompat.spaces import require_space

    require_space(extractor.space, split.train.target.space, what="The model of --extractor")
    corpus = list(texts.values()) if texts is not None else pair_texts(split)
    stopped = () if stop_words is None else stop_words.read_text(encoding="utf-8").split()
    show_estimate(extractor, lambda: _words_of(corpus, min_count, stopped))
    encoder = build_static_encoder(
        extractor,
        corpus,
        min_count=min_count,
        stop_words=stopped,
        progress=lambda total: track("Embedding words", total, unit="words"),
    )
    with show_step("Fitting"):
        return fit_text_aware(split.train, split.validation, encoder=encoder, seed=seed)


def _words_of(corpus: list[str], min_count: int, stop_words: Sequence[str]) -> list[str]:
    """Return the words and pairs of words that the model will embed."""
    from embcompat.aligners.text import count_vocabulary, join_words

    vocabulary = count_vocabulary(corpus, min_count=min_count, stop_words=stop_words)
    return [*vocabulary.words, *(join_words(*pair) for pair in vocabulary.bigrams)]


def pair_texts(split: PairSplit) -> list[str]:
    """Return the texts of the whole items among the pairs that are fitted."""
    from embcompat.embeddings import piece_rows

    texts: list[str] = []
    for pairs in (split.train, split.validation):
        if pairs.texts is None:
            raise InputError(
                "words are read from texts. Pass --items, or files with a column text; or leave --extractor out."
            )
        texts += pairs.texts[~piece_rows(pairs)].tolist()
    return texts


def show_parts(parts: list[dict[str, Any]], console: Console) -> None:
    """Print which parts were tried, and the score of each on held-out pairs."""
    from rich.table import Table

    table = Table("part", "score", "gain (95 %)", "", box=None, header_style="bold")
    for part in parts:
        gain = part["gain"]
        interval = "" if gain is None else f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        table.add_row(part["name"], f"{part['score']['value']:.3f}", interval, "kept" if part["used"] else "left out")
    console.print(table)
    console.print("Each part is compared with what was kept before it, on held-out pairs.\n")
