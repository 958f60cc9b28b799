from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from embcompat.artifact import read_artifact
from embcompat.cli import app
from embcompat.cli.upgrade.line import Upgrade, read_upgrade
from embcompat.errors import InputError, MigrationError
from embcompat.spaces import SpaceVersion
from embcompat.stores import Job, open_store

DIM = 16
SPACES = (SpaceVersion("words", "1", DIM), SpaceVersion("words", "2", DIM, modality="text"))


def embed_words(texts: Sequence[str], seed: int) -> NDArray[np.float32]:
    """Embed texts as the mean of a random vector for each word."""
    rows = []
    for text in texts:
        keys = [
            int.from_bytes(hashlib.blake2b(f"{seed} {word}".encode(), digest_size=8).digest()) for word in text.split()
        ]
        rows.append(np.mean([np.random.default_rng(key).standard_normal(DIM) for key in keys], axis=0))
    return np.array(rows, dtype=np.float32)


class Words:
    """The new model."""

    chunk_size = 64

    def __init__(self) -> None:
        self.space = SpaceVersion("words", "2", DIM, modality="text")

    def extract(self, items: Sequence[str]) -> NDArray[np.float32]:
        return embed_words(items, 2)


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a gallery in use, and a working directory where the new model is installed."""
    info = tmp_path / "site" / "embcompat_test_words-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: embcompat-test-words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[embcompat.extractors]\nwords = embcompat_test_words:Words\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(sys.modules, "embcompat_test_words", sys.modules[__name__])
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{word}" for word in rng.choice(60, 6)) for _ in range(400)]
    flat = pa.array(embed_words(texts, 1).reshape(-1))
    table = pa.table({"id": np.arange(400), "vector": pa.FixedSizeListArray.from_arrays(flat, DIM), "body": texts})
    lancedb.connect(str(tmp_path / "lance")).create_table("docs", table)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return f"lancedb://{tmp_path / 'lance'}#docs.vector"


def test_a_gallery_in_use_reaches_its_verdict_and_resumes(url: str) -> None:
    words = ["upgrade", "init", "--gallery", url, "--text-column", "body", "--extractor", "words"]
    assert "Next: embcompat upgrade run upgrade.toml" in run(*words, "--old-space", "words@1", "--rows", 300).stdout
    assert read_upgrade(Path("upgrade.toml")).rows == 300
    first = run("upgrade", "run", "upgrade.toml")
    assert f"$ embcompat sample '{url}' --rows 300 --text-column body" in first.stderr
    assert Path("upgrade/report.html").is_file()
    again = run("upgrade", "run")
    assert again.stderr.count("Done already: embcompat") == 5
    Path("upgrade/evaluation.json").unlink()
    third = run("upgrade", "run")
    assert third.stderr.count("Done already: embcompat") == 3
    assert "$ embcompat evaluate" in third.stderr
    result = json.loads(Path("upgrade/evaluation.json").read_text())
    Path("upgrade/evaluation.json").write_text(json.dumps(result | {"decision": "stay"}))
    with pytest.raises(MigrationError, match="the verdict is 'stay': there is nothing to convert"):
        run("upgrade", "apply")
    Path("upgrade/evaluation.json").write_text(json.dumps(result | {"decision": "convert"}))
    assert run("upgrade", "status").stdout.count("done  embcompat") == 5
    for verb, service in (("apply", None), ("cutover", "words@2"), ("rollback", "words@1")):
        shown = run("upgrade", verb)
        assert "$ embcompat migrate" in shown.stderr
        with closing(open_store(url)) as store:
            job = Job(read_artifact("upgrade/old-to-new").id, SPACES[0], SPACES[1])
            space = store.state(job).space
        assert (None if space is None else space.id) in (service, None)


def test_what_the_file_must_hold(tmp_path: Path) -> None:
    upgrade = Upgrade(gallery="lancedb:///x#a.b", text_column='a "b"', extractor="words", options=["k=v"])
    (tmp_path / "upgrade.toml").write_text(upgrade.to_toml())
    assert read_upgrade(tmp_path / "upgrade.toml") == upgrade
    (tmp_path / "upgrade.toml").write_text('gallery = "x"\nroows = 1\n')
    with pytest.raises(InputError, match="upgrade.toml: text_column: Field required"):
        read_upgrade(tmp_path / "upgrade.toml")
    with pytest.raises(InputError, match=r"does not exist. Write it with: embcompat upgrade init"):
        read_upgrade(tmp_path / "other.toml")
