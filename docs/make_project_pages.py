"""Copy the changelog and the page on recipes into docs/project: ``python docs/make_project_pages.py``."""

from __future__ import annotations

import os
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
SOURCES = {"project/changelog.md": "CHANGELOG.md", "project/recipes.md": "recipes/README.md"}
LINK = re.compile(r"!?\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def make_pages() -> dict[str, str]:
    """Return the pages by their paths below docs; links to pages of the site lead there, others become paths."""
    return {name: _copy(DOCS.parent / source, DOCS / name) for name, source in SOURCES.items()}


def _copy(source: Path, page: Path) -> str:
    def link(match: re.Match[str]) -> str:
        label, target, anchor = match.groups(default="")
        path = (source.parent / target).resolve()
        if path.suffix == ".md" and path.is_relative_to(DOCS):
            return f"[{label}]({os.path.relpath(path, page.parent)}{anchor})"
        place = f"`{path.relative_to(DOCS.parent)}`"
        return place if label in (path.name, target) else f"{label} ({place})"

    return LINK.sub(link, source.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for name, text in make_pages().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
