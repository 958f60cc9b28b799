"""What all face recipes share: their options, and the file they write."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from machine import describe  # noqa: E402


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """Make a parser with the options that every recipe has; add a recipe's own to it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with faces/ (see recipes/README.md); left out: simulated")
    parser.add_argument("--output", type=Path, default=Path("recipes-out"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; no figure to quote")
    return parser


def write_result(options: argparse.Namespace, name: str, figures: dict[str, Any]) -> Path:
    """Write ``OUTPUT/<name>.json``, or ``<name>.smoke.json``: the figures, with the options and the machine.

    Args:
        options: What `make_parser` parsed.
        name: Name of the recipe.
        figures: What it found, as JSON.

    Returns:
        The path.
    """
    options.output.mkdir(parents=True, exist_ok=True)
    path: Path = options.output / f"{name}{'.smoke' if options.smoke else ''}.json"
    head = {"recipe": name, "smoke": options.smoke, "seed": options.seed, "machine": describe("torch")}
    path.write_text(json.dumps(head | figures, indent=1) + "\n")
    if options.smoke:
        print("smoke: tiny sizes, these are no figures to quote")
    print(f"wrote {path}")
    return path
