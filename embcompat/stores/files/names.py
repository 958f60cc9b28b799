"""Names of the files that a migration makes beside a gallery."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from embcompat.stores.values import Job, Obstacle, kept_old_side

_SUFFIX: Final = re.compile("[0-9a-f]{12}")


@dataclass(frozen=True)
class JobFiles:
    """The files of one job on one gallery.

    Attributes:
        path: The file in service.
        suffix: What tells the names of the job from all others.
    """

    path: Path
    suffix: str

    @property
    def records(self) -> Path:
        """Target vectors on their way."""
        return self.path.with_name(f".{self.path.name}.{self.suffix}.part")

    @property
    def new(self) -> Path:
        """The new file before the cutover."""
        return self.path.with_name(f"{self.path.name}.{self.suffix}")

    @property
    def old(self) -> Path:
        """The old file after the cutover."""
        return self.path.with_name(f"{self.path.name}.old_{self.suffix}")

    @property
    def returned(self) -> Path:
        """The new file in the middle of a rollback."""
        return self.path.with_name(f"{self.path.name}.back_{self.suffix}")

    @property
    def rows(self) -> Path:
        """What was put into service."""
        return self.path.with_name(f".{self.path.name}.{self.suffix}.rows")

    @property
    def notes(self) -> Path:
        """Which files are in which space; of all jobs."""
        return self.path.with_name(f".{self.path.name}.embcompat.json")

    def was_switched(self) -> bool:
        """Return whether a file that an application wrote took the place of the new one, not of the old one."""
        return not self.new.exists() and not self.path.samefile(self.old)

    def temporary(self) -> list[Path]:
        """Return what a kill has left of files that were being written or renamed."""
        names = (self.path.name, self.new.name, self.rows.name, self.notes.name)
        torn = [file for name in names for file in self.path.parent.glob(f".{glob.escape(name)}.????????.part")]
        return [*torn, self.returned] if self.returned.exists() else torn

    def remove_temporary(self) -> None:
        """Remove what `temporary` lists."""
        for file in self.temporary():
            file.unlink(missing_ok=True)


def other_old_sides(files: JobFiles, job: Job) -> list[Obstacle]:
    """List other jobs that have kept the old file of a gallery."""
    start = f"{files.path.name}.old_"
    suffixes = [file.name.removeprefix(start) for file in files.path.parent.glob(f"{glob.escape(start)}*")]
    others = sorted(suffix for suffix in suffixes if _SUFFIX.fullmatch(suffix) and suffix != files.suffix)
    return [kept_old_side(replace(job, artifact_id=suffix)) for suffix in others]
