"""The report as one self-contained HTML file: it opens offline, prints, and follows the reader's light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from embcompat.errors import InputError, MissingExtraError
from embcompat.report.sections import make_section
from embcompat.results import ResultFile, parse_result

TITLE: Final = "Compatibility report"


def write_report(results: Sequence[ResultFile | Mapping[str, Any]], path: str | Path, *, title: str = TITLE) -> Path:
    """Write results as one HTML page that needs nothing else.

    The same results give the same bytes. Everything is drawn as inline SVG; there is no script and no request.

    Args:
        results: What to show, in this order; JSON objects as `embcompat.results.files` describes them.
        path: The file to write; it appears only when complete.
        title: Heading of the page.

    Returns:
        The path.

    Raises:
        InputError: If there is no result, or one is not what its kind must be.
        MissingExtraError: If jinja2 or matplotlib is not installed.
    """
    from embcompat.files.writing.atomic import atomic_path

    page = render_report(results, title=title)
    target = Path(path)
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return target


def render_report(results: Sequence[ResultFile | Mapping[str, Any]], *, title: str = TITLE) -> str:
    """Return the page that `write_report` writes."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "embcompat[report]", "A report as an HTML page") from error
    if not results:
        raise InputError("a report needs at least one result. Got none.")
    checked = [
        each if isinstance(each, ResultFile) else parse_result(each, where=f"result {number}")
        for number, each in enumerate(results, start=1)
    ]
    environment = Environment(
        loader=PackageLoader("embcompat.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [make_section(result, f"part{number}") for number, result in enumerate(checked, start=1)]
    return environment.get_template("report.html.j2").render(title=title, sections=sections)
