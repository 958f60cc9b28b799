"""The package of docs/tutorials/write-an-extractor.md: made from the page's own blocks, installed, and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from embcompat.embeddings import Embeddings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorials" / "write-an-extractor.md"


def run(program: str, *words: str, cwd: Path, site: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    start = ["-c", "from embcompat.cli import main; main()"] if program == "embcompat" else ["-m", program]
    done = subprocess.run([sys.executable, *start, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page's files, and install them as the page says."""
    source, site = tmp_path_factory.mktemp("embcompat-trigrams"), tmp_path_factory.mktemp("site")
    blocks = re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [name for name, _ in blocks] == ["pyproject.toml", "embcompat_trigrams.py", "test_trigrams.py"]
    for name, text in blocks:
        (source / name).write_text(text)
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site))
    run("pip", "install", *options, str(source), cwd=source, site=site)
    (site / "test_trigrams.py").write_text(dict(blocks)["test_trigrams.py"])
    return site


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
    found = Embeddings.load(tmp_path / "trigrams.parquet")
    assert found.space.id == "trigrams@1.128d"
    assert found.vectors.shape == (2, 128)
    assert found.space.fingerprint["hash"] == "crc32"
