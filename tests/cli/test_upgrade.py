from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from embcompat.artifact import read_artifact
from embcompat.cli import app
from embcompat.embeddings import Embeddings
from embcompat.errors import MigrationError
from embcompat.spaces import SpaceVersion
from embcompat.stores import Job, open_store
from embcompat.upgrade.line import read_upgrade, run_upgrade, upgrade_line

DIM = 16
SPACES = tuple(SpaceVersion("words", version, DIM, modality="text") for version in "12")
MODEL = '''
"""A model of two versions: the mean of a random vector for each word."""
import hashlib, os, pathlib, time
import numpy as np
from embcompat.spaces import SpaceVersion

def embed_words(texts, seed):
    rows = []
    for text in texts:
        keys = [int.from_bytes(hashlib.blake2b(f"{seed} {w}".encode(), digest_size=8).digest()) for w in text.split()]
        rows.append(np.mean([np.random.default_rng(key).standard_normal(16) for key in keys], axis=0))
    return np.array(rows, dtype=np.float32)

class Words:
    chunk_size = 64

    def __init__(self, version: str = "2"):
        self.version = version
        self.space = SpaceVersion("words", version, 16, modality="text", fingerprint={"words": "all"})

    def extract(self, items):
        with open(os.environ.get("WORDS_LOG", os.devnull), "a") as log:
            log.write("".join(f"{text}\\n" for text in items))
        time.sleep(float(os.environ.get("WORDS_SECONDS", "0")))
        return embed_words(items, int(self.version))
'''


