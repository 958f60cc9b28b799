"""The model card of an artifact: everything in it comes from the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from embcompat.artifact import (
    CANARY,
    CHANCE,
    COHORT,
    CONVERTIBILITY,
    PAIRS,
    REFIT,
    TEXT_AWARE,
    Artifact,
    Manifest,
    Metric,
)
from embcompat.redaction import redact_values
from embcompat.spaces import CANARY as FINGERPRINT_CANARY
from embcompat.spaces import SpaceVersion

_MEANINGS: Final = {
    "mean_cosine": "cosine of converted and native vectors of the same items",
    "retention": "share of an item's native neighbours that its converted vector has, too",
    "float32_mean_cosine": "the same cosine of the graph before it was rounded to int8",
    "int8_mean_cosine": "the same cosine of the int8 graph",
}

_CONTENTS: Final = {
    PAIRS: "the ids of the items that the aligner was fitted and tested on",
    CANARY: "vectors of a few held-out items, on which every conversion is tried",
    COHORT: "vectors of fitted people, against which scores are normalized (biometric data)",
}


def model_card(artifact: Artifact, repo: str, *, revision: str | None = None) -> str:
    """Write the model card of an artifact: spaces, measured figures with intervals, limits, and how to load it.

    Args:
        artifact: What the card describes.
        repo: The repository in which it will be, for the lines that load it.
        revision: The branch, where it is not the main one.

    Returns:
        Markdown, with the front matter that the Hub reads.
    """
    manifest = artifact.manifest
    sections = (
        _front_matter(manifest),
        f"# {_code(manifest.source.id)} to {_code(manifest.target.id)}",
        _introduction(manifest),
        "## Load it",
        _loading(manifest, repo, revision),
        "## Spaces",
        _spaces(manifest),
        "## Measured",
        _figures(manifest),
        "## Limits",
        "\n".join(f"* {limit}" for limit in _limits(manifest)),
        "## Contents",
        _contents(artifact),
    )
    return "\n\n".join(sections) + "\n"


def _front_matter(manifest: Manifest) -> str:
    tags = ["embcompat", "embeddings", manifest.source.modality]
    return "\n".join(["---", "library_name: embcompat", "tags:", *(f"- {json.dumps(tag)}" for tag in tags), "---"])


def _introduction(manifest: Manifest) -> str:
    return (
        f"An aligner of embcompat. It maps stored vectors of {_code(manifest.source.id)} to the space of "
        f"{_code(manifest.target.id)}, without the items that they were made from."
    )


def _loading(manifest: Manifest, repo: str, revision: str | None) -> str:
    texts = ", texts" if manifest.kind == TEXT_AWARE else ""
    option = "" if revision is None else f", revision={json.dumps(revision)}"
    return "\n".join(
        [
            "```sh",
            "pip install 'embcompat[hub]'",
            "```",
            "",
            "```python",
            "import embcompat as ec",
            "",
            f"aligner = ec.OnnxAligner.from_pretrained({json.dumps(repo)}{option})",
            f"converted = aligner.transform(vectors{texts})  # {manifest.source.dim} to {manifest.target.dim} numbers",
            "```",
            "",
            "Name a commit as `revision` to load the same aligner every time.",
        ]
    )


def _spaces(manifest: Manifest) -> str:
    rows = [
        ("", "source: what goes in", "target: what comes out"),
        ("---", "---", "---"),
        *(
            (label, *(_code(getattr(space, name)) for space in (manifest.source, manifest.target)))
            for label, name in (
                ("space", "id"),
                ("dimensions", "dim"),
                ("compared by", "similarity"),
                ("unit norm", "normalized"),
                ("embeds", "modality"),
            )
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    prints = [
        f"Fingerprint of the {role}, whatever changes its vectors silently:\n\n{_json_block(space)}"
        for role, space in (("source", manifest.source), ("target", manifest.target))
        if space.fingerprint
    ]
    return "\n\n".join([table, *prints])


def _figures(manifest: Manifest) -> str:
    if not manifest.metrics:
        return "Nothing was measured: the artifact was saved without held-out pairs."
    header = ["| figure | value | 95 % interval | on |", "| --- | --- | --- | --- |"]
    meanings = [
        f"* {_code(metric.name)}: {_MEANINGS[metric.name]}" for metric in manifest.metrics if metric.name in _MEANINGS
    ]
    table = "\n".join([*header, *(_figure_row(metric) for metric in manifest.metrics)])
    return "\n\n".join([table, *(["\n".join(meanings)] if meanings else [])])


def _figure_row(metric: Metric) -> str:
    interval = "" if metric.low is None or metric.high is None else f"{metric.low:.4g} to {metric.high:.4g}"
    return f"| {_code(metric.name)} | {metric.value:.4g} | {interval} | {metric.count:,} of the {metric.part} part |"


def _limits(manifest: Manifest) -> Iterator[str]:
    yield (
        f"It takes vectors of {_code(manifest.source.id)} alone. Another model, version, prompt or preprocessing gives "
        "other vectors, even where the number of dimensions is the same."
    )
    yield (
        "The figures compare converted with native vectors. Whether your search gets better is another question: "
        "measure it with `embcompat evaluate` on your own queries."
    )
    if manifest.split:
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(manifest.split.items()))
        yield f"Pairs: {parts}. Items unlike them convert worse."
    if REFIT in manifest.calibration:
        yield "It was fitted again on all pairs; the figures were measured before that and are a lower bound."
    chance = manifest.calibration.get(CHANCE)
    if isinstance(chance, dict) and chance.get("at_chance"):
        yield "**On held-out pairs it was not better than chance. Do not convert with it.**"
    quantiles = _quantiles(manifest)
    if quantiles:
        scores = ", ".join(f"{float(level):.0%} of held-out items below {score:.3g}" for level, score in quantiles)
        yield f"`aligner.convertibility(vectors)` tells how far a vector is from what was fitted: {scores}."
    if manifest.kind == TEXT_AWARE:
        yield "It reads the text of each item beside its vector."
    if manifest.is_reweighted:
        yield "It is reweighted: rows that the new model embeds must not be mixed with rows that it converts."


def _quantiles(manifest: Manifest) -> list[tuple[str, float]]:
    recorded = manifest.calibration.get(CONVERTIBILITY)
    quantiles = recorded.get("quantiles") if isinstance(recorded, dict) else None
    if not isinstance(quantiles, dict):
        return []
    return [(level, score) for level, score in quantiles.items() if isinstance(score, float)]


def _contents(artifact: Artifact) -> str:
    lines = [f"* `artifact/{name}`: {what}" for name, what in _CONTENTS.items() if name in artifact.manifest.files]
    return "\n".join(
        [
            f"Artifact {artifact.id}, kind {_code(artifact.manifest.kind)}, written by embcompat "
            f"{_code(artifact.manifest.versions.get('embcompat', 'of an unknown version'))}. Its manifest lists the "
            "SHA-256 of every file, and loading verifies them; that detects damage, not an attacker.",
            *(["", *lines] if lines else []),
        ]
    )


def _json_block(space: SpaceVersion) -> str:
    fields = {key: value for key, value in space.fingerprint.items() if key != FINGERPRINT_CANARY}  # long vectors
    text = json.dumps(redact_values(fields), indent=2, sort_keys=True)
    return "```json\n" + text.replace("`", "\\u0060") + "\n```"


def _code(value: object) -> str:
    """Return a value as code that cannot end early, in a table or out of it."""
    text = " ".join(str(value).split())
    return f"`{text.replace('`', chr(39)).replace('|', '/')}`"
