from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import InputError, MissingExtraError
from embcompat.report import write_report
from embcompat.report.html import render_report

POINT = {"mode": "convert", "share_of_reindex": 0.1, "difference": {"value": 0.1}, "retention": {"value": 0.9}}
VOID = {"meta", "link", "br"}


class Outline(HTMLParser):
    """What a reader without eyes gets: headings, ids, labels, and whether every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title", "desc"):
            self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_every_tag_is_closed_and_every_id_is_unique(outline: Outline) -> None:
    assert outline.open == []
    ids = outline.values("id")
    assert len(ids) == len(set(ids))


def test_references_lead_inside_the_page(page: str, outline: Outline) -> None:
    ids = set(outline.values("id"))
    for name in ("aria-labelledby", "href"):
        for target in " ".join(outline.values(name)).split():
            assert target == "data:," or target.removeprefix("#") in ids
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= ids
    assert "xlink" not in page


def test_nothing_is_asked_of_a_network(page: str, outline: Outline) -> None:
    assert not re.findall(r"(?:src|href|action|data)\s*=\s*[\"']?(?:https?:)?//", page)
    assert not re.findall(r"url\(\s*[\"']?(?!#)", page)
    assert "@import" not in page
    assert not {tag for tag, _ in outline.tags} & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "video",
    }
    assert not outline.values("src")


def test_pictures_have_names_and_the_same_figures_as_tables(page: str, outline: Outline) -> None:
    drawings = [attributes for tag, attributes in outline.tags if tag == "svg"]
    assert len(drawings) == 13
    assert all(attributes["role"] == "img" and attributes["aria-labelledby"] for attributes in drawings)
    assert page.count("<desc ") == len(drawings)
    assert len([tag for tag, _ in outline.tags if tag == "table"]) == 14


def test_headings_descend_by_one(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - original <= 1 for original, after in pairwise(levels))


def test_colours_and_fonts_are_the_pages_own(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) == set()
    assert "font-family" not in drawings
    used = set(re.findall(r"var\((--[a-z]+)\)", page))
    assert used <= set(re.findall(r"(--[a-z]+):", page))
    dark = page[page.index("prefers-color-scheme: dark") :].partition("\n}\n")[0]
    assert used <= set(re.findall(r"(--[a-z]+):", dark))


def test_the_page_says_what_was_found(outline: Outline) -> None:
    text = re.sub(r"[ \n]+", " ", " ".join(outline.text))
    for sentence in (
        "Made-up report",
        "made-old@1 → made-new@2",
        "Convert the gallery",
        "Stay with the old model",
        "At query time it needs the new model.",
        "Every figure on this page is made up.",
        "76.7\xa0%",
        "of a full reindex, 71.0\xa0% to ∞",
        "+0.050 (+0.030 to +0.070)",
        "1 min 32 s",
        "16×",
        "converted – new",
        "none\xa0in\xa010,000",
        "area under the curve",
        "No fused: this reason is made up.",
        "500 are enough (dotted)",
        "embcompat 0",
        "What the words add",
        "7 rows hold no known word",
    ):
        assert sentence in text


def test_checks_and_single_queries_are_shown(page: str, outline: Outline) -> None:
    text = re.sub(r"[ \n]+", " ", " ".join(outline.text))
    assert "1 of 2 checks passed" in text
    assert "Failed: The figures are real" in text
    assert "Passed: The page is drawn" in text
    assert "1 are better, 1 are worse and 118 equal" in text
    assert "<i>" not in page
    row = '<th scope="row">q&lt;1&gt;: made-up &lt;i&gt;text&lt;/i&gt;</th><td>1,234</td><td>2</td><td>+0.600</td>'
    assert row in page


def test_verdict_and_three_numbers_stand_above_the_first_picture(demo: dict[str, Any]) -> None:
    page = render_report([demo])
    above = page[page.index("<main>") : page.index("<svg")]
    assert "This verdict is made up." in above
    assert above.count('<dd class="value">') == 3
    assert '<dd class="value">25.0\xa0%</dd><dd class="detail">of what a full reindex embeds</dd>' in above
    assert "2026-02-03 04:05 UTC" in above
    assert "none, made up" in above
    assert "Every figure on this page is made up." not in above


def test_the_contents_lead_to_every_part(demo: dict[str, Any]) -> None:
    contents = re.findall(r"<nav.*?</nav>", render_report([demo]), flags=re.DOTALL)[0]
    parts = ["", "-evidence", "-pictures", "-texts", "-queries", "-examples", "-provenance"]
    assert re.findall(r'href="#part1([^"]*)"', contents) == parts


def test_what_stands_behind_the_reason_is_listed() -> None:
    because = ["It keeps 92 % of a reindex.", "It needs <nothing>."]
    result = {"kind": "retrieval", "metric": "mrr", "decision": "convert", "reason": "Better.", "because": because}
    page = render_report([result])
    assert "<li>It keeps 92\xa0% of a reindex.</li>" in page
    assert "<li>It needs &lt;nothing&gt;.</li>" in page


def test_a_negative_gap_is_no_percentage() -> None:
    gap = {"gap": -4.18, "gap_interval": [-6.0, -2.0]}
    page = render_report([{"kind": "retrieval", "metric": "mrr", **gap}])
    assert "the converted gallery is worse than today" in page
    assert "418" not in page


def test_what_a_result_says_is_escaped(page: str) -> None:
    assert "a &lt;b&gt;made-up&lt;/b&gt; query" in page
    assert "<b>" not in page


def test_the_page_is_written_as_it_is_rendered(tmp_path: Path, learning_curve: dict[str, Any]) -> None:
    path = write_report([learning_curve], tmp_path / "report.html", title="Made-up curve")
    assert path.read_bytes() == render_report([learning_curve], title="Made-up curve").encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_another_process_and_another_style_give_the_same_bytes(results: list[dict[str, Any]], page: str) -> None:
    code = """
