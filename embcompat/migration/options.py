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
from embcompat.spaces import Similarity, SpaceVersion, require_space
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
        passes: How often the gallery was read.
        seconds: Wall time, index building included.
        rows_per_second: Rows per second of converting.
        index_seconds: Time of building the index; None if there was none to build.
        coverage: Row counts afterwards.
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
        texts: The texts by id, for a gallery without such a column (FAISS, ``.npy``, Parquet); None otherwise.
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


def require_vectors_of(space: SpaceVersion, store: GalleryStore, recorded: SpaceVersion | None) -> None:
    """Check that a gallery holds vectors of a space, as far as the store can tell.

    Raises:
        SpaceMismatchError: If the store records another space.
        InputError: If its vectors have another length.
    """
    if recorded is not None:  # before the length, which is the worse explanation
        require_space(recorded, space, what=store.url)
    if store.dim() not in (0, space.dim):
        raise InputError(
            f"{store.url} must hold vectors of length {space.dim}, as space {space.id!r} has. Got {store.dim()}."
        )


def require_texts(aligner: OnnxAligner, store: GalleryStore, job: Job) -> None:
    """Check that the job names a column of texts, or brings texts, exactly if the artifact reads texts.

    Raises:
        InputError: If it does not, or the store neither returns nor takes texts.
    """
    named, brought = job.text_column is not None, job.texts is not None
    if aligner.reads_texts and not (named or brought):
        raise InputError(
            f"{aligner!r} reads the text of each row beside its vector. Name the column of texts: --text-column "
            "(RunOptions.text_column). For FAISS and files, pass the texts by id: --items (RunOptions.texts). Do so in "
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
            f"{store.url} takes no texts by id, because an application may change a text, which only the column shows. "
            "Name the column: --text-column (RunOptions.text_column)."
        )
    if named and not store.reads_texts:
        raise InputError(
            f"{store.url} returns no texts, and {aligner!r} reads texts. Convert files with this artifact instead."
        )
