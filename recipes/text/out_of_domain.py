"""An aligner that was trained on other texts fails, and two checks say so before anything is converted.

One aligner is fitted on documents of the gallery's own kind, the others on texts from elsewhere: another collection,
and dictionary glosses. On held-out texts of their *own* kind all of them look sound. Then

* ``embcompat evaluate --min-retention`` asks the gallery's own queries, and exits with code 3;
* `OnnxAligner.convertibility` needs no query and no new vector: it says which part of the gallery lies farther out
  than 99 % of the texts on which the aligner was tried.

The doctor, told the training's vectors by `fit_reference`, is asked too: its business is rows of another *space*, and
it is recorded whether it notices other content.

    python recipes/text/out_of_domain.py --data DATA --output recipes-out
"""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from loading import QUICK, Collection, Options, embed, load_collections, read_options, show, write

import embcompat as ec
from embcompat.doctor import examine, fit_reference
from embcompat.evaluation.retrieval.neighbours import neighbour_overlap

UPGRADE = ("para_l3", "minilm")
FOREIGN_TEXTS = 6_000
MIN_RETENTION = 0.65
GATE_NOT_MET = 3
"""What the command then exits with."""


def pairs_by_training(options: Options, collections: list[Collection]) -> dict[str, ec.PairedEmbeddings]:
    """Return the pairs of each training: the gallery's own are documents that answer no query."""
    home = collections[0]
    rows = home.answers_nothing(seed=options.seed)
    pairs = {home.name: ec.pair_embeddings(*(side.select(rows) for side in home.documents.values()))}
    pairs |= {away.name: ec.pair_embeddings(*away.documents.values()) for away in collections[1:]}
    name, texts = foreign_texts(options)
    return pairs | {
        name: ec.pair_embeddings(*(embed(options, model, texts, f"{name}_{model}") for model in home.documents))
    }


def foreign_texts(options: Options) -> tuple[str, dict[str, str]]:
    """Return glosses of a dictionary, or what every Python has: the names of characters."""
    if options.data is None or options.smoke:
        names = (unicodedata.name(chr(code), "") for code in range(0x2000, 0x3000, 16))
        return "characters", {each: each for each in names if each}
    glosses = pq.read_table(options.data / "text" / "wordnet30_glosses.parquet").column("gloss").to_pylist()
    chosen = np.random.default_rng(options.seed).permutation(len(glosses))[:FOREIGN_TEXTS]
    return "glosses", {f"gloss-{row}": glosses[row] for row in sorted(chosen.tolist())}


def judge(pairs: ec.PairedEmbeddings, home: Collection, folder: Path, seed: int) -> dict[str, Any]:
    """Fit an aligner; try it on held-out pairs, then put it to the checks."""
    split = ec.split_pairs(pairs, seed=seed)
    aligner = ec.fit_aligner("kernel", split.train, split.validation, seed=seed)
    overlap = neighbour_overlap(split.test.target.vectors, aligner.transform(split.test.source.vectors), "cosine")
    spaces = {"source": pairs.source.space, "target": pairs.target.space}
    artifact = ec.save_artifact(aligner, folder / "aligner", split=split, overwrite=True, **spaces)
    gallery = next(iter(home.documents.values()))
    limit = artifact.manifest.calibration["convertibility"]["quantiles"]["0.99"]
    unlike = examine(gallery, [fit_reference(pairs.source, seed=seed)]).finding("unlike_reference")
    return {
        "pairs": len(pairs),
        "own_neighbours_found": float(overlap.mean()),
        "far_out": float(np.mean(ec.OnnxAligner(artifact).convertibility(gallery.vectors) > limit)),
        "doctor": unlike.message if unlike else "Nothing found.",
        **ask_the_gate(folder),
    }


def ask_the_gate(folder: Path) -> dict[str, Any]:
    """Run the command that a pipeline would run, on the files that `write_search` wrote."""
    command = [Path(sys.executable).with_name("embcompat"), "evaluate", folder / "aligner", "--json"]
    for role in ("old", "new"):
        command += [f"--{role}-gallery", folder / f"{role}.parquet", f"--{role}-queries", folder / f"{role}-q.parquet"]
    command += ["--qrels", folder / "qrels.tsv", "--min-retention", str(MIN_RETENTION)]
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if process.returncode not in (0, GATE_NOT_MET):
        raise SystemExit(process.stderr)
    result = json.loads(process.stdout)
    fields = ("status_quo", "converted", "full_reindex", "retention", "retention_interval", "decision", "reason")
    return {"gate": "held" if process.returncode == 0 else "not held"} | {name: result[name] for name in fields}


def write_search(home: Collection, folder: Path) -> None:
    for role, model in zip(("old", "new"), home.documents, strict=True):
        home.documents[model].save(folder / f"{role}.parquet")
        home.queries[model].save(folder / f"{role}-q.parquet")
    lines = [f"{query}\t0\t{item}\t{gain}" for query, items in home.qrels.gains.items() for item, gain in items.items()]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")


def main() -> None:
    options = read_options(__doc__)
    collections = load_collections(options, QUICK if options.smoke else UPGRADE)
    home, folder = collections[0], options.output / "out_of_domain"
    folder.mkdir(exist_ok=True)
    write_search(home, folder)
    trainings = pairs_by_training(options, collections)
    figures = {name: judge(pairs, home, folder, options.seed) for name, pairs in trainings.items()}
    show(
        f"The gallery is {home.name}; aligners by what they were trained on",
        ("trained on", "own kind", "nDCG@10", "retention", "low end", "gate", "far out"),
        [
            (
                name,
                f"{row['own_neighbours_found']:.2f}",
                f"{row['converted']:.3f}",
                f"{row['retention']:.2f}",
                f"{row['retention_interval'][0]:.2f}",
                row["gate"],
                f"{row['far_out']:.0%}",
            )
            for name, row in figures.items()
        ],
    )
    print(f"own kind: native neighbours found on held-out texts of the training; gate: low end above {MIN_RETENTION}")
    for name, row in figures.items():
        print(f"{name}: {row['decision']}. Doctor: {row['doctor']}")
    write(options, "out_of_domain", {"gallery": home.name, "trainings": figures})


if __name__ == "__main__":
    main()
