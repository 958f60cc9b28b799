"""What starting costs: `import embcompat` and `embcompat --help` beside importing numpy, each in fresh processes.

python benchmarks/startup.py --repeats 15 --out startup.json
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

from machine import alternate, describe, line_at_most, median_ratio, write_results

AIMS = {"embcompat fit --help": 3.0}
HELP = "import sys; from embcompat.cli import main; sys.argv = {}; main()"
TYPER = """
import typer
app = typer.Typer(rich_markup_mode="markdown")
@app.command()
def fit(old: str, seed: int = 0):
    "Fit."
@app.command()
def evaluate(old: str):
    "Evaluate."
app(["fit", "--help"])
"""
COMMANDS = {
    "import numpy": "import numpy",
    "import embcompat": "import embcompat",
    "embcompat --help": HELP.format(["embcompat", "--help"]),
    "the help of a typer command": TYPER,
    "embcompat fit --help": HELP.format(["embcompat", "fit", "--help"]),
}


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs = {name: partial(run, code) for name, code in COMMANDS.items()}
    alternate(runs, repeats=1)  # bytecode and the disk's cache
    seconds = alternate(runs, repeats=1 if options.smoke else options.repeats)
    numpy = "import numpy"
    lines = [
        line_at_most(
            name,
            f"python -c '{numpy}'",
            median_ratio(seconds, name, numpy),
            AIMS.get(name, 4.0),
            seconds,
            runs=(name, numpy),
        )
        for name in COMMANDS
        if name != numpy
    ]
    write_results({"machine": describe("typer"), "smoke": options.smoke, "lines": lines}, options.out)


if __name__ == "__main__":
    main()
