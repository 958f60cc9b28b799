"""The page in a real browser: it draws, asks nothing of a network, and says nothing on the console."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Tab, find_browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = find_browser()
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
    tab.open(file.as_uri(), dark=dark)
    requested = [
        event["params"]["request"]["url"] for event in tab.events if event.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in requested if not url.startswith("data:")] == [file.as_uri()]
    assert tab.evaluate("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0
    assert tab.complaints() == []
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
    tab.open(file.as_uri())
    heights, light = tab.evaluate(sizes), tab.evaluate(strokes)
    assert len(heights) == 13
    assert min(heights) > 100
    tab.open(file.as_uri(), dark=True)
    assert light
    assert set(light).isdisjoint(tab.evaluate(strokes))


@pytest.mark.parametrize("width", [1200, 760, 390])
def test_it_is_never_wider_than_the_window(tab: Tab, file: Path, width: int) -> None:
    tab.open(file.as_uri(), width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_text_stays_inside_its_picture(tab: Tab, file: Path) -> None:
    tab.open(file.as_uri())
    outside = """[...document.querySelectorAll('figure svg')].flatMap(svg => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(text => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left - 2 || box.right > frame.right + 2 || box.bottom > frame.bottom + 2;
        }).map(text => text.textContent);
    })"""
    assert tab.evaluate(outside) == []


def test_it_prints_with_the_tables_open(tab: Tab, file: Path) -> None:
    tab.open(file.as_uri())
    printed = base64.b64decode(tab.call("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")
    tab.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert tab.evaluate("document.querySelector('details table').getBoundingClientRect().height") > 50
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
