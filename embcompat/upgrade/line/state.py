"""The state of an upgrade: which steps are done, which are out of date and why, and what comes next."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

from embcompat.errors import InputError, MigrationError
from embcompat.files import atomic_path, file_identity
from embcompat.redaction import redact
from embcompat.results import CONVERTING_MODES, MIXED_MODES
from embcompat.upgrade.line.description import Upgrade
from embcompat.upgrade.line.steps import ARTIFACT, EVALUATION, REPORT, UNWEIGHTED, Step, measuring_steps, migration_step

_STEPS: Final = "steps.json"


@dataclass(frozen=True)
class StepState:
    """A step, and how far it is.

    Attributes:
        step: The step.
        state: ``done``, ``to do``, or ``stale``: its result exists, but is not what its command would write now.
        reason: Why it is stale; empty otherwise.
    """

    step: Step
    state: Literal["done", "to do", "stale"]
    reason: str = ""


@final
class UpgradeLine:
    """The steps of one upgrade and their states, which are files in the folder ``FILE`` without its ending.

    ``steps.json`` there records for each finished step its command, without secrets, and the identity of its input
    files. A step is done while its result exists, both are unchanged, and the steps before it are done.

    Args:
        file: The file that describes the upgrade.
        upgrade: What it says.

    Attributes:
        file: The file.
        upgrade: What it says.
        folder: Where the results are.
    """

    def __init__(self, file: Path, upgrade: Upgrade) -> None:
        self.file, self.upgrade, self.folder = file, upgrade, file.with_suffix("")

    def __repr__(self) -> str:
        return f"UpgradeLine({str(self.file)!r}, gallery={redact(self.upgrade.gallery)!r})"

    @property
    def report(self) -> Path:
        """The page with the figures."""
        return self.folder / REPORT

    def states(self) -> list[StepState]:
        """Return the measuring steps, in order, and how far each is."""
        notes = self._notes()
        states: list[StepState] = []
        for step in measuring_steps(self.upgrade, self.folder):
            if not step.result.exists():
                states.append(StepState(step, "to do"))
                continue
            reason = _reason(notes.get(step.name), step)
            earlier = next((each for each in states if each.state != "done"), None)
            if not reason and earlier is not None:
                reason = f"{earlier.step.name} is {earlier.state}"
            states.append(StepState(step, "stale" if reason else "done", reason))
        return states

    def begin(self, step: Step) -> tuple[str, ...]:
        """Return the command of a step, which replaces an earlier result; later steps must then run again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [other.name for other in measuring_steps(self.upgrade, self.folder)]
        later = set(names[names.index(step.name) :])
        self._save({name: note for name, note in self._notes().items() if name not in later})
        return (*step.words, "--overwrite") if step.overwrites and step.result.exists() else step.words

    def finish(self, step: Step) -> None:
        """Note that a step is done."""
        self._save({**self._notes(), step.name: _note(step)})

    def verdict(self) -> dict[str, Any]:
        """Return what the evaluation wrote, as JSON.

        Raises:
            InputError: If nothing was evaluated yet.
        """
        path = self.folder / EVALUATION
        if not path.is_file():
            raise InputError(f"{path} does not exist. Run the measuring part first: embcompat upgrade run {self.file}")
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result

    def require_converting(self) -> None:
        """Check that the measuring steps are done and their verdict begins with a converted gallery.

        Raises:
            InputError: If a step is not done, or out of date.
            MigrationError: If there is nothing to convert.
        """
        verdict = self.verdict()
        if waiting := next((each for each in self.states() if each.state != "done"), None):
            because = f" ({waiting.reason})" if waiting.reason else ""
            raise InputError(
                f"the measuring steps must be done, so that the verdict holds for what {self.file} says. "
                f"{waiting.step.name} is {waiting.state}{because}. Run: embcompat upgrade run {self.file}"
            )
        if self.is_unjudged():
            raise MigrationError(
                f"there is no verdict, because no queries are judged. Name judged queries in {self.file}, or convert "
                f"without a verdict: {self.next_step('untouched')}"
            )
        if verdict["decision"] not in CONVERTING_MODES:
            raise MigrationError(
                f"the verdict is {verdict['decision']!r}: there is nothing to convert. See {self.report}."
            )

    def migration(self, *verbs: str) -> list[tuple[str, ...]]:
        """Return commands of the migration."""
        from embcompat.artifact import TEXT_AWARE, read_artifact

        artifact = self.artifact
        reads_texts = read_artifact(artifact).manifest.kind == TEXT_AWARE
        return [migration_step(self.upgrade, artifact, verb, reads_texts=reads_texts) for verb in verbs]

    @property
    def artifact(self) -> Path:
        """The aligner that the gallery is converted with: without its reweighting, where that was taken out."""
        unweighted = self.folder / UNWEIGHTED
        return unweighted if unweighted.is_dir() and self.unweighting() is not None else self.folder / ARTIFACT

    def unweighting(self) -> tuple[str, ...] | None:
        """Return the command that takes the reweighting out of the aligner; None where it may stay.

        It must go where native rows will stand among converted ones, and where the queries are weighted instead.
        """
        from embcompat.artifact import read_artifact

        artifact = self.folder / ARTIFACT
        verdict = self.verdict()["decision"] if (self.folder / EVALUATION).is_file() else None
        unweighted_modes = CONVERTING_MODES if self.upgrade.weigh_queries else MIXED_MODES
        if verdict not in unweighted_modes or not read_artifact(artifact).manifest.is_reweighted:
            return None
        return ("unweight", str(artifact), "--out", str(self.folder / UNWEIGHTED), "--overwrite")

    def phase(self) -> str:
        """Return how far the migration is, as the gallery records it; ``untouched`` before an aligner is fitted."""
        from embcompat.artifact import read_artifact
        from embcompat.migration import job_of
        from embcompat.stores import open_store

        artifact = self.artifact
        if not artifact.is_dir():
            return "untouched"
        store = open_store(self.upgrade.gallery)
        try:
            return store.state(job_of(read_artifact(artifact))).phase
        finally:
            store.close()

    def next_step(self, phase: str) -> str | None:
        """Return the next command, or None when nothing is left to do.

        Args:
            phase: How far the migration is, see `phase`.
        """
        upgrade = "embcompat upgrade"
        if phase == "cut_over":
            return f"{upgrade} rollback {self.file}, or embcompat migrate drop-old once the old vectors are not needed"
        if phase == "finished":
            return None
        if any(each.state != "done" for each in self.states()):
            return f"{upgrade} run {self.file}"
        if self.is_unjudged():
            (words,) = self.migration("plan" if phase == "untouched" else "verify")
            return redact(shlex.join(["embcompat", *words]))
        if self.verdict()["decision"] not in CONVERTING_MODES:
            return None
        return f"{upgrade} {'cutover' if phase == 'prepared' and self.applied() else 'apply'} {self.file}"

    def is_unjudged(self) -> bool:
        """Return whether there are figures without a verdict, because no queries are judged."""
        return (self.folder / EVALUATION).is_file() and self.verdict()["decision"] == "unjudged"

    def applied(self) -> bool:
        """Return whether the gallery was converted and verified with the artifact that is there now."""
        return self._notes().get("applied") == self._artifact_id()

    def note_applied(self) -> None:
        """Note that the gallery is converted and verified."""
        self._save({**self._notes(), "applied": self._artifact_id()})

    def _artifact_id(self) -> str | None:
        from embcompat.artifact import read_artifact

        return read_artifact(self.artifact).id if self.artifact.is_dir() else None

    def _notes(self) -> dict[str, Any]:
        path = self.folder / _STEPS
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def _save(self, notes: dict[str, Any]) -> None:
        with atomic_path(self.folder / _STEPS) as temporary:
            temporary.write_text(json.dumps(notes, indent=1), encoding="utf-8")


def _note(step: Step) -> dict[str, Any]:
    return {
        "words": [redact(word) for word in step.words],
        "inputs": {str(path): file_identity(path) for path in step.inputs if path.exists()},
    }


def _reason(noted: dict[str, Any] | None, step: Step) -> str:
    """Return why an existing result is stale; empty if it is not."""
    if noted is None:
        return "its step did not finish"
    now = _note(step)
    if changed := next((path for path in now["inputs"] if now["inputs"][path] != noted["inputs"].get(path)), None):
        return f"{changed} has changed since"
    if now["words"] == noted["words"]:
        return ""
    old, new = _options(noted["words"]), _options(now["words"])
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    return "; ".join(f"{name} was {old.get(name, 'not set')}, is {new.get(name, 'not set')}" for name in names)


def _options(words: list[str]) -> dict[str, str]:
    """Return the options of a command by name, a flag as ``set``; the words before them stand under the command."""
    options = {words[0]: ""}
    name = words[0]
    for word in words[1:]:
        if word.startswith("--"):
            name = word
            options.setdefault(name, "")
        else:
            options[name] = f"{options[name]} {word}".strip()
    return {name: value or "set" for name, value in options.items()}
