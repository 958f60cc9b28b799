"""Draw with matplotlib and return SVG that takes its colours and font from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from embcompat.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROLES: Final = (
    "ink",
    "muted",
    "rule",
    "paper",
    "old",
    "naive",
    "converted",
    "fused",
    "new",
    "genuine",
    "impostor",
    "mark",
)
"""What is drawn, each with a colour of its own: the page defines ``--old``, ``--new`` and so on, light and dark."""

_STAND_IN: Final = {role: f"#fe01{number:02x}" for number, role in enumerate(ROLES)}
_POINTS_PER_INCH: Final = 72
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "embcompat",
    "font.size": 12,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": _STAND_IN["rule"],
    "axes.labelcolor": _STAND_IN["muted"],
    "axes.labelsize": 12,
    "axes.titlecolor": _STAND_IN["ink"],
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _STAND_IN["rule"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "text.color": _STAND_IN["ink"],
    "xtick.color": _STAND_IN["rule"],
    "ytick.color": _STAND_IN["rule"],
    "xtick.labelcolor": _STAND_IN["muted"],
    "ytick.labelcolor": _STAND_IN["muted"],
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": _STAND_IN["ink"],
    "legend.fontsize": 12,
}
_COLOURS: Final = {colour: f"var(--{role})" for role, colour in _STAND_IN.items()}
_DECIMAL = re.compile(r"-?\d+\.\d{3,}")


def colour(role: str) -> str:
    """Return the colour to draw a role with; it becomes the page's own in `draw`."""
    return _STAND_IN[role]


def draw(
    paint: Callable[[Figure], None], *, key: str, title: str, description: str, width: float = 480, height: float = 300
) -> str:
    """Draw a figure as SVG to be put into a page; the same drawing gives the same bytes.

    Args:
        paint: Draws into an empty figure.
        key: Prefix of the ids inside the SVG; unique within a page.
        title: Short name, read out instead of the picture.
        description: What the picture shows, read out after the title.
        width: In points.
        height: In points.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "embcompat[report]", "A report as an HTML page") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change the report
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained")
        paint(figure)
        stream = io.BytesIO()
        empty: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=empty, transparent=True)
    return _inline(stream.getvalue().decode(), key, title, description)


def _inline(svg: str, key: str, title: str, description: str) -> str:
    """Make an SVG document a part of a page: no namespaces, no fonts, own ids, the page's colours."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("style", "metadata") or (_local(child.tag) == "defs" and not len(child)):
                parent.remove(child)
    referenced = set(re.findall(r'(?:url\(#|xlink:href="#)([^")]+)', svg))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.attrib = _attributes(element.attrib, key, referenced)
    view = root.attrib["viewBox"]
    root.attrib = {"viewBox": view, "role": "img", "aria-labelledby": f"{key}-title {key}-description"}
    for number, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{key}-{'title' if tag == 'title' else 'description'}"})
        element.text = text
        root.insert(number, element)
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(attributes: dict[str, str], key: str, referenced: set[str]) -> dict[str, str]:
    result = {}
    for name, value in attributes.items():
        if name == "id":
            if value in referenced:
                result["id"] = f"{key}-{value}"
            continue
        text = value.replace("url(#", f"url(#{key}-")
        if _local(name) == "href":
            text = text.replace("#", f"#{key}-", 1)
        if name == "style":
            text = ";".join(part.strip() for part in text.split(";") if "font-family" not in part)
            for stand_in, colour in _COLOURS.items():
                text = text.replace(stand_in, colour)
        result[_local(name)] = _DECIMAL.sub(lambda match: f"{float(match[0]):.2f}", text).replace("\n", "")
    return result


def _local(name: object) -> str:
    return str(name).rsplit("}", 1)[-1]
