"""Text collections that packages carry, and what the recipes with words share: pieces and static encoders.

Nothing here is downloaded. ``libraries`` are the docstrings of installed packages, ``manpages`` the manual pages of the
operating system (Debian's ``manpages``, ``manpages-dev`` and whatever else is installed), both as known-item searches:
the summary line is the query, the rest is the document. ``wordnet`` and ``banking77`` are read from DATA: the word for
a definition, and questions of the same intent.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from loading import QUICK, Collection, Options, docstring_search, embed, load_model, read_collection

import embcompat as ec
from embcompat.aligners.text import StaticEncoder, build_static_encoder, tokenize
from embcompat.cli.demo.texts import read_docstrings

LIBRARIES = ("matplotlib", "networkx", "pandas", "sklearn", "sympy", "torch")
TEXTS = {"libraries": 1_000, "manpages": 1_000, "wordnet": 3_000, "banking77": 3_000}
"""Documents of a collection, at most: what two cores embed in some minutes."""

QUERIES = 300
"""Queries of a collection that could have one for each document; the other documents can serve as pairs."""

PAIRS = {"cranfield": 2_000, "npl": 2_000, "docstrings": 2_000, "libraries": 400, "manpages": 400}
MOST_PAIRS = 1_000
"""Documents that serve as pairs, at most; the others are the gallery."""

MANUAL = Path("/usr/share/man")
MIN_QUERY, MIN_DOCUMENT, MAX_DOCUMENT = 15, 200, 600
"""Characters of a manual page's description line and of its text."""

