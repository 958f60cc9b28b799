"""Real texts that every machine has: the docstrings of the standard library, numpy and scipy."""

from __future__ import annotations

import ast
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

MIN_QUERY_CHARACTERS = 15
MIN_DOCUMENT_CHARACTERS = 120
MAX_DOCUMENT_CHARACTERS = 600

_SKIPPED_FOLDERS = frozenset(
    ("tests", "test", "testing", "site-packages", "idlelib", "lib2to3", "_vendored", "_vendor", "externals")
)


@dataclass(frozen=True)
class Docstring:
    """One documented function or class.

    Attributes:
        name: Its qualified name, for instance ``scipy.linalg.orthogonal_procrustes``.
        summary: The first paragraph, which serves as the query.
        body: Everything after it, which serves as the document.
    """

    name: str
    summary: str
    body: str


STANDARD_LIBRARY = ""
PACKAGES = (STANDARD_LIBRARY, "numpy", "scipy")


def read_docstrings(limit: int | None = None, *, packages: Sequence[str] = PACKAGES) -> list[Docstring]:
    """Read the public docstrings from source files, without importing what they document.

    Two objects with the same summary or the same body are one text, and only the first is kept: a query must have
    one right answer.

    Args:
        limit: At most this many, evenly spread over the sorted names; all when None.
        packages: Where to read; a package that is not installed is left out, ``STANDARD_LIBRARY`` is always there.
    """
    docstrings: dict[str, Docstring] = {}
    known: set[str] = set()
    for package, folder in _folders(packages):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if _SKIPPED_FOLDERS.intersection(parts):
                continue
            module = ".".join([*([package] if package else []), *(part for part in parts if part != "__init__")])
            for text in _docstrings_of(path, module):
                if not known.intersection((text.summary, text.body)) and text.name not in docstrings:
                    known.update((text.summary, text.body))
                    docstrings[text.name] = text
    texts = [docstrings[name] for name in sorted(docstrings)]
    if limit is None or limit >= len(texts):
        return texts
    return [texts[position * len(texts) // limit] for position in range(limit)]


def _folders(packages: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for name in packages:
        if name == STANDARD_LIBRARY:
            yield name, Path(sysconfig.get_path("stdlib"))
        elif (spec := find_spec(name)) is not None and spec.origin is not None:
            yield name, Path(spec.origin).parent


def _docstrings_of(path: Path, module: str) -> Iterator[Docstring]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        print(f"skipped {path}: not Python {sys.version_info[0]}", file=sys.stderr)
        return
    waiting: list[tuple[str, ast.AST]] = [(module, tree)]
    while waiting:
        prefix, parent = waiting.pop(0)
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
                continue
            name = f"{prefix}.{node.name}"
            if isinstance(node, ast.ClassDef):
                waiting.append((name, node))
            text = _split(name, ast.get_docstring(node, clean=False))
            if text is not None:
                yield text


def _split(name: str, docstring: str | None) -> Docstring | None:
    """Take a docstring apart into its first paragraph and the rest."""
    if not docstring:
        return None
    summary, _, body = inspect.cleandoc(docstring).partition("\n\n")
    summary, body = " ".join(summary.split()), " ".join(body.split())[:MAX_DOCUMENT_CHARACTERS]
    if len(summary) < MIN_QUERY_CHARACTERS or len(body) < MIN_DOCUMENT_CHARACTERS:
        return None
    return Docstring(name, summary, body)
