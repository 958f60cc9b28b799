"""Every aligner of the zoo on real pairs: fit seconds, floats, vectors a second, and what it is worth held-out.

Faces are scored by the false accept rate of converted anchors against new positives at a false reject rate of 5 %, on
people that were not fitted. Texts are scored by nDCG@10; the pairs are gallery documents that answer no query, and
they are served native.

    python benchmarks/zoo.py --data DATA --out benchmarks/results/zoo.json

DATA holds ``faces/`` (``lfw_<model>_128.npy``, ``lfw_labels.npz`` with ``ids`` and ``detected``) and ``text/``
(``<set>_<model>_docs.npy``, ``<set>_<model>_queries.npy``, ``<set>_docs.parquet``, ``<set>_queries.parquet``,
``<set>_qrels.parquet``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import describe
from numpy.typing import NDArray

import embcompat as ec
from embcompat.aligners import AlignerPair, parameter_count, reweight
from embcompat.embeddings import normalize_rows
from embcompat.evaluation.retrieval.evaluate import FUSED_WEIGHTS
from embcompat.results import RetrievalReport
from embcompat.spaces import SpaceVersion

FACE_PAIRS = (("mfn_a", "mfn_b"), ("dlib", "mfn_b"))
TEXT_PAIRS = (("para_l3", "minilm"), ("static64", "minilm"), ("minilm", "para_l3"))
FACE_KINDS = ("ridge", "procrustes", "low_rank", "kernel", "residual", "dense", "multi_branch")
TEXT_KINDS = ("ridge", "procrustes", "low_rank", "kernel", "residual", "dense")
FITTED_TEXTS = {"cranfield": 400, "npl": 4_000}


def load_faces(folder: Path, model: str) -> ec.Embeddings:
    labels = np.load(folder / "lfw_labels.npz")
    space = SpaceVersion(name=model.replace("_", "-"), version="1", dim=128, normalized=True, modality="face")
    vectors = normalize_rows(np.load(folder / f"lfw_{model}_128.npy"))
    ids = [str(row) for row in range(len(vectors))]
    faces = ec.Embeddings(vectors, ids, space, [f"person-{number}" for number in labels["ids"]])
    return faces.select(np.flatnonzero(labels["detected"]))


def load_texts(folder: Path, name: str, model: str, side: str) -> ec.Embeddings:
    vectors = np.load(folder / f"{name}_{model}_{side}.npy")
    column = {"docs": "doc_id", "queries": "qid"}[side]
    ids = [str(value) for value in pq.read_table(folder / f"{name}_{side}.parquet").column(column).to_pylist()]
    space = SpaceVersion(
        name=model.replace("_", "-"), version="1", dim=vectors.shape[1], normalized=True, modality="text"
    )
    return ec.Embeddings(vectors, ids, space)


def load_qrels(folder: Path, name: str) -> ec.Qrels:
    gains: dict[str, dict[str, float]] = {}
    for row in pq.read_table(folder / f"{name}_qrels.parquet").to_pylist():
        gains.setdefault(str(row["qid"]), {})[str(row["doc_id"])] = float(row["rel"])
    return ec.Qrels(gains)


def draw_pairs(gallery: ec.Embeddings, qrels: ec.Qrels, name: str) -> NDArray[np.int64]:
    """Draw the documents of a collection that serve as pairs, among those that answer no query: their rows."""
    free = [row for row, item in enumerate(gallery.ids.tolist()) if item not in qrels.relevant_items()]
    return np.random.default_rng(0).permutation(free)[: FITTED_TEXTS[name]]


def load_upgrade(
    folder: Path, name: str, models: tuple[str, str]
) -> tuple[dict[str, ec.Embeddings], ec.Qrels, ec.PairSplit]:
    """Load ``old``, ``new``, ``old_queries`` and ``new_queries`` of a collection, its judgements, and the pairs."""
    sides = {
        f"{role}{suffix}": load_texts(folder, name, model, side)
        for role, model in zip(("old", "new"), models, strict=True)
        for suffix, side in (("", "docs"), ("_queries", "queries"))
    }
    qrels = load_qrels(folder, name)
    chosen = draw_pairs(sides["old"], qrels, name)
    pairs = ec.pair_embeddings(sides["old"].select(chosen), sides["new"].select(chosen))
    split = ec.split_pairs(pairs, test=0, seed=0)
    return sides, qrels, split


def fit_all(
    split: ec.PairSplit, kinds: tuple[str, ...], *, reweighted: bool
) -> Iterator[tuple[str, ec.Aligner, float]]:
    """Fit every kind; yield its name, the aligner and the seconds."""
    for kind in kinds:
        start = time.perf_counter()
        aligner = ec.fit_aligner(kind, split.train, split.validation)
        seconds = time.perf_counter() - start
        if isinstance(aligner, AlignerPair):
            raise TypeError(f"{kind} fits a pair")
        yield kind, aligner, seconds
        if reweighted and kind in ("ridge", "kernel", "residual"):
            yield f"{kind}, reweighted", reweight(aligner, split.validation, labelled=split.train.target), seconds


def describe_aligner(aligner: ec.Aligner, split: ec.PairSplit, seconds: float) -> dict[str, Any]:
    """Count floats and measure the served rate, at batches of 8,192."""
    rows = np.resize(split.train.source.vectors, (65_536, aligner.source_dim))
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    with tempfile.TemporaryDirectory() as folder:
        onnx_aligner = ec.OnnxAligner(ec.save_artifact(aligner, Path(folder) / "a", **spaces))
        onnx_aligner.transform(rows[:8_192])
        start = time.perf_counter()
        onnx_aligner.transform(rows)
        rate = len(rows) / (time.perf_counter() - start)
    return {"floats": parameter_count(aligner), "fit_seconds": seconds, "vectors_per_second": rate}


def face_rows(folder: Path, old_model: str, new_model: str, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    pairs = ec.pair_embeddings(load_faces(folder, old_model), load_faces(folder, new_model))
    split = ec.split_pairs(pairs, validation=0.175, test=0.3, seed=0)
    rows = []
    for name, aligner, seconds in fit_all(split, kinds, reweighted=True):
        converted = ec.convert_embeddings(aligner, split.test.source, split.test.target.space)
        report = ec.evaluate_verification(split.test.source, split.test.target, converted, all_images=True, seed=0)
        scenarios = report.to_dict()["scenarios"]
        rows.append(
            {
                "aligner": name,
                **describe_aligner(aligner, split, seconds),
                **{
                    key: {field: scenarios[key][field] for field in ("frr", "far", "far_at_frr")}
                    for key in ("S1", "S3")
                },
                "far_at_frr_interval": scenarios["S3"]["intervals"]["far_at_frr"],
            }
        )
        print(f"{old_model} -> {new_model}: {name}: S3 FAR at FRR 5 % {rows[-1]['S3']['far_at_frr']:.2e}", flush=True)
    return rows


def evaluate_texts(
    sides: dict[str, ec.Embeddings], aligner: ec.Aligner, qrels: ec.Qrels, split: ec.PairSplit
) -> RetrievalReport:
    old, new = sides["old"], sides["new"]
    fitted = {*split.train.ids.tolist(), *split.validation.ids.tolist()}
    return ec.evaluate_retrieval(
        old_queries=sides["old_queries"],
        new_queries=sides["new_queries"],
        old_gallery=old,
        new_gallery=new,
        converted=ec.convert_embeddings(aligner, old, new.space),
        qrels=qrels,
        native_ids=fitted,
        fused_weights=FUSED_WEIGHTS,
        seed=0,
    )


def text_rows(folder: Path, name: str, models: tuple[str, str], kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    sides, qrels, split = load_upgrade(folder, name, models)
    rows = []
    for kind, aligner, seconds in fit_all(split, kinds, reweighted=False):
        report = evaluate_texts(sides, aligner, qrels, split)
        figures = report.to_dict()
        keep = ("status_quo", "converted", "fused", "full_reindex", "retention", "retention_interval", "gap", "queries")
        rows.append(
            {
                "aligner": kind,
                **describe_aligner(aligner, split, seconds),
                **{key: figures[key] for key in keep},
                "differences": figures["differences"],
                **ec.decide(report).to_dict(),
            }
        )
        print(
            f"{name}, {' -> '.join(models)}: {kind}: {figures['converted']:.3f} fused {figures['fused']:.3f}",
            flush=True,
        )
    return rows


def measure(data: Path, out: Path, parts: tuple[str, ...], *, smoke: bool) -> None:
    """Measure the parts; each upgrade is written as soon as it is done, beside what the file holds already."""
    face_kinds, text_kinds = (("ridge",), ("ridge", "kernel")) if smoke else (FACE_KINDS, TEXT_KINDS)
    result: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    result["machine"] = describe()
    work: dict[str, dict[str, Callable[[], list[dict[str, Any]]]]] = {
        "text": {
            f"{old} → {new}, {name}": partial(text_rows, data / "text", name, (old, new), text_kinds)
            for name in FITTED_TEXTS
            if name == "cranfield" or not smoke
            for old, new in TEXT_PAIRS
        },
        "faces": {
            f"{old} → {new}": partial(face_rows, data / "faces", old, new, face_kinds) for old, new in FACE_PAIRS
        },
    }
    for part in parts:
        for name, run in work[part].items():
            result.setdefault(part, {})[name] = run()
            out.write_text(json.dumps(result, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with faces/ and text/")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/zoo.json"))
    parser.add_argument(
        "--parts", nargs="+", choices=("text", "faces"), default=("text", "faces"), help="what to measure"
    )
    parser.add_argument("--smoke", action="store_true", help="closed forms and the smaller collection only")
    options = parser.parse_args()
    measure(options.data, options.out, tuple(options.parts), smoke=options.smoke)


if __name__ == "__main__":
    main()
