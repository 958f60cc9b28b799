"""Text-aware conversion: the static encoder beside a plain loop over words, and an artifact with and without texts.

python benchmarks/texts.py --texts 8000 --repeats 5 --out texts.json
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from machine import alternate, describe, line_at_least, line_at_most, median_ratio, write_results
from numpy.typing import NDArray

import embcompat as ec
from embcompat.aligners import Aligner, EnsembleAligner, fit_kernel, reweight
from embcompat.aligners.kernel import DEFAULT_LANDMARKS
from embcompat.aligners.text import StaticEncoder, TextAwareAligner, build_static_encoder
from embcompat.embeddings import Embeddings, PairedEmbeddings
from embcompat.selection.text import LANDMARKS, PENALTY

DIM, WORDS_OF_A_TEXT = 384, 150
WORD = re.compile(r"[a-z]+|[0-9]+")


def corpus(texts: int, rng: np.random.Generator) -> list[str]:
    """Return texts of 150 words whose frequencies fall as those of a language do (Zipf)."""
    letters = rng.integers(97, 123, (20_000, 6)).astype(np.uint8)
    words = [row[: 2 + rank % 5].tobytes().decode() for rank, row in enumerate(letters)]
    chance = 1 / np.arange(1, len(words) + 1)
    drawn = rng.choice(len(words), (texts, WORDS_OF_A_TEXT), p=chance / chance.sum())
    return [" ".join(words[word] for word in row) for row in drawn.tolist()]


def vectors_of(words: Sequence[str]) -> NDArray[np.float32]:
    """Stand for the new model: random vectors."""
    return np.random.default_rng(len(words)).standard_normal((len(words), DIM)).astype(np.float32)


def loop(encoder: StaticEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Encode words, text by text: a regular expression, a dictionary and a mean."""
    state = encoder.state()
    row_of = {word: row for row, word in enumerate(encoder.words)}
    result = np.zeros((len(texts), DIM), dtype=np.float32)
    for number, text in enumerate(texts):
        rows = [row_of[word] for word in WORD.findall(text.lower()) if word in row_of]
        weights = state["weights"][rows]
        mean = (state["vectors"][rows] * weights[:, np.newaxis]).sum(axis=0) / weights.sum() - state["mean"]
        result[number] = mean / np.linalg.norm(mean)
    return result


def artifact_of(encoder: StaticEncoder, folder: Path, count: int, rng: np.random.Generator) -> ec.OnnxAligner:
    """Save a text-aware artifact, 384 → 384, with the parts and landmarks that ``fit`` gives one by default.

    Each map is the mean of two kernels, reweighted: of whole items, and of items and pieces.
    """
    new = ec.SpaceVersion(name="new", version="1", dim=DIM, normalized=True)
    target = rng.standard_normal((count, DIM))
    target /= np.linalg.norm(target, axis=1, keepdims=True)

    def map_of(dim: int, landmarks: int) -> Aligner:
        old = ec.SpaceVersion(name="old", version="1", dim=dim, similarity="dot")
        ids = [str(row) for row in range(len(target))]
        pairs = PairedEmbeddings(
            Embeddings(rng.standard_normal((len(target), dim)), ids, old), Embeddings(target, ids, new)
        )
        members = [fit_kernel(pairs, pairs, landmarks=landmarks, penalty=PENALTY, seed=seed) for seed in (0, 1)]
        return reweight(EnsembleAligner(members, normalize=True), pairs)

    aligner = TextAwareAligner(encoder, map_of(DIM + encoder.dim, LANDMARKS), map_of(DIM, DEFAULT_LANDMARKS))
    old = ec.SpaceVersion(name="old", version="1", dim=DIM, similarity="dot")
    return ec.OnnxAligner(ec.save_artifact(aligner, folder / "artifact", source=old, target=new), threads=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    texts = corpus(400 if options.smoke else options.texts, rng)
    encoder = build_static_encoder(vectors_of, texts)
    words = encoder.without_bigrams()
    accented = [text.replace("e", "é") for text in texts]
    accents = build_static_encoder(vectors_of, accented)
    np.testing.assert_allclose(loop(words, texts[:100]), words.encode(texts[:100]), atol=1e-5)
    vectors = rng.standard_normal((len(texts), DIM)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        aligner = artifact_of(encoder, Path(folder), 300 if options.smoke else 3_000, rng)
        seconds = alternate(
            {
                "loop": lambda: loop(words, texts),
                "words": lambda: words.encode(texts),
                "words and pairs": lambda: encoder.encode(texts),
                "with accents": lambda: accents.encode(accented),
                "plain": lambda: aligner.transform_plain(vectors),
                "with texts": lambda: aligner.transform(vectors, texts),
            },
            repeats=1 if options.smoke else options.repeats,
        )
    a_loop = "a regular expression, a dictionary and numpy"
    lines = [
        line_at_least(
            "texts with words, a second",
            a_loop,
            median_ratio(seconds, "loop", "words"),
            2.0,
            seconds,
            runs=("words", "loop"),
        ),
        line_at_least(
            "texts with words and pairs of words, a second",
            f"{a_loop}, words alone",
            median_ratio(seconds, "loop", "words and pairs"),
            1.0,
            seconds,
            runs=("words and pairs", "loop"),
            texts_per_second=len(texts) / statistics.median(seconds["words and pairs"]),
        ),
        line_at_most(
            "texts with words and pairs of words, with accents",
            "the same in ASCII",
            median_ratio(seconds, "with accents", "words and pairs"),
            2.0,
            seconds,
            runs=("with accents", "words and pairs"),
        ),
        line_at_most(
            "converting vectors with their texts",
            "converting the vectors alone",
            median_ratio(seconds, "with texts", "plain"),
            3.0,
            seconds,
            runs=("with texts", "plain"),
            texts_per_second=len(texts) / statistics.median(seconds["with texts"]),
        ),
    ]
    write_results({"machine": describe("onnxruntime"), "smoke": options.smoke, "lines": lines}, options.out)


if __name__ == "__main__":
    main()
