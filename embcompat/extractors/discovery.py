"""Extractors by name: plug-ins that register under the entry-point group ``embcompat.extractors``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from embcompat.errors import InputError, MissingExtraError, UnknownNameError
from embcompat.extractors.base import Extractor
from embcompat.plugins import Plugin, find_plugin, list_plugins

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
    "embcompat-image": ("image", "onnx-image"),
    "embcompat-face": ("adaface", "dlib", "facenet", "insightface", "onnx-face", "sface"),
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
    return [
        ExtractorInfo(plugin.name, plugin.distribution, plugin.version, plugin.first_doc_line())
        for plugin in list_plugins(ENTRY_POINT_GROUP, "extractor")
    ]


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
    plugin = _find(extractor)
    factory = plugin.load()
    _check_call(extractor, factory, args, options)
    try:
        instance = factory(*args, **options)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"the extractor {extractor!r} cannot name its space. {field}: {first['msg']}.") from error
    if not isinstance(instance, Extractor):
        raise InputError(
            f"the extractor {extractor!r} of package {plugin.distribution} must have space, chunk_size and "
            f"extract. Got {type(instance).__name__}. Check it with embcompat.testing.check_extractor."
        )
    return instance


def extractor_signature(extractor: str) -> inspect.Signature:
    """Return what an extractor takes, without making it.

    Raises:
        UnknownNameError: As `load_extractor`.
        MissingExtraError: As `load_extractor`.
        InputError: If two packages claim the name.
    """
    return inspect.signature(_find(extractor).load())


def _find(name: str) -> Plugin:
    plugin = find_plugin(ENTRY_POINT_GROUP, "extractor", name)
    if plugin is not None:
        return plugin
    for distribution, names in PLUGINS.items():
        if name in names:
            raise MissingExtraError(distribution, distribution, f"The extractor {name!r}")
    plugins = list_plugins(ENTRY_POINT_GROUP, "extractor")
    known = {f"{each.name} (from {each.distribution})" for each in plugins}
    installed = {each.name for each in plugins}
    for distribution, names in PLUGINS.items():
        known |= {f"{each} (pip install {distribution})" for each in names if each not in installed}
    raise UnknownNameError("extractor", name, known)


def _check_call(name: str, factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    signature = inspect.signature(factory)
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        parameters = ", ".join(
            each.name if each.default is each.empty else f"{each.name}={each.default!r}"
            for each in signature.parameters.values()
        )
        raise InputError(
            f"the extractor {name!r} cannot be called like this: {error}. It takes: {parameters or 'nothing'}."
        ) from error
