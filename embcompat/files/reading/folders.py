"""Folders as one table: partitioned Parquet, and what ``save_to_disk`` of Hugging Face datasets writes; Arrow files.

Imports pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.dataset as ds

from embcompat.errors import FileFormatError, InputError
from embcompat.files.formats import ENDINGS, ending_of
from embcompat.files.reading.sources import Source, TableSource
from embcompat.files.vectors import SPACE_KEY

_HIDDEN = (".", "_")


def open_folder(path: Path) -> Source:
    """Open a folder of Parquet files, of Arrow files, or a saved Hugging Face dataset.

    Raises:
        InputError: If it holds something else.
        FileFormatError: If a file is damaged.
    """
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
    files = files_of_vectors(path)
    kinds = {ENDINGS[ending_of(file)] for file in files}
    if kinds == {"parquet"}:
        return PartitionedSource(path, files)
    if kinds == {"arrow"}:
        return TableSource(path, pa.concat_tables([_read_arrow(file) for file in files]))
    if not files:
        raise InputError(f"{path} is a folder that holds no Parquet or Arrow files. Pass a file, or such a folder.")
    raise InputError(f"{path} must hold Parquet files alone to be one gallery. Got {', '.join(sorted(kinds))} files.")


def files_of_vectors(folder: Path) -> list[Path]:
    """List the files in a folder and below that may hold vectors, in order; hidden ones are left out."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if ending_of(file) in ENDINGS
        and file.is_file()
        and not any(part.startswith(_HIDDEN) for part in file.relative_to(folder).parts)
    ]


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
        raise InputError(f"{path} keeps a selection of its rows apart. Save it anew: dataset.flatten_indices().")
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

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path = path
        try:
            self._dataset = ds.dataset(
                [str(file) for file in files],
                format="parquet",
                partitioning=ds.partitioning(flavor="hive"),
                partition_base_dir=str(path),
            )
            self._counts = [fragment.count_rows() for fragment in self._dataset.get_fragments()]
            spaces = {
                (fragment.physical_schema.metadata or {}).get(SPACE_KEY) for fragment in self._dataset.get_fragments()
            }
        except (pa.ArrowException, OSError) as error:
            raise FileFormatError(f"{path} is not a folder of complete Parquet files: {error}") from error
        if len(spaces) > 1:
            raise FileFormatError(f"the files of {path} must all be of one space. They name {len(spaces)} different.")
        self.rows = sum(self._counts)
        self.schema: pa.Schema = self._dataset.schema

    def batches(self, start: int, size: int, columns: Sequence[str]) -> Generator[pa.RecordBatch]:
        """Read from row ``start`` to the end."""
        skip = start
        for count, fragment in zip(self._counts, self._dataset.get_fragments(), strict=True):
            if skip >= count:
                skip -= count
                continue
            try:
                for batch in fragment.to_batches(self.schema, columns=list(columns), batch_size=size):
                    if skip < len(batch):
                        yield batch.slice(skip)
                    skip = max(0, skip - len(batch))
            except (pa.ArrowException, OSError) as error:
                raise FileFormatError(f"{self.path} is damaged: {error}") from error