def run(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a gallery in use, and a working directory where the model is installed."""
    site = tmp_path / "site"
    info = site / "embcompat_test_words-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: embcompat-test-words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[embcompat.extractors]\nwords = embcompat_test_words:Words\n")
    (site / "embcompat_test_words.py").write_text(MODEL)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *sys.path]))
    monkeypatch.delitem(sys.modules, "embcompat_test_words", raising=False)
    import embcompat_test_words as model  # type: ignore[import-not-found]

    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{word}" for word in rng.choice(60, 6)) for _ in range(400)]
    flat = pa.array(model.embed_words(texts, 1).reshape(-1))
    table = pa.table({"id": np.arange(400), "vector": pa.FixedSizeListArray.from_arrays(flat, DIM), "body": texts})
    lancedb.connect(str(tmp_path / "lance")).create_table("docs", table)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return f"lancedb://{tmp_path / 'lance'}#docs.vector"


def begin(url: str, *more: object) -> None:
    words = ["upgrade", "init", "--gallery", url, "--text-column", "body", "--extractor", "words"]
    old = [] if "--old-extractor" in more else ["--old-space", "words@1"]
    assert "Next: embcompat upgrade run upgrade.toml" in run(*words, *old, *more).stdout


def run_until(name: str) -> list[str]:
    """Run an upgrade, and stop it before the command that follows the last one of a name; return what was run."""
    calls: list[str] = []

    def stopping(words: Sequence[str]) -> None:
        if name in calls and words[0] != name:
            raise KeyboardInterrupt
        calls.append(words[0])
        run(*words)

    with contextlib.suppress(KeyboardInterrupt):
        run_upgrade("upgrade.toml", run=stopping)
    return calls


def decide(mode: str) -> None:
    path = Path("upgrade/evaluation.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decision": mode}))


def test_a_gallery_in_use_reaches_its_verdict_and_resumes(url: str) -> None:
    begin(url, "--rows", 300)
    assert read_upgrade(Path("upgrade.toml")).rows == 300
    assert run("upgrade", "status").stdout.count("to do  embcompat") == 5
    first = run("upgrade", "run", "upgrade.toml")
    assert f"$ embcompat sample '{url}' --rows 300 --text-column body" in first.stderr
    assert Path("upgrade/report.html").is_file()
    assert run("upgrade", "run").stderr.count("Done already: embcompat") == 5
    Path("upgrade/evaluation.json").unlink()
    third = run("upgrade", "run")
    assert third.stderr.count("Done already: embcompat") == 3
    assert "$ embcompat evaluate" in third.stderr
    decide("stay")
    assert "Nothing is left to do." in run("upgrade", "status").stdout
    with pytest.raises(MigrationError, match="the verdict is 'stay': there is nothing to convert"):
        run("upgrade", "apply")
    decide("convert")
    status = run("upgrade", "status").stdout
    assert status.count("done   embcompat") == 5
    assert "Next: embcompat upgrade apply upgrade.toml" in status
    after = {"apply": "cutover upgrade.toml", "cutover": "rollback upgrade.toml", "rollback": "cutover upgrade.toml"}
    for verb, service in (("apply", None), ("cutover", "words@2"), ("rollback", "words@1")):
        result = run("upgrade", verb)
        assert "$ embcompat migrate" in result.stderr
        for output in (result.stdout, run("upgrade", "status").stdout):
            assert f"Next: embcompat upgrade {after[verb]}" in output
        with closing(open_store(url)) as store:
            job = Job(read_artifact("upgrade/old-to-new").id, SPACES[0], SPACES[1])
            space = store.state(job).space
        assert (None if space is None else space.id) in (service, None)


def test_a_run_that_is_stopped_after_any_step_resumes_there(url: str) -> None:
    begin(url, "--rows", 300)
    for name in ("sample", "embed", "fit", "evaluate"):
        assert run_until(name) == [name]
        states = [each.state for each in upgrade_line("upgrade.toml").states()]
        assert states.index("to do") == ["sample", "embed", "fit", "evaluate"].index(name) + 1
        assert "Next: embcompat upgrade run upgrade.toml" in run("upgrade", "status").stdout
    assert run_until("report") == ["report"]
    assert upgrade_line("upgrade.toml").verdict()["kind"] == "retrieval"


def test_a_step_that_was_killed_before_it_was_noted_is_repeated(url: str) -> None:
    begin(url, "--rows", 300)
    line = upgrade_line("upgrade.toml")
    step = line.states()[0].step
    run(*line.begin(step))  # and then the process is killed
    stale = line.states()[0]
    assert (stale.state, stale.reason) == ("stale", "its step did not finish")
    assert line.begin(step)[-1] == "--overwrite"


def test_a_kill_amid_embedding_loses_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(url, "--rows", 300)
    log = tmp_path / "log.txt"
    monkeypatch.setenv("WORDS_LOG", str(log))
    words = [sys.executable, "-m", "embcompat", "upgrade", "run"]
    process = subprocess.Popen(words, env={**os.environ, "WORDS_SECONDS": "0.5"}, stderr=subprocess.DEVNULL)
    parts = Path("upgrade/.new.parquet.parts")
    deadline = time.monotonic() + 60
    while not parts.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert parts.exists()
    assert not Path("upgrade/new.parquet").exists()
    log.write_text("")
    assert run_until("embed") == ["embed"]
    assert len(log.read_text().splitlines()) <= 300 - 64  # one chunk was kept for sure
    assert not parts.exists()


def judged(path: Path, url: str) -> None:
    with closing(open_store(url)):
        rows = lancedb.connect(url.removeprefix("lancedb://").partition("#")[0]).open_table("docs").to_arrow()
    texts = rows.column("body").to_pylist()
    with path.open("w") as stream:
        stream.writelines(json.dumps({"id": f"q{row}", "text": texts[row]}) + "\n" for row in range(0, 400, 10))
    path.with_name("qrels.tsv").write_text("".join(f"q{row} 0 {row} 1\n" for row in range(0, 400, 10)))


def test_queries_as_texts_are_embedded_with_both_models(url: str) -> None:
    judged(Path("queries.jsonl"), url)
    more = ["--queries", "queries.jsonl", "--qrels", "qrels.tsv"]
    begin(url, "--rows", 200, *more, "--old-extractor", "words", "--old-option", "version=1")
    output = run("upgrade", "run").stderr
    for name in ("old", "new"):
        assert f"--out upgrade/{name}-queries.parquet" in output
    assert "--include qrels.tsv" in output
    result = json.loads(Path("upgrade/evaluation.json").read_text())
    assert (result["relevance"], result["queries"]) == ("qrels", 40)


def test_titles_ask_for_their_items_where_nobody_has_judged(url: str) -> None:
    judged(Path("queries.jsonl"), url)
    rows = [json.loads(line) for line in Path("queries.jsonl").read_text().splitlines()]
    items = [
        {"id": row["id"][1:], "title": " ".join(row["text"].split()[::-1][:3]), "body": row["text"]} for row in rows
    ]
    Path("docs.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    more = ["--items", "docs.jsonl", "--title-column", "title", "--old-extractor", "words"]
    begin(url, "--rows", 200, *more, "--old-option", "version=1")
    assert run_until("sample") == ["queries", "embed", "embed", "sample"]
    assert len(Embeddings.load("upgrade/new-queries.parquet")) == 40
    assert len(Embeddings.load("upgrade/old.parquet")) == 240
    assert "--include upgrade/judged/qrels.tsv" in run("upgrade", "status").stdout


def test_the_environment_stands_for_options(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"gallery": url, "text_column": "body", "extractor": "words", "old_space": "words@1"}.items():
        monkeypatch.setenv(f"EMBCOMPAT_{name.upper()}", value)
    run("upgrade", "init", "--rows", 250, "--weigh-queries")
    upgrade = read_upgrade(Path("upgrade.toml"))
    assert (upgrade.gallery, upgrade.old_space, upgrade.rows) == (url, "words@1", 250)
    assert upgrade.weigh_queries


def test_secrets_are_not_printed_or_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret: dict[str, Any] = {"gallery": "postgresql://me:hunter22@localhost/shop#items.v"}
    words = ["upgrade", "init", "--gallery", secret["gallery"], "--text-column", "body", "--extractor", "words"]
    run(*words, "--old-space", "words@1")
    assert "hunter22" not in run("upgrade", "status").stdout
    line = upgrade_line("upgrade.toml")
    line.begin(line.states()[0].step)
    line.finish(line.states()[0].step)
    assert "hunter22" not in Path("upgrade/steps.json").read_text()
    assert "hunter22" not in repr(line)
