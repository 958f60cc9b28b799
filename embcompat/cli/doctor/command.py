"""``embcompat doctor``: what is wrong with a gallery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from embcompat.cli.console import messages, output, print_json, show_next
from embcompat.cli.doctor.about import print_about
from embcompat.cli.inputs.embeddings import Reading, is_address, is_csv, load_embeddings, open_file, read_file
from embcompat.cli.inputs.models import open_model
from embcompat.cli.inputs.options import (
    Delimiter,
    ExtractorOptions,
    IdColumn,
    LabelColumn,
    ModelPath,
    NpySimilarity,
    VectorColumn,
)
from embcompat.errors import InputError
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.similarities import Similarity

if TYPE_CHECKING:
    from embcompat.doctor import DoctorReport, SpaceReference
    from embcompat.doctor.gallery import Gallery
    from embcompat.spaces import SpaceVersion

EXIT_SICK = 3


def doctor(
    gallery: Annotated[
        str,
        typer.Argument(help="The gallery: a file, or a store's address, which is sampled. Never changed."),
    ],
    registry: Annotated[
        str | None, typer.Option(help="Registry whose references to judge by (embcompat registry add-space).")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="Vectors known to be of a space, or a saved reference; repeatable."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="The gallery's space as name@version, where it does not name it.")
    ] = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", "-e", help="The gallery's model: is it still the one that filled it?")
    ] = None,
    model: ModelPath = None,
    option: ExtractorOptions = None,
    similarity: NpySimilarity = "cosine",
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    delimiter: Delimiter = None,
    sample: Annotated[int, typer.Option(min=1, help="Rows to examine of a gallery in a store.")] = 20_000,
    rows: Annotated[Path | None, typer.Option(help="Write every row with a finding as CSV.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    about: Annotated[  # noqa: ARG001 - it has printed and left by then
        bool,
        typer.Option(
            "--about",
            help="Print versions and platform for a bug report, and exit.",
            callback=print_about,
            is_eager=True,
        ),
    ] = False,
) -> None:
    r"""Find problems in a gallery. Exit code 3 if there are any.

    Rows of another space, zero or unnormalized vectors, NaN, drifted dimensions, missing and repeated ids, repeated
    vectors. Rows of another space need a reference: from a registry, or vectors that are known to be right. With
    --extractor, the model is checked, too: is it still the one that filled the gallery?

    Examples:
    ```bash
    embcompat doctor gallery.parquet --registry team-registry
    embcompat doctor gallery.parquet --reference known-good.parquet \
        --rows sick-rows.csv --json
    embcompat doctor gallery.parquet -e openai -m text-embedding-3-small
    ```
    """
    from embcompat.doctor import examine
    from embcompat.doctor.gallery import named_space

    references = _from_registry(registry) if registry is not None else []
    reading = Reading(id_column, vector_column, label_column, delimiter=delimiter)
    references += [_load_reference(origin, reading, space, similarity) for origin in reference or []]
    if extractor is not None and space is not None:
        raise InputError("--extractor and --space both name the gallery's space. Leave one of them out.")
    known = open_model(extractor, model, option).space if extractor is not None else None
    known = known or next((each.space for each in references if each.space.id == space), None)
    examined = _open(gallery, sample, reading, known)
    if space is not None and known is None:
        known = named_space(examined, space, similarity)
    report = examine(examined, references, space=known)
    if rows is not None:
        _write_rows(report, examined, rows)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
        if report.sick and rows is None:
            show_next("doctor", gallery, "--rows", "sick-rows.csv")
    if report.sick:
        raise typer.Exit(EXIT_SICK)


def _from_registry(url: str) -> list[SpaceReference]:
    from embcompat.doctor import SpaceReference
    from embcompat.registry import Registry

    registry = Registry(url)
    stored = [(space, registry.reference(space)) for space in registry.list_spaces(retired=True)]
    return [SpaceReference.from_bytes(data, where=f"the reference of {space.id}") for space, data in stored if data]


def _load_reference(origin: str, reading: Reading, space: str | None, similarity: Similarity) -> SpaceReference:
    """Read a saved reference, or fit one on vectors; --space names the space of those that do not name it."""
    from embcompat.doctor import SpaceReference, fit_reference

    path = Path(origin)
    if path.is_file() and ending_of(path) not in ENDINGS:
        return SpaceReference.load(path)
    if is_address(origin):
        return fit_reference(load_embeddings(origin, space=space, similarity=similarity))
    file = open_file(origin, replace(reading, delimiter=reading.delimiter if is_csv(origin) else None), required=False)
    return fit_reference(read_file(file, space if file.space is None else None, similarity, None))


def _open(gallery: str, sample: int, reading: Reading, space: SpaceVersion | None) -> Gallery:
    from embcompat.doctor.gallery import open_gallery

    if is_address(gallery):
        from embcompat.stores import sample_rows

        rows = sample_rows(gallery, rows=sample)
        messages().print(f"A random sample of {len(rows):,} rows of {gallery} is examined.", soft_wrap=True)
        return open_gallery(rows, space=space)
    return open_gallery(open_file(gallery, reading), space=space)


def _write_rows(report: DoctorReport, opened: Gallery, target: Path) -> None:
    import csv

    with target.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", "id", "finding", "severity"])
        for finding in report.findings:
            for row, identifier in zip(finding.rows.tolist(), opened.ids_of(finding.rows), strict=True):
                writer.writerow([row, identifier, finding.kind, finding.severity])


def _print_report(report: DoctorReport) -> None:
    console = output()
    judged = f", judged as {report.space}" if report.space else ""
    state = Text("sick", style="red") if report.sick else Text("healthy", style="green")
    console.print(Text(f"{report.rows:,} rows{judged}: ") + state)
    for finding in report.findings:
        console.print(Text(finding.severity, style="red" if finding.severity == "error" else "yellow"), finding.message)
        if finding.examples:
            console.print(f"       first: {', '.join(finding.examples[:5])}")
    for apart in report.separations:
        if apart.recall is not None and apart.other is not None and apart.can_tell:
            line = f"told apart from {apart.other}: {apart.recall:.1%} of its rows would be found."
            console.print(Text(line, style="dim"))
    for note in report.notes:
        console.print(Text(f"note: {note}", style="dim"))
