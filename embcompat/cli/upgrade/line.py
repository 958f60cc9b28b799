"""What an upgrade is, and the commands that it consists of."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embcompat.errors import InputError
from embcompat.files.writing.atomic import atomic_path

CONVERTING_MODES: Final = ("convert", "fused", "lazy_backfill", "backfill")
"""Verdicts that begin with a converted gallery."""

UNWEIGHTED: Final = "old-to-new-unweighted"
"""Folder of the aligner without its reweighting."""

TEXT_STORES: Final = ("lancedb:", "qdrant+")
"""How the addresses begin of stores that are migrated with their texts; Parquet files are, too."""

READ_TEXTS: Final = ("plan", "run", "verify", "cutover")
"""Verbs of a migration that read texts."""


class Upgrade(BaseModel):
    """The file that describes an upgrade.

    Attributes:
        gallery: Address of the gallery in use.
        text_column: Its column with the texts or paths.
        extractor: The new model, as `embcompat extractors` lists it.
        model: Path or name, for extractors that take one.
        options: Options of the extractor, ``KEY=VALUE``.
        old_space: ``name@version`` of the vectors in use, where the store was never told.
        rows: Rows to sample for the pairs.
        old_queries: Queries under the old model.
        new_queries: The same queries under the new model.
        qrels: Which items answer them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gallery: str
    text_column: str
    extractor: str
    model: str | None = None
    options: list[str] = Field(default_factory=list)
    old_space: str | None = None
    rows: int = Field(default=5_000, ge=100)
    old_queries: str | None = None
    new_queries: str | None = None
    qrels: str | None = None

    def to_toml(self) -> str:
        """Return the file's text; a JSON string is also one of TOML."""
        values = self.model_dump(exclude_none=True, exclude_defaults=False)
        return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def read_upgrade(path: Path) -> Upgrade:
    """Read the file that describes an upgrade.

    Raises:
        InputError: If it is missing, or a line cannot be used; names it.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Write it with: embcompat upgrade init {path}")
    try:
        return Upgrade.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


@dataclass(frozen=True)
class Step:
    """One step of an upgrade.

    Attributes:
        words: The command, without ``embcompat``.
        result: The file or folder that it writes.
    """

    words: list[str]
    result: Path


@final
class UpgradeLine:
    """The steps of one upgrade, and which of them are done; state is files in the folder ``FILE`` without its ending.

    Args:
        file: The file that describes the upgrade.
        upgrade: What it says.
    """

    def __init__(self, file: Path, upgrade: Upgrade) -> None:
        self._upgrade, self._folder = upgrade, file.with_suffix("")
        self.report = self._folder / "report.html"

    def measuring(self) -> list[Step]:
        """Return the steps from the gallery to the report."""
        upgrade, folder = self._upgrade, self._folder
        old, new, artifact = folder / "old.parquet", folder / "new.parquet", folder / "old-to-new"
        result = folder / "evaluation.json"
        judged = [
            *_option("--old-queries", upgrade.old_queries),
            *_option("--new-queries", upgrade.new_queries),
            *_option("--qrels", upgrade.qrels),
        ]
        sample = ["sample", upgrade.gallery, "--rows", str(upgrade.rows), "--text-column", upgrade.text_column]
        sample += [*_option("--keep-out", upgrade.qrels), *_option("--space", upgrade.old_space)]
        embed = ["embed", str(old), "--extractor", upgrade.extractor, *_option("--model", upgrade.model)]
        embed += [word for option in upgrade.options for word in ("--option", option)]
        sides = ["--old-gallery", str(old), "--new-gallery", str(new)]
        return [
            Step([*sample, "--out", str(old)], old),
            Step([*embed, "--text-column", "text", "--out", str(new)], new),
            Step(["fit", str(old), str(new), "--no-refit", *self._words(), "--out", str(artifact)], artifact),
            Step(["evaluate", str(artifact), *sides, *judged, "--out", str(result)], result),
            Step(["report", str(result), "--out", str(self.report)], self.report),
        ]

    def migration(self, *verbs: str) -> list[list[str]]:
        """Return the commands of the migration."""
        from embcompat.artifact import TEXT_AWARE, read_artifact

        artifact = self._folder / "old-to-new"
        unweighted = self._folder / UNWEIGHTED
        if unweighted.is_dir() and self.unweighting():
            artifact = unweighted
        reads_texts = read_artifact(artifact).manifest.kind == TEXT_AWARE
        texts = {verb: _option("--text-column", self._upgrade.text_column) for verb in READ_TEXTS if reads_texts}
        return [["migrate", verb, str(artifact), self._upgrade.gallery, *texts.get(verb, [])] for verb in verbs]

    def unweighting(self) -> list[str]:
        """Return the command that takes the reweighting out of the aligner; none where it may stay.

        It must go where native rows will stand among converted ones.
        """
        from embcompat.artifact import read_artifact
        from embcompat.upgrade import MIXED_MODES

        artifact = self._folder / "old-to-new"
        if self.verdict()["decision"] not in MIXED_MODES or not read_artifact(artifact).manifest.is_reweighted:
            return []
        return ["unweight", str(artifact), "--out", str(self._folder / UNWEIGHTED), "--overwrite"]

    def _words(self) -> list[str]:
        """Return the options by which `fit` tries the words, where the gallery can be migrated with its texts."""
        upgrade = self._upgrade
        reads_texts = upgrade.gallery.startswith(TEXT_STORES) or upgrade.gallery.endswith(".parquet")
        if upgrade.options or not reads_texts:
            return []
        return ["--extractor", upgrade.extractor, *_option("--model", upgrade.model)]

    def artifact_exists(self) -> bool:
        """Return whether the aligner is fitted."""
        return (self._folder / "old-to-new").is_dir()

    def is_done(self, step: Step) -> bool:
        """Return whether a step's result is there and was made by this very command."""
        return step.result.exists() and self._finished().get(step.result.name) == step.words

    def begin(self, step: Step) -> list[str]:
        """Return the command of a step, which replaces the result of another one; later steps count as to do again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        finished = self._finished()
        names = [other.result.name for other in self.measuring()]
        for name in names[names.index(step.result.name) :]:
            finished.pop(name, None)
        self._save(finished)
        replaces = step.result.exists() and step.words[0] in ("sample", "embed", "fit")
        return [*step.words, "--overwrite"] if replaces else step.words

    def finish(self, step: Step) -> None:
        """Note that a step is done."""
        self._save({**self._finished(), step.result.name: step.words})

    def verdict(self) -> dict[str, Any]:
        """Return what the evaluation wrote.

        Raises:
            InputError: If nothing was evaluated yet.
        """
        path = self._folder / "evaluation.json"
        if not path.is_file():
            raise InputError(f"{path} does not exist. Run the measuring part first: embcompat upgrade run")
        result: dict[str, Any] = json.loads(path.read_text())
        return result

    def _finished(self) -> dict[str, list[str]]:
        path = self._folder / "steps.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def _save(self, finished: dict[str, list[str]]) -> None:
        with atomic_path(self._folder / "steps.json") as temporary:
            temporary.write_text(json.dumps(finished, indent=1))


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]
