"""Open the documentation and a report in a real browser: console errors, width, accessibility (axe-core), and pictures.

Needs Chromium, npm and the network for axe-core, so it is no part of the tests. After `make docs` and `make demo`:
``python .ci/pages.py demo-out/report.html [FOLDER OF PICTURES]``. Exits with 1 if there is a complaint.
"""

import base64
import functools
import http.server
import json
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import Tab, find_browser  # noqa: E402

SITE = ROOT / "docs" / "_site"
PAGES = (
    "index.html",
    "quickstart.html",
    "tutorials/upgrade-text-search.html",
    "how-to/migrate-postgresql.html",
    "questions/pairs-time-money.html",
    "concepts/other-ways.html",
    "reference/cli.html",
    "reference/cli/migrate.html",
    "reference/stores.html",
)
WIDTHS = (1280, 390)
AXE = "axe-core@4"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def fetch_axe(folder: Path) -> str:
    """Return the source of axe-core."""
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, capture_output=True)
    with tarfile.open(next(folder.glob("axe-core-*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def check_page(tab: Tab, url: str, axe: str, picture: Path, *, dark: bool, width: int) -> list[str]:
    """Open a page, take its picture, and return what is wrong with it."""
    if url.startswith("http"):
        tab.open(url, dark=dark, width=width)
        tab.evaluate("localStorage.clear()")  # the theme remembers the scheme of the page before
    tab.open(url, dark=dark, width=width)
    time.sleep(0.5)  # scripts of the page that run after it has loaded
    tab.evaluate("0")
    shown = tab.call("Page.captureScreenshot", format="png")["data"]
    picture.write_bytes(base64.b64decode(shown))
    complaints = [json.dumps(event["params"])[:300] for event in tab.complaints()]
    wide = tab.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        complaints.append(f"{wide} pixels wide in a window of {width}")
    height = tab.evaluate("document.documentElement.scrollHeight")
    tab.evaluate(f"{axe};0")
    options = json.dumps({"runOnly": TAGS, "resultTypes": ["violations"]})
    result = tab.evaluate(f"axe.run(document, {options}).then(result => JSON.stringify(result.violations))")
    for violation in json.loads(result):
        nodes = violation["nodes"]
        first = f"{nodes[0]['target']} {nodes[0]['html'][:120]}"
        complaints.append(f"axe {violation['id']} ({violation['impact']}), {len(nodes)} times: {first}")
    print(f"{url}  width {width}, {'dark' if dark else 'light'}, height {height}: {len(complaints)} complaints")
    for complaint in complaints:
        print(f"    {complaint}", flush=True)
    return complaints


def main() -> None:
    """Check every page at both widths and in both colour schemes."""
    report = Path(sys.argv[1]).resolve()
    pictures = Path(sys.argv[2] if len(sys.argv) > 2 else "pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    program = find_browser()
    if program is None:
        sys.exit("Chromium must be installed.")
    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    complaints: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        axe = fetch_axe(Path(folder))
        tab = Tab(program, Path(folder))
        try:
            urls = {page: f"http://127.0.0.1:{server.server_port}/{page}" for page in PAGES}
            urls["report.html"] = report.as_uri()
            for name, url in urls.items():
                for width in WIDTHS:
                    for dark in (False, True):
                        scheme = "dark" if dark else "light"
                        stem = name.removesuffix(".html").replace("/", "-")
                        picture = pictures / f"{stem}-{width}-{scheme}.png"
                        complaints += check_page(tab, url, axe, picture, dark=dark, width=width)
        finally:
            tab.close()
            server.shutdown()
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