import json, matplotlib, sys
matplotlib.rcParams.update({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"})
from embcompat.report.html import render_report
sys.stdout.write(render_report(json.load(sys.stdin), title="Made-up report"))
assert matplotlib.rcParams["font.size"] == 30
"""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=json.dumps(results),
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == page


def test_the_hybrid_of_each_line_is_drawn_and_tabulated(demo: dict[str, Any]) -> None:
    page = render_report([demo])
    assert "Hybrid search" in page
    assert '<th scope="row">Lexical run alone</th><td>0.310</td>' in page
    converted = re.search(r'<th scope="row">Converted</th><td>0\.380</td><td>(.*?)</td><td>0\.390</td>', page)
    assert converted is not None
    assert converted[1].startswith("+0.050")
    without = {name: value for name, value in demo.items() if name != "hybrid"}
    assert "Hybrid search" not in render_report([without])


@pytest.mark.parametrize(
    ("result", "pictures"),
    [
        ({"kind": "retrieval", "metric": "mrr"}, 0),
        ({"kind": "demo", "metric": "mrr", "converted": 0.0}, 1),
        ({"kind": "retrieval", "metric": "mrr", "convert_seconds": 3.0}, 0),
        ({"kind": "retrieval", "metric": "mrr", "budget": [POINT]}, 1),
        ({"kind": "retrieval", "metric": "mrr", "hybrid": {"lexical": {"value": 0.1}, "lines": {}}}, 0),
    ],
)
def test_missing_pieces_are_left_out(result: dict[str, Any], pictures: int) -> None:
    page = render_report([result])
    outline = Outline(page)
    assert page.count("<svg") == pictures
    assert "None" not in " ".join(outline.text)
    assert "Verdict" not in page
    assert "Provenance" not in page


def test_a_report_needs_a_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one result"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(InputError, match="result 2 must name its kind"):
        write_report([{"kind": "retrieval", "metric": "mrr"}, {}], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, learning_curve: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'embcompat\[report\]'"):
        render_report([learning_curve])


def test_importing_the_report_imports_no_matplotlib() -> None:
    code = "import sys, embcompat.report, embcompat.report.terminal; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_evaluations_return_is_shown(split: PairSplit) -> None:
    from embcompat.aligners import fit_affine
    from embcompat.evaluation.retrieval.evaluate import evaluate_retrieval
    from embcompat.evaluation.retrieval.qrels import Qrels
    from embcompat.evaluation.verification.report import evaluate_verification

    old, new = split.test.source, split.test.target
    vectors = fit_affine(split.train, split.validation).transform(old.vectors)
    converted = Embeddings(vectors, old.ids, new.space)
    search = evaluate_retrieval(
        old_queries=old,
        new_queries=new,
        old_gallery=old,
        new_gallery=new,
        converted=converted,
        qrels=Qrels.one_each(old.ids.tolist()),
        fused_weights=(0.5,),
    )
    labels = [f"subject-{row // 2}" for row in range(len(old))]
    sides = [Embeddings(side.vectors, side.ids, side.space, labels) for side in (old, new, converted)]
    faces = evaluate_verification(*sides, replicates=20)
    page = render_report([{"kind": "retrieval", **search.to_dict()}, {"kind": "verification", **faces.to_dict()}])
    assert page.count("<svg") >= 3
    assert f"{search.lines['converted'].value:.3f}" in page
    assert np.isfinite(faces.same_item_distance)
    assert f"{faces.same_item_distance:.3f} apart" in page


def test_groups_of_people_get_a_picture_and_their_figures(split: PairSplit) -> None:
    from embcompat.evaluation.verification import evaluate_verification

    labels = [f"subject-{row // 2}" for row in range(len(split.test))]
    old, new = (
        Embeddings(side.vectors, side.ids, side.space, labels) for side in (split.test.source, split.test.target)
    )
    groups = {name: ("<i>one</i>", "two")[number % 2] for number, name in enumerate(sorted(set(labels)))}
    faces = evaluate_verification(old, new, new, groups=groups, all_images=True, replicates=20)
    page = render_report([{"kind": "verification", **faces.to_dict()}])
    assert "Groups of people" in page
    assert "<i>one</i>" not in page
    assert page.count("&lt;i&gt;one&lt;/i&gt;") >= 3
    without = faces.to_dict()
    del without["groups"]
    assert "Groups of people" not in render_report([{"kind": "verification", **without}])
