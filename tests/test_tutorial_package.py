"""The packages of two pages of the docs: made from the pages' own blocks, installed, and used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import embcompat as ec
from embcompat.aligners import find_plugin_aligner, load_aligner
from embcompat.embeddings import Embeddings
from embcompat.errors import InputError, MissingExtraError, UnknownNameError
from embcompat.selection import parse_candidate
from embcompat.testing import make_pairs

ROOT = Path(__file__).resolve().parents[1]


def run(program: str, *words: str, cwd: Path, site: Path) -> str:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    start = ["-c", "from embcompat.cli import main; main()"] if program == "embcompat" else ["-m", program]
    process = subprocess.run([sys.executable, *start, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def install(page: Path, source: Path, site: Path) -> Path:
    """Write a page's files, and install them as the page says."""
    blocks = re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for name, text in blocks:
        (source / name).write_text(text)
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site))
    run("pip", "install", *options, str(source), cwd=source, site=site)
    for path in source.glob("test_*.py"):
        (site / path.name).write_text(path.read_text())
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = ROOT / "docs" / "tutorials" / "write-an-extractor.md"
    return install(page, tmp_path_factory.mktemp("embcompat-trigrams"), tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def aligner_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = ROOT / "docs" / "how-to" / "add-an-aligner.md"
    return install(page, tmp_path_factory.mktemp("embcompat-random-features"), tmp_path_factory.mktemp("site"))


def test_it_is_listed(site: Path) -> None:
    listed = run("embcompat", "extractors", "--json", cwd=site, site=site)
    assert '"trigrams"' in listed
    assert "Hashed trigrams of a text, scaled to unit norm; no weights." in listed


def test_it_passes_its_own_test(site: Path) -> None:
    assert "1 passed" in run("pytest", "-q", "-p", "no:langsmith_plugin", "test_trigrams.py", cwd=site, site=site)


def test_it_embeds_a_file(site: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one text\nanother text\n")
    words = ("texts.txt", "--extractor", "trigrams", "--option", "dim=128", "--out", "trigrams.parquet")
    run("embcompat", "embed", *words, cwd=tmp_path, site=site)
    embeddings = Embeddings.load(tmp_path / "trigrams.parquet")
    assert embeddings.space.id == "trigrams@1.128d"
    assert embeddings.vectors.shape == (2, 128)
    assert embeddings.space.fingerprint["hash"] == "crc32"


def test_the_aligner_passes_its_own_test_and_is_listed(aligner_site: Path) -> None:
    words = ("-q", "-p", "no:langsmith_plugin", "test_random_features.py")
    assert "1 passed" in run("pytest", *words, cwd=aligner_site, site=aligner_site)
    listed = json.loads(run("embcompat", "aligners", "--json", cwd=aligner_site, site=aligner_site))["aligners"]
    assert listed[-1] == {
        "kind": "random_features",
        "parameters": None,
        "purpose": "A linear map, and random features beside it. (embcompat-random-features)",
    }


def test_the_aligner_is_fitted_chosen_published_and_served_without_its_package(
    aligner_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_pairs(600, source_dim=8, target_dim=8, noise=0.1, normalized=True).pairs
    pairs.source.save(tmp_path / "old.parquet")
    pairs.target.save(tmp_path / "new.parquet")
    words = ("old.parquet", "new.parquet", "--kind", "random_features, reweighted", "--out", "mine")
    run("embcompat", "fit", *words, cwd=tmp_path, site=aligner_site)
    mapped = ec.OnnxAligner(tmp_path / "mine").transform(pairs.source.vectors)  # here the package is not installed
    assert (mapped * pairs.target.vectors).sum(axis=1).mean() > 0.8
    with pytest.raises(UnknownNameError, match="no aligner called 'random_features'"):
        load_aligner(tmp_path / "mine")
    with pytest.raises(UnknownNameError, match="random_features"):
        ec.fit_aligner("random_features", pairs.source.vectors, pairs.target.vectors)

    monkeypatch.syspath_prepend(str(aligner_site))
    split = ec.split_pairs(pairs, seed=0)
    choice = ec.select_aligner(split.train, split.validation, candidates=["ridge", "random_features"])
    assert {each.name for each in choice.candidates} == {"ridge", "random_features"}
    again = load_aligner(tmp_path / "mine")
    np.testing.assert_allclose(again.transform(pairs.source.vectors), mapped, atol=1e-5)
    registry = ec.Registry(tmp_path / "registry", create=True)
    assert registry.publish(tmp_path / "mine")
    with pytest.raises(UnknownNameError, match=r"called 'nothing'.*random_features"):
        parse_candidate("nothing")


def test_a_plugin_that_is_not_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "class Other:\n    kind = 'other'\nclass Bare:\n    kind = 'bare'\n"
    (tmp_path / "odd_aligners.py").write_text(module)
    points = {
        "one": "mine = odd_aligners:Other\nbare = odd_aligners:Bare",
        "two": "bad = no_such:X",
    }
    for package, lines in points.items():
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[embcompat.aligners]\n{lines}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="'mine' of package one must be a class with kind = 'mine'. Got 'other'"):
        find_plugin_aligner("mine")
    with pytest.raises(InputError, match="'bare' of package one must have fit, from_state and transform. It lacks fit"):
        find_plugin_aligner("bare")
    with pytest.raises(MissingExtraError, match="The aligner 'bad' needs the package 'no_such'"):
        find_plugin_aligner("bad")
    (tmp_path / "two-1.dist-info" / "entry_points.txt").write_text("[embcompat.aligners]\nmine = odd_aligners:Other\n")
    with pytest.raises(InputError, match="several packages bring an aligner called 'mine': one, two"):
        find_plugin_aligner("mine")
