"""``embcompat migrate rollback|abort|drop-old|sweep|history``: the way back, and cleaning up after the switch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from embcompat.cli.console import messages, output, print_json, show_next
from embcompat.cli.inputs.words import ItemsFile
from embcompat.cli.migrate.options import (
    ArtifactPath,
    JournalPath,
    Json,
    LockTimeout,
    TextColumn,
    Tries,
    Url,
    default_journal,
    files,
    open_both,
    show_verb,
    texts,
)
from embcompat.errors import GateError, InputError


def rollback(
    artifact: ArtifactPath,
    url: Url,
    lock_timeout: LockTimeout = 0.15,
    tries: Tries = 30,
    journal: JournalPath = None,
) -> None:
    """Put the old side back into service in one step.

    Example:
    ```bash
    embcompat migrate rollback old-to-new 'lancedb:///data/gallery#docs.vector'
    ```
    """
    from embcompat.migration import roll_back
    from embcompat.stores import LockWait

    with open_both(artifact, url) as (aligner, store):
        store.lock_wait = LockWait(lock_timeout, tries)
        without = roll_back(aligner, store, journal=files(aligner, journal, None)["journal"])
    output().print(f"{aligner.artifact.source.id} is in service again.")
    if without:
        output().print(
            f"{without:,} rows were added after the cutover and have no old vector: embed them with the old model."
        )
    show_next("migrate", "cutover", artifact, url, instead=("migrate", "abort", artifact, url, "--yes"))


def abort(
    artifact: ArtifactPath,
    url: Url,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    journal: JournalPath = None,
    as_json: Json = False,
) -> None:
    r"""Give up a migration that is unfinished or was rolled back, and remove everything that it made.

    Without `--yes` it only lists what it would remove. The vectors in service are not touched.

    Examples:
    ```bash
    embcompat migrate abort old-to-new 'lancedb:///data/gallery#docs.vector'
    embcompat migrate abort old-to-new \
        'lancedb:///data/gallery#docs.vector' --yes
    ```
    """
    from embcompat.migration import abort, job_of

    with open_both(artifact, url) as (aligner, store):
        native = store.coverage(job_of(aligner.artifact)).native
        if yes:
            removed = abort(aligner, store, journal=files(aligner, journal, None)["journal"])
        else:
            removed = store.leftovers(job_of(aligner.artifact))
    if as_json:
        print_json({"removed": removed if yes else [], "listed": removed, "native": native})
        return
    for phrase in removed:
        output().print(f"{'removed' if yes else 'would remove'}: {phrase}", soft_wrap=True, markup=False)
    if not removed:
        output().print("There is nothing to remove.")
    elif native:
        output().print(f"{native:,} of these vectors {'were' if yes else 'are'} made by the new model itself.")
    if removed and not yes:
        output().print("Nothing was removed.")
        show_verb("abort", artifact, url, None, None, "--yes")


def drop_old(
    artifact: ArtifactPath,
    url: Url,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the old vectors.")] = False,
    journal: JournalPath = None,
) -> None:
    r"""Delete the old side for good. No other command deletes it, and no rollback is possible afterwards.

    Example:
    ```bash
    embcompat migrate drop-old old-to-new \
        'lancedb:///data/gallery#docs.vector' --yes
    ```
    """
    from embcompat.migration import drop_old

    if not yes:
        raise InputError("drop-old deletes the old vectors for good. Pass --yes if that is what you want.")
    with open_both(artifact, url) as (aligner, store):
        drop_old(aligner, store, journal=files(aligner, journal, None)["journal"])
    output().print("The old side is gone. The migration is finished.")


def sweep(
    artifact: ArtifactPath, url: Url, text_column: TextColumn = None, items: ItemsFile = None, as_json: Json = False
) -> None:
    """List rows in service that neither the migration nor the new model wrote. Exit code 3 if there are any.

    An old application wrote them during or after the cutover, or had deleted them and they came back. In PostgreSQL,
    vectors that were declared to be of the new space and do not look like it are listed as well.

    Example:
    ```bash
    embcompat migrate sweep old-to-new 'lancedb:///data/gallery#docs.vector'
    ```
    """
    from embcompat.migration import RunOptions, job_of, sweep

    with open_both(artifact, url) as (aligner, store):
        phase = store.state(job_of(aligner.artifact)).phase
        ids = list(sweep(aligner, store, options=RunOptions(**texts(items, text_column))))
    if as_json:
        print_json({"rows": ids})
    else:
        for identifier in ids:
            output().print(identifier, soft_wrap=True)
    if not ids:
        messages().print(f"Every row in service is of space {aligner.artifact.target.id}.")
        if phase == "cut_over" and not as_json:
            messages().print("Once nobody needs the old vectors any more:")
            show_verb("drop-old", artifact, url, None, None, "--yes")
    else:
        raise GateError(
            f"{len(ids):,} rows in service are not known to be of space {aligner.artifact.target.id}, "
            "or do not look like it."
        )


def history(artifact: ArtifactPath, journal: JournalPath = None, as_json: Json = False) -> None:
    """Print what was done so far, and when, from the journal in this folder. The store is not opened.

    Examples:
    ```bash
    embcompat migrate history old-to-new
    embcompat migrate history old-to-new --journal logs/migrate.jsonl --json
    ```
    """
    from embcompat.artifact import read_artifact
    from embcompat.migration import read_journal

    identifier = read_artifact(artifact).id
    steps = read_journal(journal or default_journal(identifier))
    if as_json:
        print_json({"steps": steps})
        return
    for step in steps:
        moment = _moment(step.pop("time"))
        event = step.pop("event").replace("_", " ")
        if "until" in step:
            step["until"] = _moment(step["until"])
        values = ", ".join(f"{name} {value}" for name, value in step.items() if not isinstance(value, dict | list))
        output().print(f"{moment}  {event:<14}{values}".rstrip(), soft_wrap=True, markup=False, highlight=False)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
