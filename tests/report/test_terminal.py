from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from embcompat.errors import InputError
from embcompat.report.terminal import show_result
from embcompat.results import KINDS


def shown(result: dict[str, Any], **options: Any) -> str:
    stream = io.StringIO()
    show_result(result, Console(file=stream, width=80, highlight=False, **options))
    return stream.getvalue()


def test_every_kind_fits_80_columns_and_is_plain_when_piped(results: list[dict[str, Any]]) -> None:
    for result in results:
        text = shown(result)
        assert max(len(line) for line in text.splitlines()) <= 80
        assert "\x1b" not in text
        assert "…" not in text


def test_a_terminal_gets_emphasis(demo: dict[str, Any]) -> None:
    assert "\x1b[" in shown(demo, force_terminal=True, color_system="standard", legacy_windows=False)


def test_it_begins_with_the_notes_and_ends_with_the_verdict(demo: dict[str, Any]) -> None:
    lines = [line.strip() for line in shown(demo).splitlines() if line.strip()]
    assert lines[0] == "Every figure on this page is made up."
    assert lines[-2:] == ["Convert the gallery", "This verdict is made up. At query time it needs the new model."]


def test_the_figures_are_there(demo: dict[str, Any], verification: dict[str, Any]) -> None:
    search, faces = shown(demo), shown(verification)
    assert re.search(r"Converted, as served +0\.330 +0\.310 to 0\.350 +\+0\.050 \(\+0\.030 to \+0\.070\)", search)
    assert "of a full reindex, 71.0\xa0% to ∞" in search
    assert "S3" in faces
    assert "1\xa0in\xa05,000" in faces
    assert "none\xa0in\xa010,000" in faces


def test_ways_that_re_embed_a_part_are_listed(demo: dict[str, Any]) -> None:
    text = shown(demo)
    for cell in ("lazy 10, fused", "41.0\xa0%", "backfill 20\xa0%", "93.0\xa0%"):
        assert cell in text


def test_lazy_backfill_is_shown_for_the_first_query_too(demo: dict[str, Any]) -> None:
    text = shown(demo)
    assert text.count("first query") == 1, text
    assert "61.0\xa0%" in text


def test_a_missing_key_is_left_out_or_named(results: list[dict[str, Any]]) -> None:
    for result in results:
        required = {name for name, field in KINDS[result["kind"]].model_fields.items() if field.is_required()}
        for key in result.keys() - {"kind"}:
            rest = {name: value for name, value in result.items() if name != key}
            if key in required:
                with pytest.raises(InputError, match=f"{key}: Field required"):
                    shown(rest)
            else:
                assert "None" not in shown(rest)


@pytest.mark.parametrize("kind", ["retrieval", "demo"])
def test_nothing_measured_is_no_error(kind: str) -> None:
    assert "None" not in shown({"kind": kind, "metric": "mrr"})
