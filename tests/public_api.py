"""The public names of the library with their signatures, as text; run this file to renew ``public_api.txt``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import embcompat

SNAPSHOT = Path(__file__).with_suffix(".txt")


def faces() -> list[str]:
    """Return the packages that say which of their names are public; the command line has no Python interface."""
    packages = [info.name for info in walk_packages(embcompat.__path__, "embcompat.") if info.ispkg]
    public = [name for name in packages if not name.startswith("embcompat.cli")]
    return ["embcompat", *(name for name in public if hasattr(import_module(name), "__all__"))]


def describe() -> str:
    """Return one block for each package: its public names, those of methods indented; each signature once."""
    known: set[int] = set()
    return "\n".join("\n".join([f"[{face}]", *_face(face, known)]) + "\n" for face in faces())


def _face(face: str, known: set[int]) -> Iterator[str]:
    module = import_module(face)
    for name in sorted(module.__all__):
        thing = getattr(module, name)
        if id(thing) in known:
            yield f"{name} as above"
            continue
        is_ours = isinstance(thing, type) and thing.__module__.startswith("embcompat")
        if is_ours or inspect.isfunction(thing):
            known.add(id(thing))
        if is_ours:
            yield f"class {name}{_signature(thing)}"
            yield from sorted(f"    {line}" for line in _members(thing))
        elif inspect.isfunction(thing):
            yield f"{name}{_signature(thing)}"
        else:
            yield name


def _members(kind: type) -> Iterator[str]:
    """List what embcompat's own classes define; what pydantic, torch and others add is theirs."""
    names = {name for each in kind.__mro__ if each.__module__.startswith("embcompat") for name in vars(each)}
    for name in names - set(getattr(kind, "__dataclass_fields__", ())):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(kind, name)
        if isinstance(member, (classmethod, staticmethod)):
            member = member.__func__
        yield f"{name}{_signature(member)}" if inspect.isfunction(member) else name


def _signature(thing: Any) -> str:
    """Write parameters with their annotations as they stand in the source, and simple defaults."""
    if getattr(thing, "_is_protocol", False) or (isinstance(thing, type) and issubclass(thing, dict)):
        return ""
    signature = inspect.signature(thing)
    words, keyword_only = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            words.append("*")
            keyword_only = True
        keyword_only = keyword_only or parameter.kind is parameter.VAR_POSITIONAL
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        annotation = f": {parameter.annotation}" if isinstance(parameter.annotation, str) else ""
        words.append(f"{stars}{parameter.name}{annotation}{_default(parameter.default)}")
    result = signature.return_annotation
    return f"({', '.join(words)})" + (f" -> {result}" if isinstance(result, str) and inspect.isfunction(thing) else "")


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return f" = {value!r}" if value is None or isinstance(value, (bool, int, float, str)) else " = …"


if __name__ == "__main__":
    SNAPSHOT.write_text(describe(), encoding="utf-8")
