"""Writers of a registry that are killed at random moments: what was acknowledged is there, nothing is half there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embcompat.registry import Registry
from tests.registry.conftest import artifact, space

KILLED = """
import json, os, random, signal, sys, threading, time
from pathlib import Path
from embcompat.artifact import read_artifact
from embcompat.errors import EmbcompatError
from embcompat.registry import Registry

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def work(url, log, artifacts, seed):
    rng = random.Random(seed)
    threading.Timer(rng.uniform(0.005, 0.15), kill).start()
    acknowledged = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    number = 0
    while True:
        registry, artifact = Registry(url), read_artifact(rng.choice(artifacts))
        number += 1
        label = f"label-{seed}-{number}"
        try:
            registry.publish(artifact)
            os.write(acknowledged, json.dumps(["publish", artifact.id]).encode() + b"\\n")
            registry.promote(label, artifact.id)
            os.write(acknowledged, json.dumps(["promote", label, artifact.id]).encode() + b"\\n")
        except EmbcompatError:
            pass
        if number % 5 == 0:
            registry.add_space(artifact.source, reference=os.urandom(64))
            registry.gc(dry_run=False)

def check(url, log):
    registry = Registry(url)
    assert registry.verify() == (), registry.verify()
    lines = Path(log).read_text().splitlines() if Path(log).exists() else []
    acknowledged = [json.loads(line) for line in lines]
    there = {entry.id for entry in registry.list_aligners()}
    labels = registry.standing().labels
    for action, *what in acknowledged:
        if action == "publish":
            assert what[0] in there, what
        else:
            assert labels[what[0]] == what[1], what
    return len(acknowledged)

url, log, rounds, writers, *artifacts = sys.argv[1:]
for path in artifacts:
    read_artifact(path).graph()  # imports what publishing imports, once for all
for number in range(int(rounds)):
    children = []
    for writer in range(int(writers)):
        child = os.fork()
        if child == 0:
            work(url, log, artifacts, number * int(writers) + writer)
            os._exit(1)
        children.append(child)
    for child in children:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    count = check(url, log)
print(count)
"""


@pytest.mark.parametrize(
    ("rounds", "writers"), [(3, 2), pytest.param(60, 3, marks=pytest.mark.soak)], ids=["short", "soak"]
)
def test_writers_that_are_killed_at_random_moments(rounds: int, writers: int, disk: Registry, tmp_path: Path) -> None:
    paths = [
        str(artifact(tmp_path / f"a{number}", space("3"), space(f"1{number}"), number).path) for number in range(4)
    ]
    command = [sys.executable, "-c", KILLED, disk.url, str(tmp_path / "log"), str(rounds), str(writers), *paths]
    child = subprocess.run(command, check=False, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    *codes, _ = child.stdout.split()
    assert codes == [str(-signal.SIGKILL)] * (rounds * writers)
    for path in paths:  # and the registry still takes all that a writer has to give
        disk.publish(path)
    assert len(disk.list_aligners()) == len(paths)
    assert disk.verify() == ()
