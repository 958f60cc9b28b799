"""``embcompat registry``: spaces, aligners and promotions, shared by a team."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.embeddings import load_embeddings
from embcompat.cli.registry.options import Json, Name, Reason, Url
from embcompat.cli.registry.paths import compose, path
from embcompat.cli.registry.view import print_entry, print_graph, print_lists
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.registry import Registry

registry = typer.Typer(
    name="registry",
    help="Share spaces and aligners: a directory or an object store, append-only.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

EXIT_DAMAGED = 1


def _open(url: str) -> Registry:
    from embcompat.registry import Registry

    return Registry(url)


@registry.command()
def init(url: Url, as_json: Json = False) -> None:
    """Create a registry; an existing one stays as it is.

    Example:
    ```bash
    embcompat registry init s3://bucket/embeddings
    ```
    """
    from embcompat.registry import Registry

    created = Registry(url, create=True)
    if as_json:
        print_json({"registry": created.url})
    else:
        output().print(f"There is a registry at {created.url}.")
        show_next("registry", "publish", url, "ARTIFACT", instead=("registry", "add-space", url, "VECTORS"))


@registry.command()
def publish(
    url: Url,
    artifacts: Annotated[list[Path], typer.Argument(help="Artifact directories, or ones with forward and backward.")],
    as_json: Json = False,
) -> None:
    """Publish artifacts and register their spaces; publishing again changes nothing.

    Example:
    ```bash
    embcompat registry publish team-registry old-to-new
    ```
    """
    target = _open(url)
    paths = [part for path in artifacts for part in _artifact_paths(path)]
    entries = [target.publish(path) for path in paths]
    if as_json:
        print_json({"published": [{"id": e.id, "source": e.source.id, "target": e.target.id} for e in entries]})
    else:
        for entry in entries:
            output().print(f"Published {entry.id[:12]}: {entry.source.id} → {entry.target.id} ({entry.manifest.kind}).")
        show_next("registry", "promote", url, "production", entries[-1].target.id)


@registry.command("add-space")
def add_space(
    url: Url,
    vectors: Annotated[Path, typer.Argument(help="Vectors of the space (.parquet or .npy): its reference is fitted.")],
    space: Annotated[str | None, typer.Option(help="name@version of a .npy file.")] = None,
    similarity: Annotated[Similarity, typer.Option(help="Similarity of a .npy file.")] = "cosine",
    reference: Annotated[
        bool, typer.Option(help="Whether to store the reference by which embcompat doctor recognizes the space.")
    ] = True,
    sketch_rows: Annotated[
        int, typer.Option(help="Vectors stored unchanged in the reference; 0 if they must not be shared.")
    ] = 512,
    as_json: Json = False,
) -> None:
    """Register the space of some vectors, with the reference that `embcompat doctor` works from.

    Example:
    ```bash
    embcompat registry add-space team-registry old.parquet
    ```
    """
    from embcompat.doctor import fit_reference

    embeddings = load_embeddings(vectors, space=space, similarity=similarity)
    fitted = fit_reference(embeddings, sketch_rows=sketch_rows) if reference else None
    _open(url).add_space(embeddings.space, reference=None if fitted is None else fitted.to_bytes())
    if as_json:
        print_json({"space": embeddings.space.model_dump(), "reference_rows": None if fitted is None else fitted.count})
    else:
        rows = "without a reference" if fitted is None else f"with a reference of {fitted.count:,} vectors"
        output().print(f"Registered {embeddings.space.id} {rows}.")
        show_next("doctor", "GALLERY", "--registry", url)


@registry.command("list")
def list_(
    url: Url,
    retired: Annotated[bool, typer.Option("--retired", help="Also list what is retired.")] = False,
    as_json: Json = False,
) -> None:
    """List spaces, aligners and labels.

    Example:
    ```bash
    embcompat registry list team-registry
    ```
    """
    print_lists(_open(url), retired=retired, as_json=as_json)


@registry.command()
def show(
    url: Url,
    name: Annotated[str | None, typer.Argument(help="A space or an aligner; the whole graph by default.")] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the graph as a Mermaid flowchart.")] = False,
    as_json: Json = False,
) -> None:
    """Show the space graph as a tree, or everything about one space or aligner.

    Examples:
    ```bash
    embcompat registry show team-registry
    embcompat registry show team-registry production
    ```
    """
    target = _open(url)
    if name is not None:
        print_entry(target, name, as_json=as_json)
    elif mermaid:
        from embcompat.chains import to_mermaid

        typer.echo(to_mermaid(target))
    else:
        print_graph(target, as_json=as_json)


registry.command()(path)
registry.command()(compose)


@registry.command()
def promote(
    url: Url,
    label: Annotated[str, typer.Argument(help="The label, for instance production.")],
    name: Name,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    r"""Give a label to a space or an aligner; its previous holder loses it.

    Example:
    ```bash
    embcompat registry promote team-registry production facenet@46.4 \
        --reason "better on the June set"
    ```
    """
    target = _open(url)
    subject = target.promote(label, name, reason=reason)
    if as_json:
        print_json({"label": label, "subject": subject})
    else:
        output().print(f"{label} is now {subject}.", soft_wrap=True)
        show_next("registry", "show", url, label)


@registry.command()
def retire(url: Url, name: Name, reason: Reason = "", as_json: Json = False) -> None:
    """Take a space or an aligner out of use, for good; it stays readable.

    Example:
    ```bash
    embcompat registry retire team-registry facenet@3
    ```
    """
    target = _open(url)
    subject = target.retire(name, reason=reason)
    if as_json:
        print_json({"retired": subject})
    else:
        output().print(f"{subject} is retired.", soft_wrap=True)
        show_next("registry", "list", url, "--retired")


@registry.command()
def verify(url: Url, as_json: Json = False) -> None:
    """Read everything and compare it with its digests; exit code 1 when a file is damaged or missing.

    Example:
    ```bash
    embcompat registry verify team-registry
    ```
    """
    target = _open(url)
    damages = target.verify()
    void = {} if damages else target.standing().void
    if as_json:
        listed = [{"path": damage.path, "what": damage.what} for damage in damages]
        print_json({"damaged": listed, "void_events": {str(number): why for number, why in void.items()}})
        raise typer.Exit(EXIT_DAMAGED if damages else 0)
    for damage in damages:
        output().print(Text(damage.path, style="red") + f": {damage.what}", soft_wrap=True)
    for number, why in void.items():
        output().print(f"Event {number} came too late and changed nothing: {why}.", soft_wrap=True)
    if damages:
        raise typer.Exit(EXIT_DAMAGED)
    output().print(f"Everything in {url} is intact.")


@registry.command()
def gc(
    url: Url,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only listed.")] = False,
    as_json: Json = False,
) -> None:
    """Find files that nothing refers to and that are older than seven days.

    Example:
    ```bash
    embcompat registry gc team-registry --delete
    ```
    """
    garbage = _open(url).gc(dry_run=not delete)
    size = sum(blob.size_bytes for blob in garbage)
    if as_json:
        paths = [blob.path for blob in garbage]
        print_json({"deleted" if delete else "would_delete": paths, "size_bytes": size})
        return
    for blob in garbage:
        output().print(f"{blob.path}  {blob.size_bytes:,} bytes, {blob.modified:%Y-%m-%d}")
    what = "Deleted" if delete else "Would delete"
    files = "1 file" if len(garbage) == 1 else f"{len(garbage)} files"
    output().print(f"{what} {files}, {size:,} bytes.{'' if delete else ' Nothing was changed.'}")
    if garbage and not delete:
        show_next("registry", "gc", url, "--delete")


@registry.command()
def get(
    url: Url,
    name: Name,
    destination: Annotated[Path | None, typer.Argument(help="The directory to create; your cache by default.")] = None,
    as_json: Json = False,
) -> None:
    """Bring an artifact onto this machine, verified.

    Example:
    ```bash
    embcompat registry get team-registry 3f2a9c old-to-new
    ```
    """
    artifact = _open(url).get(name, destination)
    if as_json:
        print_json({"id": artifact.id, "path": str(artifact.path)})
    else:
        output().print(f"{artifact.source.id} → {artifact.target.id} is at {artifact.path}", soft_wrap=True)
        migrating = ("migrate", "plan", artifact.path, "STORE_URL")
        show_next("convert", artifact.path, "GALLERY", "CONVERTED", instead=migrating)


def _artifact_paths(path: Path) -> list[Path]:
    pair = [path / "forward", path / "backward"]
    return pair if pair[0].is_dir() else [path]
