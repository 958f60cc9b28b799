"""``embcompat doctor --about``: the versions that a bug report needs, without data or paths."""

from __future__ import annotations

import os
import platform
import re
import sys

import typer

PACKAGES = ("embcompat", "embcompat-text", "embcompat-face", "embcompat-image", "embcompat-api")


def print_about(requested: bool) -> None:
    """Print versions and platform, and exit."""
    if requested:
        sys.stdout.write(describe_installation())
        raise typer.Exit


def describe_installation() -> str:
    """One line each for the platform, Python, our packages and those of their dependencies that are installed."""
    from importlib.metadata import requires

    dependencies = {
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
        for package in PACKAGES
        if _installed(package)
        for requirement in requires(package) or []
    }
    names = [*PACKAGES, *sorted(dependencies - set(PACKAGES))]
    lines = [
        f"platform {platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        f"python {platform.python_implementation()} {platform.python_version()}",
        *(f"{name} {number}" for name in names if (number := _installed(name))),
    ]
    return "\n".join(lines) + "\n"


def _installed(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
