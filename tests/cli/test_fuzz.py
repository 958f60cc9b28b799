"""Every command takes what nobody should pass it, and answers in words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
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
VALUES = ["-1", "0", "nan", "1e400", "", "%zz", "[/b]", "\x1b[0m", "/dev/null", "/dev/full", "/", "x" * 300, "a\nb"]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))  # type: ignore[arg-type]
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
    return code, capfd.readouterr().err


def check(words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    code, text = answer(words, monkeypatch, capfd)
    assert code in (0, 1, 2, 3), words
    assert "Traceback" not in text, words
    assert "unexpected" not in text.partition("\n")[0], (words, text)
    assert "\x1b[31mred" not in text, words


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in SKIPPED], ids=" ".join)
def test_every_command_answers_in_words(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("vectors.npy", np.ones((4, 8), np.float32))
    parameters = COMMANDS[path].params
    arguments = [parameter for parameter in parameters if isinstance(parameter, click.Argument)]
    options = [parameter for parameter in parameters if isinstance(parameter, click.Option) and not parameter.is_flag]
    check([*path], monkeypatch, capfd)
    for number, value in enumerate(VALUES):
        if number % 3 == len(path[-1]) % 3:  # each command a third of them: together all
            check([*path, *[value] * len(arguments)], monkeypatch, capfd)
        for option in options[number % len(VALUES) :: len(VALUES)]:
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