_MACRO = re.compile(r"^[.'](?:B|I|BR|RB|IR|RI|BI|IB|SM|SB|SS)\s+(.*)$")
_ESCAPE = re.compile(r"\\f(?:\[\w*\]|\(..|.)|\\s[-+]?\d|\\[&|^%/,]|\\\*\(..|\\\*\[\w*\]")
_NAMED = {r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\e": "\\", r"\(bu": "", r"\ ": " ", r"\~": " ", r"\(co": ""}

Texts = tuple[dict[str, str], dict[str, str]]
"""Queries and documents, by id."""


def load(options: Options, name: str, models: Sequence[str]) -> Collection:
    """Load one collection under some models.

    Args:
        options: The recipe's options.
        name: ``cranfield``, ``npl``, ``libraries``, ``manpages``, ``wordnet``, ``banking77``, or ``docstrings`` (the
            demo's texts).
        models: The models.
    """
    if name == "docstrings":
        return docstring_search(options, models)
    if name in ("cranfield", "npl"):
        return read_collection(options, name, models)
    readers = {"libraries": read_libraries, "manpages": read_manual, "wordnet": read_glosses, "banking77": read_intents}
    queries, documents, gains = _cached(options, name, readers[name])
    sides = {
        part: {model: embed(options, model, texts, f"{name}_{model}_{part}") for model in models}
        for part, texts in (("docs", documents), ("queries", queries))
    }
    return Collection(name, documents, queries, sides["docs"], sides["queries"], ec.Qrels(gains))


def _cached(options: Options, name: str, read) -> list[dict]:
    """Read a collection's texts, or take them from an earlier run's OUTPUT."""
    cache = options.output / "embeddings" / f"{name}.json"
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        cache.write_text(json.dumps(read(options)))
    return json.loads(cache.read_text())


def read_libraries(options: Options) -> tuple[dict, dict, dict]:
    """Return summary lines and the rest of installed packages' docstrings."""
    texts = read_docstrings(TEXTS["libraries"], packages=LIBRARIES)
    return known_items({each.name: each.summary for each in texts}, {each.name: each.body for each in texts}, options)


def read_manual(options: Options) -> tuple[dict, dict, dict]:
    """Return the description lines and texts of manual pages."""
    queries, documents = {}, {}
    for path in sorted(MANUAL.glob("man[1-8]/*.gz")):
        name = path.name.removesuffix(".gz")
        if path.is_symlink() or name.startswith("gcloud"):
            continue
        parts = split_page(gzip.decompress(path.read_bytes()).decode("utf-8", "replace"))
        if parts and not {parts[0]} & set(queries.values()):
            queries[name], documents[name] = parts
    names = np.random.default_rng(options.seed).permutation(list(queries))[: TEXTS["manpages"]].tolist()
    return known_items({name: queries[name] for name in names}, {name: documents[name] for name in names}, options)


def split_page(source: str) -> tuple[str, str] | None:
    """Return the description line and the text of a manual page; None where either is missing or too short."""
    sections = re.split(r"^\.SH\s+(.*)$", source, flags=re.MULTILINE)
    named = {title.strip(' "').upper(): body for title, body in zip(sections[1::2], sections[2::2], strict=True)}
    _, dash, summary = plain_text(named.get("NAME", "")).partition(" - ")
    text = plain_text(named.get("DESCRIPTION", ""))[:MAX_DOCUMENT]
    return (summary, text) if dash and len(summary) >= MIN_QUERY and len(text) >= MIN_DOCUMENT else None


def plain_text(source: str) -> str:
    """Take the roff markup out of a part of a manual page."""
    lines = []
    for line in source.splitlines():
        macro = _MACRO.match(line)
        if macro:
            lines.append(macro[1].replace('"', ""))
        elif not line.startswith((".", "'")):
            lines.append(line)
    text = " ".join(lines)
    for escape, plain in _NAMED.items():
        text = text.replace(escape, plain)
    return " ".join(_ESCAPE.sub("", text).split())


def read_glosses(options: Options) -> tuple[dict, dict, dict]:
    """Return lemmas and glosses of WordNet: the word of a definition that does not hold it."""
    rows = pq.read_table(options.data / "text" / "wordnet30_glosses.parquet").to_pylist()
    queries, documents = {}, {}
    for number in np.random.default_rng(options.seed).permutation(len(rows)).tolist():
        lemma, gloss = rows[number]["lemmas"].split(",")[0], rows[number]["gloss"]
        name = f"{rows[number]['pos']}{rows[number]['offset']}"
        if lemma.lower() not in gloss.lower() and lemma not in queries.values():
            queries[name], documents[name] = lemma, gloss
        if len(queries) == TEXTS["wordnet"]:
            break
    return known_items(queries, documents, options)


def read_intents(options: Options) -> tuple[dict, dict, dict]:
    """Return customers' questions, and those of the same intent; `MOST_PAIRS` of them answer none."""
    table = pq.read_table(options.data / "text" / "banking77.parquet").to_pylist()
    rng = np.random.default_rng(options.seed)
    parts = {split: [row for row in table if row["split"] == split] for split in ("train", "test")}
    rows = [parts["train"][row] for row in rng.choice(len(parts["train"]), TEXTS["banking77"], replace=False)]
    documents = {f"d{number}": row["text"] for number, row in enumerate(rows)}
    answers: dict[str, list[str]] = {}
    for number, row in enumerate(rows):
        if number >= MOST_PAIRS:
            answers.setdefault(row["category"], []).append(f"d{number}")
    test_rows = [parts["test"][row] for row in rng.choice(len(parts["test"]), QUERIES, replace=False)]
    queries = {f"q{number}": row["text"] for number, row in enumerate(test_rows)}
    gains = {f"q{number}": dict.fromkeys(answers.get(row["category"], ()), 1.0) for number, row in enumerate(test_rows)}
    return queries, documents, gains


def known_items(queries: Mapping[str, str], documents: Mapping[str, str], options: Options) -> tuple[dict, dict, dict]:
    """Keep `QUERIES` of the queries, drawn at random: the other documents answer none."""
    names = np.random.default_rng(options.seed).permutation(sorted(queries))[:QUERIES].tolist()
    return {name: queries[name] for name in names}, dict(documents), {name: {name: 1.0} for name in names}


def draw_pairs(options: Options, collection: Collection) -> np.ndarray:
    """Return the rows of the documents that serve as pairs: they answer no query."""
    return collection.answers_nothing(seed=options.seed)[: PAIRS.get(collection.name, MOST_PAIRS)]


def pair_documents(
    options: Options, collection: Collection, rows: np.ndarray, models: tuple[str, str]
) -> ec.PairedEmbeddings:
    """Pair documents and their pieces, with their texts, labelled by document."""
    names = list(collection.texts)
    ids = [names[row] for row in rows]
    cut = ec.cut_texts([collection.texts[item] for item in ids], ids)
    pieces = dict(zip(cut.ids[len(ids) :], cut.items[len(ids) :], strict=True))
    sides = []
    for model in models:
        whole = collection.documents[model].select(rows)
        vectors = [whole.vectors]
        if pieces:
            vectors.append(embed(options, model, pieces, f"{collection.name}_{model}_cut").vectors)
        sides.append(ec.Embeddings(np.concatenate(vectors), cut.ids, whole.space, cut.labels, cut.items))
    return ec.PairedEmbeddings(*sides)


def load_encoder(options: Options, collection: Collection, model: str) -> StaticEncoder:
    """Return the static encoder of a collection; OUTPUT keeps the table of words for the next recipe."""
    cache = options.output / "embeddings" / f"{collection.name}_{model}_encoder.npz"
    if not cache.exists():
        encoder = build_static_encoder(load_model(model), collection.texts.values())
        np.savez(cache, **encoder.state())
    with np.load(cache) as arrays:
        return StaticEncoder.from_state(dict(arrays))


def each_upgrade(
    options: Options, names: Sequence[str], upgrades: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, Collection, str, str, StaticEncoder]]:
    """Yield every upgrade on every collection.

    Args:
        options: The recipe's options; a smoke run takes one upgrade, and without DATA the collection is ``docstrings``.
        names: The collections.
        upgrades: Old and new model of each upgrade; all have the same new model.

    Yields:
        A title, the collection, the old and the new model, and the new model's static encoder of the collection.
    """
    chosen = (QUICK,) if options.smoke else upgrades
    models = sorted({model for pair in chosen for model in pair})
    for name in ("docstrings",) if options.data is None or options.smoke else names:
        collection = load(options, name, models)
        encoder = load_encoder(options, collection, chosen[0][1])
        for old, new in chosen:
            yield f"{old} → {new}, {name}", collection, old, new, encoder


def count_words(texts: Iterable[str]) -> int:
    """Count the words of some texts: the unit of what the new model embeds."""
    return sum(len(tokenize(text)) for text in texts)
