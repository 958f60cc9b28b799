"""Folders as one table: partitioned Parquet, and what ``save_to_disk`` of Hugging Face datasets writes; Arrow files.

Imports pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any, final

import pyarrow as pa

from embcompat.errors import FileFormatError, InputError
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.objects import Location, ObjectPath, object_error
from embcompat.files.patterns import folder_of, is_pattern, matches
from embcompat.files.reading.sources import Source, TableSource
from embcompat.files.vectors import SPACE_KEY

_HIDDEN = (".", "_")
_READERS = 16  # of footers in an object store, where each takes a round trip [ours]


def open_folder(path: Location) -> Source:
    """Open a folder of Parquet files, of Arrow files, a saved Hugging Face dataset, or the files that a pattern names.

    Raises:
        InputError: If it holds something else.
        FileFormatError: If a file is damaged.
    """
    if isinstance(path, ObjectPath) or is_pattern(path):
        return _open_parts(path)
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text()).get("splits", [])
        raise InputError(f"{path} holds several splits. Pass one of them: {', '.join(str(path / s) for s in splits)}.")
    if (path / "state.json").is_file():
        return _open_saved_dataset(path)
    lance = [entry.name for entry in path.iterdir() if entry.suffix == ".lance"]
    if path.suffix == ".lance" or lance:
        folder, table = (path.parent, path.stem) if path.suffix == ".lance" else (path, Path(lance[0]).stem)
        raise InputError(
            f"{path} holds a LanceDB table. Pass its address: lancedb://{folder.absolute()}#{table}.vector"
        )
    return _open_parts(path)


def _open_parts(path: Location) -> Source:
    files = files_of_vectors(path)
    kinds = {ENDINGS[ending_of(file)] for file in files}
    if kinds == {"parquet"}:
        return PartitionedSource(path, files)
    if kinds == {"arrow"}:
        tables = [_read_arrow(file) for file in files if isinstance(file, Path)]
        if len(tables) == len(files):
            return TableSource(path, pa.concat_tables(tables))
    if not files and is_pattern(path):
        raise InputError(f"no file of vectors matches the pattern {path}.")
    if not files:
        raise InputError(f"{path} is a folder that holds no Parquet or Arrow files. Pass a file, or such a folder.")
    raise InputError(f"{path} must hold only Parquet files to be one gallery. Got {', '.join(sorted(kinds))} files.")


def files_of_vectors(path: Location) -> list[Location]:
    """List the files that may hold vectors, in order; hidden ones are left out.

    Args:
        path: A folder, for the files in it and below; or a pattern.
    """
    folder = folder_of(path)
    files: list[Location] = [
        file
        for file in (folder.walk() if isinstance(folder, ObjectPath) else sorted(folder.rglob("*")))
        if ending_of(file) in ENDINGS
        and (isinstance(file, ObjectPath) or file.is_file())
        and not any(part.startswith(_HIDDEN) for part in path_below(file, folder).parts)
    ]
    return files if folder == path else [file for file in files if matches(file, path)]


def path_below(file: Location, folder: Location) -> PurePath:
    """Return the path of a file below a folder."""
    if isinstance(file, ObjectPath) and isinstance(folder, ObjectPath):
        return file.relative_to(folder)
    return Path(str(file)).relative_to(str(folder))


def open_arrow(path: Path) -> TableSource:
    """Open an Arrow file or stream, or a Feather file.

    Raises:
        FileFormatError: If it is damaged.
    """
    return TableSource(path, _read_arrow(path))


def _read_arrow(path: Path) -> pa.Table:
    mapped = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(mapped).read_all()
    except pa.ArrowInvalid:
        mapped.seek(0)
    try:
        return pa.ipc.open_stream(mapped).read_all()
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} is not a complete Arrow file: {error}") from error


def _open_saved_dataset(path: Path) -> TableSource:
    state = json.loads((path / "state.json").read_text())
    if state.get("_indices_data_files"):
        raise InputError(f"{path} stores a selection of its rows separately. Save dataset.flatten_indices() instead.")
    table = pa.concat_tables([_read_arrow(path / file["filename"]) for file in state["_data_files"]])
    info = path / "dataset_info.json"
    description = json.loads(info.read_text()).get("description", "") if info.is_file() else ""
    metadata = table.schema.metadata or {}
    if description.startswith("{") and SPACE_KEY not in metadata:
        table = table.replace_schema_metadata({**metadata, SPACE_KEY: description.encode()})
    return TableSource(path, table)


@final
class PartitionedSource:
    """Parquet files as one table, in the order of their paths; folders ``key=value`` become columns."""

    def __init__(self, path: Location, files: Sequence[Location]) -> None:
        import pyarrow.dataset as ds  # loads pandas, too

        self.path = path
        remote = isinstance(path, ObjectPath)
        system = files[0].filesystem()[0] if isinstance(files[0], ObjectPath) else None
        try:
            self._dataset = ds.dataset(
                [_inner(file) for file in files],
                format="parquet",
                partitioning=ds.partitioning(flavor="hive"),
                partition_base_dir=_inner(folder_of(path)),
                filesystem=system,
            )
            self._fragments = list(self._dataset.get_fragments())
            with ThreadPoolExecutor(_READERS if remote else 1) as pool:
                self._counts = list(pool.map(_count_rows, self._fragments))
            spaces = {(fragment.physical_schema.metadata or {}).get(SPACE_KEY) for fragment in self._fragments}
        except (pa.ArrowException, OSError) as error:
            incomplete = FileFormatError(f"{path} is not a folder of complete Parquet files: {error}")
            raise object_error(path, error) or incomplete from error
        if len(spaces) > 1:
            raise FileFormatError(
                f"the files of {path} must all be of one space. They name {len(spaces)} different ones."
            )
        self.rows = sum(self._counts)
        self.schema: pa.Schema = self._dataset.schema

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` to the end."""
        skip = start
        for count, fragment in zip(self._counts, self._fragments, strict=True):
            if skip >= count:
                skip -= count
                continue
            try:
                for batch in fragment.to_batches(self.schema, columns=list(columns), batch_size=size):
                    if skip < len(batch):
                        yield batch.slice(skip)
                    skip = max(0, skip - len(batch))
            except (pa.ArrowException, OSError) as error:
                damaged = FileFormatError(f"{self.path} is damaged: {error}")
                raise object_error(self.path, error) or damaged from error


def _inner(path: Location) -> str:
    """Return a path as its file system knows it."""
    return path.filesystem()[1] if isinstance(path, ObjectPath) else str(path)


def _count_rows(fragment: Any) -> int:
    fragment.ensure_complete_metadata()
    return int(fragment.metadata.num_rows)
