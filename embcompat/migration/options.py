"""Options and report of a run, and the job that an artifact and the options make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import JsonValue

from embcompat.artifact import Artifact
from embcompat.errors import InputError
from embcompat.migration.rows import Failure, Shard
from embcompat.runtime import OnnxAligner
from embcompat.spaces import Similarity
from embcompat.stores.base import GalleryStore
from embcompat.stores.values import Coverage, Job


@dataclass(frozen=True)
class RunReport:
    """What one run did.

    Attributes:
        artifact_id: The artifact that was applied.
        url: The gallery.
        rows: Rows that this run converted.
        failures: Rows that could not be converted.
        passes: Times that the gallery was read.
        seconds: Wall time, index building included.
        rows_per_second: Rows converted, a second of converting.
        index_seconds: Time that index building took, or None where there was no index to build.
        coverage: Counted rows afterwards.
        rows_without_text: Rows that this run converted from the vector alone, because they have no text; 0 where the
            artifact reads no texts.
    """

    artifact_id: str
    url: str
    rows: int
    failures: list[Failure]
    passes: int
    seconds: float
    rows_per_second: float
    index_seconds: float | None
    coverage: Coverage
    rows_without_text: int = 0

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the report as JSON."""
        return {**asdict(self), "missing": self.coverage.missing}


@dataclass(frozen=True)
class RunOptions:
    """How to run a migration.

    Attributes:
        batch_size: Rows written at a time; the store's own choice when None.
        threads: Threads that convert.
        shard: The part of the gallery that this run converts.
        max_rows_per_second: Most rows converted a second, to spare the store; unlimited when None.
        journal: File to which steps are appended, or None.
        dead_letters: File to which rows that cannot be converted are appended, or None.
        metric: Metric of the index on the target side; the one in service when None.
        accept_changes: Whether to continue although the store cannot keep everything (`MigrationPlan.obstacles`).
        text_column: Column of the texts that a text-aware aligner reads beside the vectors, or None.
        texts: These texts by id, for a gallery that has no such column (FAISS, ``.npy``, Parquet); None otherwise.
    """

    batch_size: int | None = None
    threads: int = 1
    shard: Shard = field(default_factory=Shard)
    max_rows_per_second: float | None = None
    journal: Path | None = None
    dead_letters: Path | None = None
    metric: Similarity | None = None
    accept_changes: bool = False
    text_column: str | None = None
    texts: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "threads", "max_rows_per_second"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"{name} must be positive. Got {value}.")


def job_of(artifact: Artifact, options: RunOptions | None = None) -> Job:
    """Return the job that an artifact and the options make."""
    options = options or RunOptions()
    return Job(
        artifact.id,
        artifact.source,
        artifact.target,
        metric=options.metric,
        accept_changes=options.accept_changes,
        text_column=options.text_column,
        texts=options.texts,
    )


def require_texts(aligner: OnnxAligner, store: GalleryStore, job: Job) -> None:
    """Check that the job names a column of texts, or brings them, if the artifact reads texts, and only then.

    Raises:
        InputError: If not, or if the store gives or takes no texts.
    """
    named, brought = job.text_column is not None, job.texts is not None
    if aligner.reads_texts and not (named or brought):
        raise InputError(
            f"{aligner!r} reads the text of each row beside its vector. Name the column of the texts, --text-column "
            "(RunOptions.text_column), or for FAISS and files give them by id, --items (RunOptions.texts); the same in "
            "every step of the migration."
        )
    if (named or brought) and not aligner.reads_texts:
        raise InputError(
            f"{aligner!r} reads no texts. Leave --text-column (RunOptions.text_column) and --items (RunOptions.texts) "
            "out."
        )
    if named and brought:
        raise InputError("texts come from a column of the gallery or by id, not from both. Got text_column and texts.")
    if brought and not store.takes_texts:
        raise InputError(
            f"{store.url} takes no texts by id: an application may change its texts, and only their column would tell. "
            "Name the column: --text-column (RunOptions.text_column)."
        )
    if named and not store.reads_texts:
        raise InputError(
            f"{store.url} gives vectors without texts, and {aligner!r} reads texts. Convert files with it."
        )
