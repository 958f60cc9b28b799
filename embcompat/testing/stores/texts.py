"""A migration by an aligner that reads the text of each row beside its vector."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embcompat.aligners import AffineAligner
from embcompat.aligners.text import TextAwareAligner, build_static_encoder
from embcompat.errors import EmbcompatError, InputError, StoreError
from embcompat.export import save_artifact
from embcompat.migration import RunOptions, cut_over, plan_migration, roll_back, run_migration, sweep, verify_migration
from embcompat.runtime import OnnxAligner
from embcompat.testing.stores.check import (
    SOURCE_DIM,
    TARGET_DIM,
    Gallery,
    StoreBench,
    in_service,
    refused,
    require,
    skip_unless,
)

WORD_DIM = 8


def check_texts(bench: StoreBench) -> None:
    """Rows are converted with their texts, again when a text changes, and never without them."""
    column = bench.harness.text_column
    old = bench.gallery(80)
    url = bench.harness.create(old)
    notes = bench.harness.notes(url)
    aligner, options = _worded(bench, notes), RunOptions(text_column=column)
    if column is None:
        with bench.store(url) as store:
            refused(InputError, lambda: run_migration(aligner, store), "the aligner reads texts")
            named = RunOptions(text_column="note")
            refused(EmbcompatError, lambda: run_migration(aligner, store, options=named), "there are no texts to read")
        in_service(bench, url, old, "a refused run must change nothing")
        return
    with bench.store(url) as store:
        refused(InputError, lambda: run_migration(aligner, store), "no column of texts is named")
        refused(InputError, lambda: run_migration(bench.shrink, store, options=options), "the aligner reads no texts")
        refused(InputError, lambda: plan_migration(aligner, store), "no column of texts is named")
        require(plan_migration(aligner, store, options=options).missing == len(old), "every row is to be converted")
        report = run_migration(aligner, store, options=options)
        require(report.rows == len(old), f"every row must be converted once. Got {report.rows} of {len(old)}")
        require(report.rows_without_text == 0, f"every row has a text. Got {report.rows_without_text} without")
    changed = dict.fromkeys(list(notes)[3:10], "note note") | dict.fromkeys(list(notes)[20:22], "")
    bench.harness.put_notes(url, changed)
    with bench.store(url) as store:
        refused(InputError, lambda: verify_migration(aligner, store), "no column of texts is named")
        refused(InputError, lambda: cut_over(aligner, store), "no column of texts is named")
        report = run_migration(aligner, store, options=options)
        require(report.rows == len(changed), f"the {len(changed)} changed texts must count. Got {report.rows}")
        require(report.rows_without_text == 2, f"2 rows have lost their text. Got {report.rows_without_text}")
        require(run_migration(aligner, store, options=options).rows == 0, "nothing must be left to do")
        require(not verify_migration(aligner, store, options=options).problems, "a complete migration must verify")
    last = {list(notes)[40]: "note"}
    bench.harness.put_notes(url, last)
    with bench.store(url) as store:
        cut_over(aligner, store, options=options)
        require(not list(sweep(aligner, store, options=options)), "nothing must be swept when all rows were converted")
    in_service(bench, url, _converted(aligner, old, notes | changed | last), "texts must count as they are now")
    require(bench.harness.notes(url) == notes | changed | last, "the texts must stay as the application wrote them")
    with bench.store(url) as store:
        roll_back(aligner, store)
    in_service(bench, url, old, "the old vectors must be back after a rollback")


def check_texts_by_id(bench: StoreBench) -> None:
    """Texts that the gallery does not hold are given by id; a row whose text changes is converted again."""
    old = bench.gallery(60)
    url = bench.harness.create(old)
    with bench.store(url) as store:
        skip_unless(store.takes_texts, "this store reads its texts from a column")
    notes = bench.harness.notes(url)
    texts = {str(key): note for key, note in notes.items()}
    aligner = _worded(bench, notes)
    with bench.store(url) as store:
        options = RunOptions(texts=texts, text_column="note")
        refused(InputError, lambda: run_migration(aligner, store, options=options), "texts come from one place")
        strange = RunOptions(texts={f"other {key}": text for key, text in texts.items()})
        refused(StoreError, lambda: run_migration(aligner, store, options=strange), "no text belongs to a row")
        require(bool(plan_migration(aligner, store, options=strange).obstacles), "a plan must list that")
        report = run_migration(aligner, store, options=RunOptions(texts=texts))
        require(report.rows == len(old), f"every row must be converted once. Got {report.rows} of {len(old)}")
        require(report.rows_without_text == 0, f"every row has a text. Got {report.rows_without_text} without")
    changed = dict.fromkeys(list(notes)[3:8], "note note") | dict.fromkeys(list(notes)[20:22], "")
    texts |= {str(key): text for key, text in changed.items()}
    options = RunOptions(texts=texts)
    with bench.store(url) as store:
        cut_over(aligner, store, options=options)
        require(not list(sweep(aligner, store, options=options)), "nothing must be swept when all rows were converted")
    in_service(bench, url, _converted(aligner, old, notes | changed), "texts must count as they are now")


def _worded(bench: StoreBench, notes: Mapping[Any, str]) -> OnnxAligner:
    """Make an artifact that reads notes."""
    encoder = build_static_encoder(_random_vectors, list(notes.values()), min_count=1)
    rng = np.random.default_rng(2)
    normalize = bench.shrink.artifact.target.normalized
    worded, plain = (
        AffineAligner(rng.standard_normal((TARGET_DIM, dim)), np.zeros(TARGET_DIM), normalize=normalize)
        for dim in (SOURCE_DIM + encoder.dim, SOURCE_DIM)
    )
    artifact = save_artifact(
        TextAwareAligner(encoder, worded, plain),
        bench.folder / "worded",
        source=bench.shrink.artifact.source,
        target=bench.shrink.artifact.target,
        overwrite=True,
    )
    return OnnxAligner(artifact, threads=1)


def _converted(aligner: OnnxAligner, gallery: Gallery, notes: Mapping[Any, str]) -> Gallery:
    """Return what a gallery of rows with vectors becomes."""
    vectors = np.array(list(gallery.values()), dtype=np.float32)
    return dict(zip(gallery, aligner.transform(vectors, [notes[key] for key in gallery]), strict=True))


def _random_vectors(texts: Sequence[str]) -> NDArray[np.float64]:
    """Stand for a model: every text has a vector of its own."""
    return np.array([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(WORD_DIM) for text in texts])
