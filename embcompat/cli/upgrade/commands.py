"""``embcompat upgrade``: the whole line, from a gallery in use to a new model in service, step by step.

State is files in one folder: what each step writes, and ``steps.json`` with the command that wrote it. A step whose
command has not changed and whose file is there is not repeated.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import messages, output
from embcompat.cli.inputs.options import ModelPath
from embcompat.errors import InputError, MigrationError

if TYPE_CHECKING:
    from embcompat.cli.upgrade.line import Step, UpgradeLine

app = typer.Typer(name="upgrade", help="From a gallery in use to the new model in service.", no_args_is_help=True)

UpgradeFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file that `embcompat upgrade init` wrote.")]
DEFAULT = Path("upgrade.toml")


@app.command()
def init(
    file: UpgradeFile = DEFAULT,
    gallery: Annotated[str | None, typer.Option(help="Address of the gallery in use.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Its column with the texts or paths.")] = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", "-e", help="The new model, as `embcompat extractors` lists it.")
    ] = None,
    model: ModelPath = None,
    old_space: Annotated[
        str | None, typer.Option(help="name@version of the vectors in use, where the store was never told.")
    ] = None,
    rows: Annotated[int, typer.Option(min=100, help="Rows to sample for the pairs.")] = 5_000,
    old_queries: Annotated[str | None, typer.Option(help="Queries under the old model.")] = None,
    new_queries: Annotated[str | None, typer.Option(help="The same queries under the new model.")] = None,
    qrels: Annotated[str | None, typer.Option(help="Which items answer them.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    r"""Write the file that describes an upgrade; on a terminal, what is not given is asked for.

    Example:
    ```bash
    embcompat upgrade init --gallery lancedb:///data/lance#docs.vector \
        --text-column body --extractor minilm --old-space ada@2
    ```
    """
    from embcompat.cli.upgrade.line import Upgrade

    if file.exists() and not overwrite:
        raise InputError(f"{file} exists already. Choose another, or pass --overwrite to replace it.")
    upgrade = Upgrade(
        gallery=_ask(gallery, "Address of the gallery in use", "--gallery"),
        text_column=_ask(text_column, "Its column with the texts", "--text-column"),
        extractor=_ask(extractor, "The new model's extractor", "--extractor"),
        model=model,
        old_space=old_space,
        rows=rows,
        old_queries=old_queries,
        new_queries=new_queries,
        qrels=qrels,
    )
    file.write_text(upgrade.to_toml(), encoding="utf-8")
    output().print(f"{file} is written. Next: embcompat upgrade run {file}", soft_wrap=True)


@app.command()
def run(file: UpgradeFile = DEFAULT) -> None:
    """Sample the gallery, embed the sample with the new model, fit, evaluate and report; resumes where it stopped.

    Example:
    ```bash
    embcompat upgrade run upgrade.toml
    ```
    """
    from embcompat.cli.upgrade.line import CONVERTING_MODES

    line = _open(file)
    for step in line.measuring():
        _do(line, step)
    verdict = line.verdict()
    console = output()
    console.print(verdict["reason"], soft_wrap=True)
    console.print(f"The pictures are in {line.report}.", soft_wrap=True)
    if verdict["decision"] in CONVERTING_MODES:
        console.print(f"Next: embcompat upgrade apply {file}", soft_wrap=True)


@app.command()
def apply(file: UpgradeFile = DEFAULT) -> None:
    """Convert the gallery beside the vectors in service, and verify it; nothing is switched.

    Example:
    ```bash
    embcompat upgrade apply upgrade.toml
    ```
    """
    from embcompat.cli.upgrade.line import CONVERTING_MODES

    line = _open(file)
    mode = line.verdict()["decision"]
    if mode not in CONVERTING_MODES:
        raise MigrationError(f"the verdict is {mode!r}: there is nothing to convert. See {line.report}.")
    if unweighting := line.unweighting():
        _call(unweighting)
    for words in line.migration("run", "verify"):
        _call(words)
    output().print(f"Next: embcompat upgrade cutover {file}", soft_wrap=True)


@app.command()
def cutover(file: UpgradeFile = DEFAULT) -> None:
    """Put the converted gallery into service in one step; the old side is kept.

    Example:
    ```bash
    embcompat upgrade cutover upgrade.toml
    ```
    """
    for words in _open(file).migration("cutover"):
        _call(words)


@app.command()
def rollback(file: UpgradeFile = DEFAULT) -> None:
    """Put the old side back into service.

    Example:
    ```bash
    embcompat upgrade rollback upgrade.toml
    ```
    """
    for words in _open(file).migration("rollback"):
        _call(words)


@app.command()
def status(file: UpgradeFile = DEFAULT) -> None:
    """Show which steps are done, and the plain command of each.

    Example:
    ```bash
    embcompat upgrade status upgrade.toml
    ```
    """
    line = _open(file)
    for step in line.measuring():
        output().print(f"{'done' if line.is_done(step) else 'to do'}  {_shown(step.words)}", soft_wrap=True)
    if line.artifact_exists():
        for words in line.migration("status"):
            _call(words)


def _ask(value: str | None, question: str, option: str) -> str:
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise InputError(f"{option} is needed: {question[0].lower()}{question[1:]}.")
    return str(typer.prompt(question))


def _open(file: Path) -> UpgradeLine:
    from embcompat.cli.upgrade.line import UpgradeLine, read_upgrade

    return UpgradeLine(file, read_upgrade(file))


def _do(line: UpgradeLine, step: Step) -> None:
    if line.is_done(step):
        messages().print(f"Done already: {_shown(step.words)}", soft_wrap=True)
        return
    _call(line.begin(step))
    line.finish(step)


def _call(words: list[str]) -> Any:
    """Print a command and run it; the exit code of a gate that is not met ends the line."""
    from embcompat.cli import app as root

    messages().print(f"$ {_shown(words)}", soft_wrap=True)
    code = root(words, standalone_mode=False)
    if code:
        raise typer.Exit(code)


def _shown(words: list[str]) -> str:
    return shlex.join(["embcompat", *words])
