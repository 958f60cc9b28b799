"""Every command takes what nobody should pass it, and answers in words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from embcompat.aligners import fit_affine
from embcompat.cli import app, main
from embcompat.embeddings import PairSplit
from embcompat.export import save_artifact

ADDRESSES = [
    "faiss:///",
    "faiss://",
    "lancedb:///",
    "lancedb:///#docs.vector",
    "lancedb:///x#docs.vector?nosuch=1",
    "lancedb:///x#docs.vector?key=%zz",
    "postgresql://h:99999/d#t.v",
    "postgresql://h:port/d#t.v",
    "postgresql://[::1/d#t.v",
    "postgresql:///d?nosuch=1#t.v",
    "postgresql://u:%zz@127.0.0.1:1/d#t.v",
    "qdrant+http://127.0.0.1:99999#alias",
    "qdrant+http://127.0.0.1:port#alias",
    "qdrant+http://[::1#alias",
    "qdrant+http://#alias",
    "qdrant+local:///nowhere#a",
    "nosuch://x#y",
    "://",
    "#",
    "",
    "\x1b[31mred",
    "[link=x]y[/b]",
]
VERBS = ["plan", "run", "status", "abort", "sweep"]
NUMBERS = ["-1", "0", "-0.0", "nan", "-inf", "1e400", "1e-400", "9" * 30, "1" * 400, "1_000", "0x10", " 1", "\u0661"]
TEXTS = ["", "-", "%zz", "[/b]", "\x1b[31mred", "\x07", "\u202egpj", "\udcff", "e\u0301", "\ufffe", "x" * 300, "a\nb"]
SECRETS = [
    "s3://key:hunter2222@bucket/team",
    "postgresql://me:hunter2222/@l%?#@127.0.0.1:1/d#t.v",
    "qdrant+http://127.0.0.1:1/?api_key=hunter2222#a",
]
HOSTILE: dict[str, bytes] = {
    "empty.parquet": b"",
    "latin.jsonl": b'{"id": "\xe9", "text": "x"}\n',
    "half.jsonl": b'{"id": "\\ud800", "text": "\\ud800"}\n{"id": "e\\u0301", "text": "[/b]"}\n',
    "huge.jsonl": b'{"id": ' + b"9" * 5_000 + b', "text": "x", "vector": [1e999, NaN]}\n',
    "deep.json": b"[" * 100_000,
    "zero.csv": b"id,text\n\x00,\x00\n",
}
PLACES = [
    "/dev/null",
    "/dev/full",
    ".",
    "loop",
    "unreadable/x",
    "file:///etc/passwd",
    "nan.npy",
    "a.npy#x?key=",
    *HOSTILE,
]
VALUES = [*NUMBERS, *TEXTS, *SECRETS, *PLACES]
ARGUMENT_ROUNDS = 2
"""Values that each command gets as arguments; together the commands get all."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))
assert ("migrate", "run") in COMMANDS, "groups must be entered"
SKIPPED = {("demo",)}  # long, and tried in its own tests


@pytest.fixture(scope="module")
def artifact(split: PairSplit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "old-to-new"
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    return save_artifact(fit_affine(split.train, split.validation), path, split=split, **spaces).path


def answer(words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command as the shell does; return its exit code and what it says of an error."""
    monkeypatch.setattr(sys, "argv", ["embcompat", *words])
    try:
        main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    captured = capfd.readouterr()
    assert "hunter2222" not in captured.out + captured.err, words
    for control in ("\x1b[31m", "\x07", "\u202e"):
        assert control not in captured.out + captured.err, words
    return code, captured.err


def lay_traps(folder: Path) -> None:
    """Make the files that `PLACES` names."""
    np.save(folder / "vectors.npy", np.ones((4, 8), np.float32))
    np.save(folder / "nan.npy", np.full((4, 8), np.nan, np.float32))
    (folder / "loop").symlink_to("loop")
    (folder / "unreadable").mkdir(mode=0o000)
    for name, content in HOSTILE.items():
        (folder / name).write_bytes(content)


def check(words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    code, text = answer(words, monkeypatch, capfd)
    assert code in (0, 1, 2, 3), words
    assert "Traceback" not in text, words
    assert "unexpected" not in text.partition("\n")[0], (words, text)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in SKIPPED], ids=" ".join)
def test_every_command_answers_in_words(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lay_traps(tmp_path)
    parameters = COMMANDS[path].params
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [each for each in parameters if each.param_type_name == "option" and not each.is_flag]
    check([*path], monkeypatch, capfd)
    first = list(COMMANDS).index(path) * ARGUMENT_ROUNDS
    for number in range(first, first + ARGUMENT_ROUNDS):
        check([*path, *[VALUES[number % len(VALUES)]] * len(arguments)], monkeypatch, capfd)
    for number, option in enumerate(options, start=first):
        value = VALUES[7 * number % len(VALUES)]
        check([*path, *["vectors.npy"] * len(arguments), option.opts[0], value], monkeypatch, capfd)


@pytest.mark.parametrize("url", ADDRESSES)
def test_every_address_is_answered_in_words(
    url: str, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("embcompat.stores.postgres.connection._FIRST_WAIT_SECONDS", 0)
    check(["migrate", VERBS[ADDRESSES.index(url) % len(VERBS)], str(artifact), url], monkeypatch, capfd)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_behind_the_output_is_an_error_in_words() -> None:
    with open("/dev/full", "w") as full:
        child = subprocess.run(
            [sys.executable, "-c", "from embcompat.cli import main; main()", "aligners", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert child.returncode == 1
    assert "No space left on device" in child.stderr
    assert "Traceback" not in child.stderr
    assert "Exception ignored" not in child.stderr
