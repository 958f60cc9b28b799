"""What ``embcompat fit`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embcompat.cli.console import output
from embcompat.cli.inputs.words import show_parts

if TYPE_CHECKING:
    from rich.console import Console

    from embcompat.selection import FittedArtifact


def fit_result(fitted: FittedArtifact, out: Path, kept_out: int) -> dict[str, Any]:
    """Return the result of a fit as JSON."""
    from embcompat.aligners import AlignerPair, parameter_count
    from embcompat.aligners.kernel import summed_pairs

    aligner, first = fitted.aligner, fitted.artifacts[0]
    maps = [aligner.forward_map, aligner.backward_map] if isinstance(aligner, AlignerPair) else [aligner]
    result = {
        "out": str(out),
        "artifacts": [artifact.id for artifact in fitted.artifacts],
        "kind": maps[0].kind,
        "config": maps[0].config(),
        "source": first.source.id,
        "target": first.target.id,
        "parameters": sum(parameter_count(each) for each in maps),
        "split": first.manifest.split,
        "kept_out": kept_out,
        "refitted": fitted.refitted,
        "at_chance": fitted.at_chance,
        "chance": first.manifest.calibration.get("chance"),
        "metrics": [metric.model_dump() for metric in first.manifest.metrics],
    }
    landmarks = [len(array) for name, array in maps[0].state().items() if name.rpartition(".")[2] == "landmarks"]
    if landmarks:
        result["kernel_pairs"] = min(summed_pairs(_fitted_pairs(result), each) for each in landmarks)
    if fitted.selection is not None:
        result["candidates"] = [dict(row.to_dict()) for row in fitted.selection.candidates]
        result["score"] = fitted.selection.metric
        result["chosen"] = fitted.selection.chosen.name
        result["compared_pairs"] = fitted.selection.compared
    if fitted.words is not None:
        result["parts"] = [dict(part.to_dict()) for part in fitted.words.parts]
    if fitted.words_gain is not None:
        result["words_gain"] = dict(fitted.words_gain.to_dict())
    return result


def _fitted_pairs(result: dict[str, Any]) -> int:
    """Return the number of pairs that the saved aligner was fitted on."""
    return sum(count for part, count in result["split"].items() if result["refitted"] or part != "test")


def _show_candidates(result: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    score = result["score"].replace("_", " ")
    table = Table("aligner", "parameters", "seconds", "score", "from the best (95 %)", box=None, header_style="bold")
    for row in result["candidates"]:
        ends = [
            "-" if row["against_best"][end] is None else f"{row['against_best'][end]:.3g}" for end in ("low", "high")
        ]
        table.add_row(
            row["name"] + (" (chosen)" if row["name"] == result["chosen"] else ""),
            f"{row['parameters']:,}",
            f"{row['fit_seconds']:.1f}",
            f"{row['score']['value']:.3g}",
            f"{row['against_best']['value']:.3g} [{ends[0]}, {ends[1]}]",
        )
    console.print(table)
    console.print(
        f"Score: {score}{_SCORES.get(result['score'], '')}. Each scored pair was converted by a fit "
        "that did not see it.\n"
        "Chosen: the first that is not significantly worse than the best; the rows are in order of preference."
    )
    count, compared = sum(result["split"].values()) - result["split"].get("test", 0), result["compared_pairs"]
    sample = f", a random sample of the {count:,} that are not test pairs" if compared < count else ""
    console.print(f"Compared on {compared:,} pairs{sample}.\n")


_SCORES = {
    "neighbour_overlap@10": ", the share of an item's 10 nearest neighbours under the new model that its converted "
    "vector finds as well",
    "piece_margin": ", how far the text of a piece stands above other texts when the piece searches them",
    "genuine_margin": ", how far the pairs of one subject stand above those of two",
    "minus_false_accepts_per_10000": ", false accepts in 10,000 at the threshold of two new vectors, with a minus sign",
}

_MEANINGS = {
    "mean_cosine": ("mean cosine", "between a converted vector and the new model's own vector of the same item"),
    "retention": (
        "neighbours kept",
        "of an item's 10 nearest neighbours under the new model, the share that its converted vector finds as well",
    ),
}


def show_fit(result: dict[str, Any]) -> None:
    """Print the result of a fit, problems first."""
    console = output()
    if result["at_chance"]:
        console.print("No better than chance: on held-out pairs the converted vectors do not belong to their items.\n")
    if result["kept_out"]:
        console.print(f"{result['kept_out']:,} pairs are left out: their items answer a query.")
    if "parts" in result:
        show_parts(result["parts"], console)
    if "candidates" in result:
        _show_candidates(result, console)
    if (gain := result.get("words_gain")) is not None:
        interval = f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        console.print(f"With the items' words, against the aligner chosen above, on held-out pairs: {interval}.")
    if "parts" in result and result["kind"] != "text_aware":
        console.print("Words do not help here: the aligner reads vectors alone.")
    console.print(
        f"{result['out']}: {result['kind']} aligner, {result['source']} -> {result['target']}, "
        f"{result['parameters']:,} parameters"
    )
    for metric in result["metrics"]:
        name, meaning = _MEANINGS.get(metric["name"], (metric["name"].replace("_", " "), ""))
        interval = "" if metric["low"] is None else f" (95 % interval {metric['low']:.3f} to {metric['high']:.3f})"
        console.print(
            f"  {name}: {metric['value']:.3f}{interval}, on {metric['count']:,} {metric['part']} pairs"
            + (f"; {meaning}" if meaning else "")
        )
    pairs = _fitted_pairs(result)
    if result.get("kernel_pairs", pairs) < pairs:
        console.print(f"Its kernel is fitted on {result['kernel_pairs']:,} pairs, a random sample of the {pairs:,}.")
    if result["refitted"]:
        count = sum(result["split"].values())
        console.print(
            f"The saved aligner is fitted on all {count:,} pairs. The figures above were measured before, with a fit "
            f"on the {count - result['split']['test']:,} pairs that are not test pairs, and are a lower bound. None of "
            "these items can judge the aligner now: evaluate on others, or fit with --no-refit."
        )
    console.print("Pairs cannot show whether the new model is better than the old one: evaluate it.")
