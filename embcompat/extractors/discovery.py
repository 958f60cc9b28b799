"""Extractors by name: plug-ins that register under the entry-point group ``embcompat.extractors``."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embcompat.errors import InputError, MissingExtraError, UnknownNameError
from embcompat.extractors.base import Extractor

ENTRY_POINT_GROUP = "embcompat.extractors"

PLUGINS: dict[str, tuple[str, ...]] = {
    "embcompat-api": ("openai",),
    "embcompat-text": (
        "minilm",
        "minilm-int8",
        "onnx-text",
        "paraphrase-minilm-l3",
        "sentence-transformers",
        "static64",
    ),
    "embcompat-face": ("dlib", "facenet", "onnx-face"),
}
"""The extractors that our own plug-ins bring, so that a name asked for too early tells what to install."""


@dataclass(frozen=True)
class ExtractorInfo:
    """What is known of an installed extractor without importing it.

    Attributes:
        name: What `load_extractor` takes.
        distribution: The package that brings it, as pip calls it.
        version: The version of that package.
        description: First line of its docstring; empty where the source cannot be read.
    """

    name: str
    distribution: str
    version: str
    description: str


def list_extractors() -> list[ExtractorInfo]:
    """List the installed extractors by name. Imports none of them."""
    found = [
        ExtractorInfo(point.name, *_distribution(point), _first_doc_line(point))
        for point in entry_points(group=ENTRY_POINT_GROUP)
    ]
    return sorted(found, key=lambda info: (info.name, info.distribution))


def load_extractor(extractor: str, /, *args: Any, **options: Any) -> Extractor:
    """Make an extractor by its name.

    Args:
        extractor: A name that `list_extractors` gives, for instance ``minilm``.
        *args: What the extractor takes first where it takes a model: a path or a name.
        **options: The extractor's own options.

    Raises:
        UnknownNameError: If no installed package brings such an extractor; lists those that are there.
        MissingExtraError: If the package that brings it, or one that it needs, is not installed.
        InputError: If two packages claim the name, or the extractor does not take these options or values.

    Example:
        ``load_extractor("sentence-transformers", "my-model", encode="query")``
    """
    point = _find(extractor)
    factory = _import(point)
    _check_call(extractor, factory, args, options)
    try:
        made = factory(*args, **options)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"the extractor {extractor!r} cannot name its space. {field}: {first['msg']}.") from error
    if not isinstance(made, Extractor):
        raise InputError(
            f"the extractor {extractor!r} of package {_distribution(point)[0]} must have space, chunk_size and "
            f"extract. Got {type(made).__name__}. Check it with embcompat.testing.check_extractor."
        )
    return made


def extractor_signature(extractor: str) -> inspect.Signature:
    """Return what an extractor takes, without making it.

    Raises:
        UnknownNameError: As `load_extractor`.
        MissingExtraError: As `load_extractor`.
        InputError: If two packages claim the name.
    """
    return inspect.signature(_import(_find(extractor)))


def _import(point: EntryPoint) -> Callable[..., Any]:
    try:
        factory: Callable[..., Any] = point.load()
    except MissingExtraError:
        raise
    except ImportError as error:
        package = error.name or point.module
        distribution, _ = _distribution(point)
        raise MissingExtraError(package, distribution, f"The extractor {point.name!r}") from error
    return factory


def _find(name: str) -> EntryPoint:
    points = entry_points(group=ENTRY_POINT_GROUP)
    named = [point for point in points if point.name == name]
    if len(named) > 1:
        packages = ", ".join(sorted(_distribution(point)[0] for point in named))
        raise InputError(f"several packages bring an extractor called {name!r}: {packages}. Uninstall all but one.")
    if named:
        return named[0]
    for distribution, names in PLUGINS.items():
        if name in names:
            raise MissingExtraError(distribution, distribution, f"The extractor {name!r}")
    known = {f"{point.name} (from {_distribution(point)[0]})" for point in points}
    installed = {point.name for point in points}
    for distribution, names in PLUGINS.items():
        known |= {f"{each} (pip install {distribution})" for each in names if each not in installed}
    raise UnknownNameError("extractor", name, known)


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")


def _check_call(name: str, factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    signature = inspect.signature(factory)
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        taken = ", ".join(
            each.name if each.default is each.empty else f"{each.name}={each.default!r}"
            for each in signature.parameters.values()
        )
        raise InputError(
            f"the extractor {name!r} cannot be called like this: {error}. It takes: {taken or 'nothing'}."
        ) from error


def _first_doc_line(point: EntryPoint) -> str:
    """Read the first docstring line of a function or class from its source, without importing it."""
    package, *rest = point.module.split(".")
    try:
        spec = importlib.util.find_spec(package)  # a top-level name: finding it runs no code of the package
        if spec is None or spec.origin is None:
            return ""
        path = Path(spec.origin)
        if rest:
            module = path.parent.joinpath(*rest)
            path = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        tree = ast.parse(path.read_bytes())
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == point.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""
