"""Progress on a real terminal, and in plain lines where the output is piped."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

LONG_WORK = """
import time
from embcompat.cli import progress
from embcompat.cli.progress import show_step
progress.PLAIN_LINE_SECONDS = 0.0
with progress.track("Embedding", 40, unit="items") as advance:
    for _ in range(40):
        time.sleep(0.01)
        advance(1)
with progress.track("Counting", None, unit="words") as advance:
    for _ in range(20):
        time.sleep(0.01)
        advance(3)
progress.SIGN_OF_LIFE_SECONDS = progress.STATUS_SECONDS = 0.05
with show_step("Building the index", lambda: "loading tuples, 45%"):
    time.sleep(0.4)
"""


def run_on_terminal(code: str) -> str:
    """Run Python with a terminal of 100 columns for its messages, and return what that was sent."""
    ours, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_a_terminal_shows_bar_rate_and_time_left_and_is_left_clean() -> None:
    sent = run_on_terminal(LONG_WORK)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    assert re.search(r"Embedding .*40/40 +[\d,]+ items/s +\d:\d\d:\d\d", plain)
    assert re.search(r"Counting .*60/\? +[\d,]+ words/s", plain)
    assert re.search(r"Building the index: loading tuples, 45% +\d:\d\d:\d\d", plain)
    assert "Embedding: " not in plain  # the line of a pipe
    assert sent.count("\x1b[2K") >= 3  # each bar is erased in the end


def test_a_pipe_gets_lines_without_control_characters() -> None:
    outcome = subprocess.run([sys.executable, "-c", LONG_WORK], capture_output=True, text=True, check=True)
    assert outcome.stdout == ""
    assert "\x1b" not in outcome.stderr
    assert "\r" not in outcome.stderr
    lines = outcome.stderr.splitlines()
    assert re.fullmatch(r"Embedding: 20 of 40 items, [\d,]+ items/s, [\d.]+ m?s left", lines[19])
    assert re.fullmatch(r"Counting: 60 words, [\d,]+ words/s", lines[59])
    assert lines[60] == "Building the index …"
    assert re.fullmatch(r"Building the index: \d+ ms so far, loading tuples, 45%", lines[61])
