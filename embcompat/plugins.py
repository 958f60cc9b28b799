"""What installed packages bring: classes and functions under entry points, listed without importing them."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from embcompat.errors import InputError, MissingExtraError


@dataclass(frozen=True)
class Plugin:
    """One entry point.

    Attributes:
        point: Where it is.
        what: What it is, in the singular ("extractor").
    """

    point: EntryPoint
    what: str

    @property
    def name(self) -> str:
        """The name that users give."""
        return self.point.name

    @property
    def distribution(self) -> str:
        """The package that brings it, as pip calls it."""
        return self.point.dist.name if self.point.dist else "unknown"

    @property
    def version(self) -> str:
        """The version of that package."""
        return self.point.dist.version if self.point.dist else "unknown"

    def load(self) -> Any:
        """Import it.

        Raises:
            MissingExtraError: If the package, or one that it needs, is not installed.
        """
        try:
            return self.point.load()
        except MissingExtraError:
            raise
        except ImportError as error:
            package = error.name or self.point.module
            raise MissingExtraError(package, self.distribution, f"The {self.what} {self.name!r}") from error

    def first_doc_line(self) -> str:
        """Read the first line of its docstring from its source; empty where that cannot be read."""
        return _first_doc_line(self.point)


def list_plugins(group: str, what: str) -> list[Plugin]:
    """List what is registered under a group, by name and package."""
    plugins = [Plugin(point, what) for point in entry_points(group=group)]
    return sorted(plugins, key=lambda plugin: (plugin.name, plugin.distribution))


def find_plugin(group: str, what: str, name: str) -> Plugin | None:
    """Find a plug-in by its name; None where there is none.

    Raises:
        InputError: If several packages claim the name.
    """
    named = [plugin for plugin in list_plugins(group, what) if plugin.name == name]
    if len(named) > 1:
        packages = ", ".join(plugin.distribution for plugin in named)
        article = "an" if what[0] in "aeiou" else "a"
        raise InputError(f"several packages bring {article} {what} called {name!r}: {packages}. Uninstall all but one.")
    return named[0] if named else None


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
