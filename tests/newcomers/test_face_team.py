"""From two `.npy` files, names and a FAISS index to new faces in service, by the commands of the docs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import faiss
import numpy as np
import pytest
from typer.testing import CliRunner

from embcompat.cli import app
from embcompat.testing import make_pairs

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def commands(page: str, start: str) -> list[list[str]]:
    """Return the commands of the first shell block after some words of a page."""
    block = (HOW_TO / page).read_text(encoding="utf-8").partition(start)[2].partition("```sh\n")[2].partition("```")[0]
    return [shlex.split(line)[1:] for line in block.splitlines()]


def test_faces_in_npy_and_faiss_reach_the_new_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    faces = make_pairs(1_200, source_dim=32, target_dim=24, noise=0.3, subjects=150, normalized=True).pairs
    np.save("old.npy", faces.source.vectors)
    np.save("new.npy", faces.target.vectors)
    assert faces.source.labels is not None
    Path("names.txt").write_text("".join(f"{name}\n" for name in faces.source.labels))
    index = faiss.IndexFlatIP(32)
    index.add(faces.source.vectors)
    faiss.write_index(index, "docs.faiss")

    fit, evaluate = commands("use-your-own-vectors.md", "From two `.npy` files of face vectors")
    run(*fit, "--kind", "kernel")  # the page lets it choose, which tries neural aligners as well
    report = json.loads(run(*evaluate, "--json"))
    assert report["kind"] == "verification"
    assert report["decision"] in ("unjudged", "stay", "convert", "reindex")

    files = ("--old-gallery", "old.npy", "--new-gallery", "new.npy", "--labels", "names.txt")
    transfers = json.loads(run("thresholds", "faces", "--threshold", "0.45", *files, "--json"))
    assert transfers["converted_against_new"]["old_threshold"] == 0.45

    text = (HOW_TO / "migrate-faiss.md").read_text(encoding="utf-8")
    verbs = re.findall(r"^embcompat migrate (\S+) old-to-new faiss:///data/docs.faiss(.*)$", text, re.MULTILINE)
    gallery = f"faiss://{tmp_path / 'docs.faiss'}"
    for verb, more in verbs[: [verb for verb, _ in verbs].index("drop-old") + 1]:
        if verb != "rollback":
            run("migrate", verb, "faces", gallery, *more.split())
    rows = np.arange(0, 1_200, 10)
    neighbours = faiss.read_index("docs.faiss").search(faces.target.vectors[rows], 1)[1][:, 0]
    assert (neighbours == rows).mean() > 0.9
