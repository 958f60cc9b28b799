"""Take the pictures of the report that the documentation shows, light and dark, with a headless Chromium.

python docs/make_screenshots.py demo-out/report.html
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
SCHEMES = {"light": "1", "dark": "0"}
SIZE = (1120, 1120)


def take(program: str, page: Path, image: Path, scheme: str) -> None:
    """Write a picture of the top of a page."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--screenshot={image.resolve()}",
            page.resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take pictures of a report, light and dark.")
    parser.add_argument("page", type=Path, help="what `embcompat demo` or `embcompat report` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images", help="folder of the pictures")
    options = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit(f"A headless browser is needed, one of {', '.join(BROWSERS)}.")
    if not options.page.is_file():
        sys.exit(f"{options.page} does not exist. Write it with: embcompat demo")
    options.out.mkdir(parents=True, exist_ok=True)
    for scheme in SCHEMES:
        image = options.out / f"report-{scheme}.png"
        take(program, options.page, image, scheme)
        print(image)


if __name__ == "__main__":
    main()
