"""The page in a real browser: it draws, asks nothing of a network, and says nothing on the console."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE_SECONDS = 60


class Tab:
    """One tab of a headless browser, spoken to over a pipe in the DevTools protocol."""

    def __init__(self, program: str, folder: Path) -> None:
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in (theirs_in, theirs_out)]
        log = os.open(folder / "browser.log", os.O_WRONLY | os.O_CREAT, 0o600)
        actions = [(os.POSIX_SPAWN_DUP2, *pair) for pair in ((high[0], 3), (high[1], 4), (log, 1), (log, 2))]
        command = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self._process = os.posix_spawn(program, command, os.environ, file_actions=actions, setpgroup=0)
        for end in (theirs_in, theirs_out, log, *high):
            os.close(end)
        os.set_blocking(self._read, False)
        self._buffer, self._sent, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path, *, dark: bool = False, width: int = 1200) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="screen", features=features)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=1600, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self.methods():
            self.events.append(self._receive())

    def methods(self) -> list[str]:
        return [event.get("method", "") for event in self.events]

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)

    def _receive(self) -> dict[str, Any]:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while b"\0" not in self._buffer:
            assert time.monotonic() < give_up, "the browser does not answer"
            try:
                part = os.read(self._read, 1 << 20)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no headless browser is installed")
    tab = Tab(program, tmp_path_factory.mktemp("browser"))
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def colours(picture: str) -> tuple[tuple[int, int, int], int]:
    """Return the colour of the first pixel of a PNG, and how many colours there are."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        result = image.convert("RGB").getcolors(maxcolors=1 << 24)
        corner = image.convert("RGB").getpixel((0, 0))
    assert result is not None
    assert isinstance(corner, tuple)
    return corner, len(result)


@pytest.mark.parametrize("dark", [False, True])
def test_it_renders_without_requests_or_complaints(tab: Tab, file: Path, dark: bool) -> None:
    tab.open(file, dark=dark)
    requested = [
        event["params"]["request"]["url"] for event in tab.events if event.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in requested if not url.startswith("data:")] == [file.as_uri()]
    assert tab.evaluate("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0
    complaints = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
    assert not complaints & set(tab.methods())
    corner, count = colours(tab.call("Page.captureScreenshot", format="png")["data"])
    assert (sum(corner) < 150) is dark
    assert (sum(corner) > 700) is not dark
    assert count > 100


def test_every_picture_is_drawn_in_the_pages_colours(tab: Tab, file: Path) -> None:
    sizes = "[...document.querySelectorAll('figure svg')].map(svg => svg.getBoundingClientRect().height)"
    strokes = (
        "[...new Set([...document.querySelectorAll('figure svg [style*=\"var(--converted)\"]')]"
        ".map(shape => getComputedStyle(shape).stroke))].filter(stroke => stroke != 'none')"
    )
    tab.open(file)
    heights, light = tab.evaluate(sizes), tab.evaluate(strokes)
    assert len(heights) == 13
    assert min(heights) > 100
    tab.open(file, dark=True)
    assert light
    assert set(light).isdisjoint(tab.evaluate(strokes))


@pytest.mark.parametrize("width", [1200, 760, 390])
def test_it_is_never_wider_than_the_window(tab: Tab, file: Path, width: int) -> None:
    tab.open(file, width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_text_stays_inside_its_picture(tab: Tab, file: Path) -> None:
    tab.open(file)
    outside = """[...document.querySelectorAll('figure svg')].flatMap(svg => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(text => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left - 2 || box.right > frame.right + 2 || box.bottom > frame.bottom + 2;
        }).map(text => text.textContent);
    })"""
    assert tab.evaluate(outside) == []


def test_it_prints_with_the_tables_open(tab: Tab, file: Path) -> None:
    tab.open(file)
    printed = base64.b64decode(tab.call("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")
    tab.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert tab.evaluate("document.querySelector('details table').getBoundingClientRect().height") > 50
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
