"""``embcompat thresholds``: the threshold that replaces the old one when the model changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embcompat.cli.console import output, print_json, show_next
from embcompat.cli.inputs.embeddings import Reading
from embcompat.cli.inputs.options import (
    Delimiter,
    GroupsFile,
    IdColumn,
    IdsFile,
    LabelColumn,
    LabelsFile,
    NewSpace,
    NpySimilarity,
    OldSpace,
    VectorColumn,
    Votes,
)
from embcompat.cli.inputs.sides import artifact_spaces, forward_of, load_sides

if TYPE_CHECKING:
    from embcompat.evaluation.verification import GroupRates, Scenario, ThresholdTransfer


def thresholds(
    artifact: Annotated[Path, typer.Argument(help="The artifact directory, or a directory with forward and backward.")],
    threshold: Annotated[
        float, typer.Option(help="The threshold in use, as a score that a match exceeds; minus a Euclidean distance.")
    ],
    old_gallery: Annotated[str, typer.Option(help="Labelled items under the old model: a file or a store's address.")],
    new_gallery: Annotated[str, typer.Option(help="The same items under the new model.")],
    all_images: Annotated[bool, typer.Option(help="Compare every image, not two of each subject.")] = False,
    id_column: IdColumn = None,
    vector_column: VectorColumn = None,
    label_column: LabelColumn = None,
    ids: IdsFile = None,
    labels: LabelsFile = None,
    delimiter: Delimiter = None,
    old_space: OldSpace = None,
    new_space: NewSpace = None,
    similarity: NpySimilarity = "cosine",
    weight: Votes = "person",
    groups: GroupsFile = None,
    seed: Annotated[int, typer.Option(help="Seed of anchors and bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    r"""Transfer a match threshold to the new space: the one that keeps its false accept rate, and what that costs.

    Measured on subjects that the artifact was not fitted on, for a converted vector against a new one and for two new
    vectors; for normalized scores as well, where the artifact carries a score cohort. A warning appears if there were
    too few false accepts for a conclusion.

    Examples:
    ```bash
    embcompat thresholds faces --threshold 0.44 --old-gallery old.parquet \
        --new-gallery new.parquet
    embcompat thresholds faces --threshold -1.1 --old-gallery old.parquet \
        --new-gallery new.parquet --json
    ```
    """
    from embcompat.evaluation.verification import (
        groups_of_subjects,
        normalized_scenarios,
        rates_by_group,
        read_groups,
        scenario_pairs,
        transfer_threshold,
    )
    from embcompat.upgrade import join_galleries, open_maps, unseen_subjects

    maps = open_maps(artifact)
    galleries = load_sides(
        old_gallery,
        new_gallery,
        old_space=old_space,
        new_space=new_space,
        similarity=similarity,
        reading=Reading(id_column, vector_column, label_column, ids=ids, labels=labels, delimiter=delimiter),
        likely=artifact_spaces(artifact),
    )
    subjects = unseen_subjects(join_galleries(maps, *galleries))
    pairs = scenario_pairs(*subjects, seed=seed, all_images=all_images, weight=weight)
    converted, new = (transfer_threshold(pairs["old"], pairs[name], threshold, seed=seed) for name in ("S3", "S1"))
    by_group = {}
    if groups is not None:
        labelled = next((side for side in subjects if side.labels is not None), subjects[0])
        members = groups_of_subjects(read_groups(groups), labelled, seed=seed, all_images=all_images)
        cuts: dict[Scenario, float] = {"old": threshold, "S3": converted.threshold.value, "S1": new.threshold.value}
        by_group = rates_by_group(pairs, members, cuts, seed=seed)
    normalized = {}
    if (cohort := maps.forward.cohort()) is not None:
        scored = normalized_scenarios(pairs, cohort)
        normalized = {
            what: transfer_threshold(pairs["old"], side, threshold, seed=seed)
            for what, side in (("converted and new", scored["S3"]), ("new and new", scored["S1"]))
        }
    if as_json:
        result = {
            "kind": "thresholds",
            "artifact": maps.artifact.id,
            "weight": weight,
            "converted_against_new": converted.to_dict(),
            "new_against_new": new.to_dict(),
        }
        if normalized:
            named = {name.replace(" and ", "_against_"): each.to_dict() for name, each in normalized.items()}
            result["normalized"] = named
        if by_group:
            result["groups"] = {
                group: {name: each.to_dict() for name, each in rates.items()} for group, rates in by_group.items()
            }
        print_json(result)
    else:
        _print_transfers({"converted and new": converted, "new and new": new}, normalized)
        _print_groups(by_group)
        forward = forward_of(artifact)
        show_next("convert", forward, "GALLERY", "CONVERTED", instead=("migrate", "plan", forward, "STORE_URL"))


def _print_transfers(plain: Mapping[str, ThresholdTransfer], normalized: Mapping[str, ThresholdTransfer]) -> None:
    """Print the transfers by what is compared: plain scores, and scores that a score cohort normalizes."""
    from rich.table import Table
    from rich.text import Text

    from embcompat.evaluation.verification import one_in

    console = output()
    first = next(iter(plain.values()))
    far = one_in(first.far.value, trials=first.impostor_pairs)
    console.print(f"A threshold of {first.old_threshold:g} falsely accepts {far} between old vectors.\n")
    console.print("These thresholds falsely accept as many, and falsely reject:\n")
    table = Table("between", "threshold", "95 % interval", "false rejects", box=None, header_style="bold")
    table.add_row("old and old", f"{first.old_threshold:.4f}", "", f"{first.old_frr:.1%}")
    for note, transfers in (("", plain), (", normalized", normalized)):
        for name, transfer in transfers.items():
            value, frr = transfer.threshold, f"{transfer.frr.value:.1%}"
            table.add_row(name + note, f"{value.value:.4f}", f"{value.low:.4f} to {value.high:.4f}", frr)
    console.print(table)
    if first.warning is not None:
        console.print(Text(f"\n{first.warning}", style="yellow"))


def _print_groups(groups: Mapping[str, Mapping[Scenario, GroupRates]]) -> None:
    """Print the rates within each group of people at the old threshold and at the new ones."""
    from rich.table import Table
    from rich.text import Text

    from embcompat.report.verification import tabulate_groups

    if not groups:
        return
    rows = tabulate_groups(groups)
    table = Table(*rows.header, box=None, header_style="bold")
    for cells in rows.cells:
        table.add_row(*map(Text, cells))
    output().print("\nWithin groups of people, at these thresholds:\n")
    output().print(table)
