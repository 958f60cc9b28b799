"""``embcompat upgrade``: the whole line, from a gallery in use to a new model in service, step by step.

The state is in one folder: the results of the steps, and ``steps.json`` with the command of each. A step is not
repeated while its result exists and its command and inputs are unchanged.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embcompat.cli.console import messages, output, without_next
from embcompat.cli.inputs.options import ExtractorOptions, ModelPath, WeighQueries
from embcompat.errors import InputError
from embcompat.redaction import redact

if TYPE_CHECKING:
    from embcompat.upgrade.line import StepState, UpgradeLine

app = typer.Typer(name="upgrade", help="From a gallery in use to the new model in service.", no_args_is_help=True)

UpgradeFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The file that `embcompat upgrade init` writes.", show_default=True)
]
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
    option: ExtractorOptions = None,
    old_space: Annotated[
        str | None, typer.Option(help="name@version of the vectors in use, if the store does not record it.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=100, help="Rows to sample for the pairs; 5,000 if left out.")] = None,
    qrels: Annotated[str | None, typer.Option(help="Judgements: which items answer the queries.")] = None,
    queries: Annotated[str | None, typer.Option(help="File with the texts of the queries.")] = None,
    old_extractor: Annotated[str | None, typer.Option(help="The old model, which embeds the queries, too.")] = None,
    old_model: Annotated[str | None, typer.Option(help="Its path or name.")] = None,
    old_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the old model; repeatable.")
    ] = None,
    old_queries: Annotated[str | None, typer.Option(help="Queries embedded already, under the old model.")] = None,
    new_queries: Annotated[str | None, typer.Option(help="The same queries under the new model.")] = None,
    items: Annotated[
        str | None,
        typer.Option(
            help="File with titles and texts, if there are no judgements: each title is a query for its item."
        ),
    ] = None,
    title_column: Annotated[str | None, typer.Option(help="Its column with the titles.")] = None,
    weigh_queries: WeighQueries = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    r"""Write the file that describes an upgrade. On a terminal, it asks for what is missing.

    Each option may also be an environment variable, `EMBCOMPAT_GALLERY` and so on; in `run` and the other commands
    they take precedence over the file.

    Examples:
    ```bash
    embcompat upgrade init --gallery lancedb:///data/lance#docs.vector \
        --text-column body --extractor minilm --old-space ada@2
    embcompat upgrade init --gallery postgresql:///shop#items.embedding \
        --text-column body --extractor minilm --queries queries.jsonl \
        --qrels qrels.tsv --old-extractor onnx-text --old-model ada.onnx
    ```
    """
    import os

    from embcompat.upgrade.line.description import environment_values, make_upgrade

    if file.exists() and not overwrite:
        raise InputError(f"{file} exists already. Choose another, or pass --overwrite to replace it.")
    options = {
        "gallery": gallery,
        "text_column": text_column,
        "extractor": extractor,
        "model": model,
        "options": option,
        "old_space": old_space,
        "rows": rows,
        "qrels": qrels,
        "queries": queries,
        "old_extractor": old_extractor,
        "old_model": old_model,
        "old_options": old_option,
        "old_queries": old_queries,
        "new_queries": new_queries,
        "items": items,
        "title_column": title_column,
        "weigh_queries": weigh_queries or None,
    }
    values = environment_values(os.environ) | {name: value for name, value in options.items() if value is not None}
    for name, question in QUESTIONS.items():
        if name not in values:
            values[name] = _ask(question, f"--{name.replace('_', '-')}")
    try:
        upgrade = make_upgrade(values, where="embcompat upgrade init")
    except InputError as error:
        flags = {name: f"--{name.replace('_', '-')}" for name in options if "_" in name}
        names = re.compile(rf"\b({'|'.join(flags)})\b")
        raise InputError(names.sub(lambda match: flags[match[1]], str(error))) from error
    file.write_text(upgrade.to_toml(), encoding="utf-8")
    console = output()
    console.print(f"{file} is written.", soft_wrap=True)
    if upgrade.qrels is None and upgrade.items is None:
        console.print("It names no judged queries, so there will be figures and no verdict.", soft_wrap=True)
    if upgrade.old_space is None and upgrade.old_extractor is None:
        console.print(
            "It does not name the space of the vectors in use. If the store does not record it, pass --old-space "
            "name@version, such as ada@2.",
            soft_wrap=True,
        )
    console.print(f"Next: embcompat upgrade run {file}", soft_wrap=True)


QUESTIONS = {
    "gallery": "Address of the gallery in use",
    "text_column": "Its column with the texts",
    "extractor": "The new model's extractor",
}


@app.command()
def run(file: UpgradeFile = DEFAULT) -> None:
    """Sample the gallery, embed the sample with the new model, fit, evaluate and report; resumes where it stopped.

    A step whose command or input has changed since is stale: it is repeated, with all steps after it.

    Example:
    ```bash
    embcompat upgrade run upgrade.toml
    ```
    """
    from embcompat.upgrade.line import run_upgrade

    line = run_upgrade(file, run=_call, on_step=_show_step)
    console = output()
    console.print(line.verdict()["reason"], soft_wrap=True)
    console.print(f"The pictures are in {line.report}.", soft_wrap=True)
    _show_next(line)


@app.command()
def apply(file: UpgradeFile = DEFAULT) -> None:
    """Convert the gallery beside the vectors in service, and verify it; nothing is switched.

    Example:
    ```bash
    embcompat upgrade apply upgrade.toml
    ```
    """
    from embcompat.upgrade.line import apply_upgrade, upgrade_line

    line = upgrade_line(file)
    apply_upgrade(line, run=_call)
    _show_next(line)


@app.command()
def cutover(file: UpgradeFile = DEFAULT) -> None:
    """Put the converted gallery into service in one step; the old side is kept.

    Example:
    ```bash
    embcompat upgrade cutover upgrade.toml
    ```
    """
    from embcompat.upgrade.line import upgrade_line

    line = upgrade_line(file)
    line.require_converting()
    for words in line.migration("cutover"):
        _call(words)
    _show_next(line)


@app.command()
def rollback(file: UpgradeFile = DEFAULT) -> None:
    """Put the old side back into service.

    Example:
    ```bash
    embcompat upgrade rollback upgrade.toml
    ```
    """
    from embcompat.upgrade.line import upgrade_line

    line = upgrade_line(file)
    for words in line.migration("rollback"):
        _call(words)
    _show_next(line)


@app.command()
def status(file: UpgradeFile = DEFAULT) -> None:
    """Show which steps are done or stale, the plain command of each, how far the gallery is, and what comes next.

    Example:
    ```bash
    embcompat upgrade status upgrade.toml
    ```
    """
    from embcompat.upgrade.line import upgrade_line

    line = upgrade_line(file)
    for each in line.states():
        reason = f"  ({each.reason})" if each.reason else ""
        output().print(f"{each.state:<5}  {_plain(each.step.words)}{reason}", soft_wrap=True)
    _show_next(line)


def _ask(question: str, option: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(f"{option} is needed: {question[0].lower()}{question[1:]}.")
    return str(typer.prompt(question))


def _show_step(each: StepState) -> None:
    if each.state == "done":
        messages().print(f"Done already: {_plain(each.step.words)}", soft_wrap=True)
    elif each.state == "stale":
        messages().print(f"Repeated, because {each.reason}:", soft_wrap=True)


def _show_next(line: UpgradeLine) -> None:
    phase = line.phase()
    if phase != "untouched":
        output().print(f"The migration is {phase.replace('_', ' ')}.")
    command = line.next_step(phase)
    if command is None:
        output().print("Nothing is left to do.")
        return
    converts_unjudged = command.startswith("embcompat migrate") and line.is_unjudged()
    output().print(f"{'Next, without a verdict' if converts_unjudged else 'Next'}: {command}", soft_wrap=True)


def _call(words: Sequence[str]) -> Any:
    """Print a command and run it; a gate that is not met ends the whole command with its exit code."""
    from embcompat.cli import app as root

    messages().print(f"$ {_plain(words)}", soft_wrap=True)
    with without_next():
        code = root(list(words), standalone_mode=False)
    if code:
        raise typer.Exit(code)


def _plain(words: Sequence[str]) -> str:
    return redact(shlex.join(["embcompat", *words]))
