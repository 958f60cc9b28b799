from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embcompat.aligners import AffineAligner, load_aligner
from embcompat.artifact import Artifact
from embcompat.embeddings import Embeddings, PairSplit
from embcompat.errors import FileFormatError, InputError, MigrationError, SpaceMismatchError, StoreError
from embcompat.export import save_artifact
from embcompat.files.vectors import vector_type
from embcompat.files.writing.parts import journal_path, part_path
from embcompat.migration import convert_file

Advance = Callable[[int], None]


class KilledError(Exception):
    """Stands for whatever ends a run."""


@contextmanager
def stop_after(rows: int) -> Iterator[Advance]:
    converted = 0

    def advance(count: int) -> None:
        nonlocal converted
        converted += count
        if converted >= rows:
            raise KilledError

    yield advance


def interrupt(artifact: Artifact, source: Path, target: Path, *, rows: int, batch_size: int) -> None:
    with pytest.raises(KilledError):
        convert_file(artifact, source, target, batch_size=batch_size, progress=lambda _: stop_after(rows))
    assert not target.exists()


@pytest.fixture
def expected(artifact: Artifact, gallery: Embeddings) -> np.ndarray:
    return load_aligner(artifact).transform(gallery.vectors)


def test_a_parquet_file_is_converted_with_everything_it_carries(
    artifact: Artifact, gallery: Embeddings, source: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    report = convert_file(artifact, source, tmp_path / "new.parquet")
    converted = Embeddings.load(tmp_path / "new.parquet")
    np.testing.assert_allclose(converted.vectors, expected, rtol=1e-4, atol=1e-5)
    assert converted.ids.tolist() == gallery.ids.tolist()
    assert converted.labels is not None
    assert gallery.labels is not None
    assert converted.labels.tolist() == gallery.labels.tolist()
    assert converted.space == artifact.target
    metadata = pq.read_schema(tmp_path / "new.parquet").metadata
    assert json.loads(metadata[b"embcompat.provenance"])["artifact"] == artifact.id
    assert (report.rows, report.resumed_rows, report.sampled_rows) == (1000, 0, 256)
    assert report.canary is not None
    assert report.canary.outranked > 0.99
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["new.parquet", "old.parquet"]


@pytest.mark.parametrize(("batch_size", "threads"), [(9, 3), (256, 1), (1000, 2), (5000, 1)])
def test_the_result_does_not_depend_on_batches_or_threads(
    artifact: Artifact, source: Path, expected: np.ndarray, tmp_path: Path, batch_size: int, threads: int
) -> None:
    convert_file(artifact, source, tmp_path / "new.parquet", batch_size=batch_size, threads=threads)
    np.testing.assert_allclose(Embeddings.load(tmp_path / "new.parquet").vectors, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "pieces"), [(1_000, 1), (20_000, 10), (40_000, 16)])
def test_every_thread_has_blocks_of_a_small_file(artifact: Artifact, tmp_path: Path, rows: int, pieces: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((rows, artifact.source.dim), dtype=np.float32)
    Embeddings(vectors, [f"item-{row}" for row in range(rows)], artifact.source).save(tmp_path / "old.parquet")
    convert_file(artifact, tmp_path / "old.parquet", tmp_path / "new.parquet", threads=2)
    assert pq.read_metadata(tmp_path / "new.parquet").num_row_groups == pieces


def test_other_columns_of_any_type_are_carried_over(artifact: Artifact, gallery: Embeddings, tmp_path: Path) -> None:
    count = 300
    table = pa.table(
        {
            "size": pa.array([None if row % 5 == 0 else float("nan") for row in range(count)]),
            "vector": pa.array(gallery.vectors[:count].tolist(), pa.list_(pa.float64())),
            "tags": pa.array([["a"] * (row % 3) for row in range(count)]),
            "id": pa.array(range(count)),
            "kind": pa.array([["x", "y"][row % 2] for row in range(count)]).dictionary_encode(),
            "meta": pa.array([{"page": row, "text": "t" * 200} for row in range(count)]),
        },
        metadata={"embcompat.space": artifact.source.to_json(), "huggingface": "{}", "mine": "kept"},
    )
    pq.write_table(table, tmp_path / "old.parquet", row_group_size=41)
    convert_file(artifact, tmp_path / "old.parquet", tmp_path / "new.parquet", batch_size=64)
    converted = pq.read_table(tmp_path / "new.parquet")
    assert converted.column_names == table.column_names
    assert converted.schema.field("vector").type == vector_type(artifact.target.dim)
    assert repr(converted.drop_columns("vector").to_pydict()) == repr(table.drop_columns("vector").to_pydict())
    assert converted.schema.metadata[b"mine"] == b"kept"
    assert b"huggingface" not in converted.schema.metadata


@pytest.mark.parametrize("rows", [1, 300, 999])
@pytest.mark.parametrize(("first", "second"), [(100, 100), (100, 33), (33, 400)])
def test_an_interrupted_run_goes_on_with_any_batch_size(
    artifact: Artifact, source: Path, expected: np.ndarray, tmp_path: Path, rows: int, first: int, second: int
) -> None:
    target = tmp_path / "new.parquet"
    interrupt(artifact, source, target, rows=rows, batch_size=first)
    counts: list[int] = []

    @contextmanager
    def count(_rows: int) -> Iterator[Advance]:
        yield counts.append

    report = convert_file(artifact, source, target, batch_size=second, progress=count)
    assert report.resumed_rows == min(1000, -(-rows // first) * first)
    assert sum(counts) == 1000 - report.resumed_rows
    np.testing.assert_allclose(Embeddings.load(target).vectors, expected, rtol=1e-4, atol=1e-5)


CHILD = """
import os, signal, sys
from contextlib import contextmanager
from embcompat.migration import convert_file

@contextmanager
def kill(_rows):
    done = 0
    def advance(count):
        nonlocal done
        done += count
        if done >= int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
    yield advance

convert_file(sys.argv[1], sys.argv[2], sys.argv[3], batch_size=50, progress=kill)
"""


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_a_run_killed_again_and_again_loses_nothing(
    artifact: Artifact, gallery: Embeddings, source: Path, expected: np.ndarray, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"new{suffix}"
    if suffix == ".npy":
        source = tmp_path / "old.npy"
        np.save(source, gallery.vectors)
    space = artifact.source.to_json()
    child = CHILD.replace(
        "batch_size=50", f"batch_size=50, space=__import__('embcompat').spaces.SpaceVersion.from_json('{space}')"
    )
    for rows in (50, 400):
        arguments = [sys.executable, "-c", child, str(artifact.path), str(source), str(target), str(rows)]
        assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
        assert not target.exists()
    report = convert_file(artifact, source, target, space=artifact.source)
    assert report.resumed_rows == 450
    embeddings = np.load(target) if suffix == ".npy" else Embeddings.load(target).vectors
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("part_tail", "journal_tail"),
    [(b"PAR1 half a piece", b""), (b"", b'{"end": 99, "ro'), (b"x" * 100, b'{"end": 999999999, "rows": 900}\n')],
)
def test_what_a_kill_left_half_written_is_cut_off(
    artifact: Artifact, source: Path, expected: np.ndarray, tmp_path: Path, part_tail: bytes, journal_tail: bytes
) -> None:
    target = tmp_path / "new.parquet"
    interrupt(artifact, source, target, rows=300, batch_size=100)
    for path, tail in ((part_path(target), part_tail), (journal_path(target), journal_tail)):
        with path.open("ab") as stream:
            stream.write(tail)
    assert convert_file(artifact, source, target).resumed_rows == 300
    np.testing.assert_allclose(Embeddings.load(target).vectors, expected, rtol=1e-4, atol=1e-5)


def test_a_run_killed_between_the_last_piece_and_the_name_only_finishes(
    artifact: Artifact, source: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    target = tmp_path / "new.parquet"
    interrupt(artifact, source, target, rows=1000, batch_size=100)
    with part_path(target).open("ab") as stream:
        stream.write(b"a footer, perhaps")
    assert convert_file(artifact, source, target).resumed_rows == 1000
    np.testing.assert_allclose(Embeddings.load(target).vectors, expected, rtol=1e-4, atol=1e-5)


def test_another_source_another_boot_or_no_resume_starts_from_the_beginning(
    artifact: Artifact, gallery: Embeddings, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new.parquet"
    interrupt(artifact, source, target, rows=300, batch_size=100)
    assert convert_file(artifact, source, target, resume=False).resumed_rows == 0

    interrupt_target = tmp_path / "other.parquet"
    interrupt(artifact, source, interrupt_target, rows=300, batch_size=100)
    journal = journal_path(interrupt_target)
    journal.write_text(journal.read_text().replace('"boot": "', '"boot": "another-'))
    assert convert_file(artifact, source, interrupt_target).resumed_rows == 0

    third = tmp_path / "third.parquet"
    interrupt(artifact, source, third, rows=300, batch_size=100)
    gallery.select(np.arange(999, -1, -1)).save(source)
    assert convert_file(artifact, source, third).resumed_rows == 0
    assert Embeddings.load(third).ids[0] == "item-999"


def test_a_source_changed_meanwhile_is_not_passed_off_as_converted(
    artifact: Artifact, source: Path, tmp_path: Path
) -> None:
    @contextmanager
    def touch(_rows: int) -> Iterator[Advance]:
        yield lambda _count: os.utime(source, (1, 1))

    with pytest.raises(MigrationError, match="was changed while it was converted"):
        convert_file(artifact, source, tmp_path / "new.parquet", progress=touch)
    assert not (tmp_path / "new.parquet").exists()


def test_two_processes_do_not_write_the_same_target(artifact: Artifact, source: Path, tmp_path: Path) -> None:
    @contextmanager
    def again(_rows: int) -> Iterator[Advance]:
        with pytest.raises(StoreError, match="another process is writing"):
            convert_file(artifact, source, tmp_path / "new.parquet")
        yield lambda _count: None

    assert convert_file(artifact, source, tmp_path / "new.parquet", progress=again).rows == 1000


def test_npy_is_converted_from_any_float_type_and_order(
    artifact: Artifact, gallery: Embeddings, expected: np.ndarray, tmp_path: Path
) -> None:
    for number, array in enumerate(
        (gallery.vectors, gallery.vectors.astype(">f8"), np.asfortranarray(gallery.vectors))
    ):
        np.save(tmp_path / f"old{number}.npy", array)
        report = convert_file(
            artifact,
            tmp_path / f"old{number}.npy",
            tmp_path / "new.npy",
            space=artifact.source,
            batch_size=300,
            overwrite=True,
        )
        vectors = np.load(tmp_path / "new.npy")
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
        assert report.sampled_rows == 256


def test_npy_becomes_parquet_with_row_numbers_for_ids(
    artifact: Artifact, gallery: Embeddings, expected: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "old.npy", gallery.vectors)
    convert_file(artifact, tmp_path / "old.npy", tmp_path / "new.parquet", space=artifact.source, batch_size=77)
    converted = Embeddings.load(tmp_path / "new.parquet")
    assert converted.ids.tolist() == [str(row) for row in range(1000)]
    np.testing.assert_allclose(converted.vectors, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_short_files(artifact: Artifact, gallery: Embeddings, tmp_path: Path, rows: int) -> None:
    short = gallery.select(np.arange(rows))
    short.save(tmp_path / "old.parquet")
    np.save(tmp_path / "old.npy", short.vectors)
    for name in ("old.parquet", "old.npy"):
        target = (tmp_path / name).with_stem("new")
        report = convert_file(artifact, tmp_path / name, target, space=artifact.source)
        assert (report.rows, report.sampled_rows) == (rows, rows)
    assert len(Embeddings.load(tmp_path / "new.parquet")) == rows
    assert np.load(tmp_path / "new.npy").shape == (rows, artifact.target.dim)


def test_a_bad_vector_is_named_and_the_old_target_stays(
    artifact: Artifact, gallery: Embeddings, tmp_path: Path
) -> None:
    vectors = gallery.vectors.copy()
    vectors[777, 3] = np.nan
    np.save(tmp_path / "old.npy", vectors)
    (tmp_path / "new.npy").write_bytes(b"what was there")
    with pytest.raises(FileFormatError, match=r"old\.npy.* must be finite. Row 777 holds NaN"):
        convert_file(
            artifact, tmp_path / "old.npy", tmp_path / "new.npy", space=artifact.source, batch_size=100, overwrite=True
        )
    assert (tmp_path / "new.npy").read_bytes() == b"what was there"


def test_a_missing_vector_is_named_by_its_row_in_the_file(
    artifact: Artifact, gallery: Embeddings, tmp_path: Path
) -> None:
    lists = gallery.vectors.tolist()
    lists[500] = None
    table = pa.table({"id": gallery.ids.tolist(), "vector": pa.array(lists, pa.list_(pa.float32(), 12))})
    pq.write_table(
        table.replace_schema_metadata({"embcompat.space": artifact.source.to_json()}), tmp_path / "old.parquet"
    )
    with pytest.raises(FileFormatError, match="Row 500 is missing"):
        convert_file(artifact, tmp_path / "old.parquet", tmp_path / "new.parquet", batch_size=64)


def test_a_map_that_overflows_is_named_and_nothing_is_left(
    artifact: Artifact, gallery: Embeddings, tmp_path: Path
) -> None:
    vectors = gallery.vectors.copy()
    vectors[5] = 3e38
    np.save(tmp_path / "old.npy", vectors)
    with pytest.raises(MigrationError, match="row 5 maps to NaN or infinity"):
        convert_file(artifact, tmp_path / "old.npy", tmp_path / "new.npy", space=artifact.source)
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.npy"]


def test_a_truncated_file_and_a_missing_one_are_refused(artifact: Artifact, source: Path, tmp_path: Path) -> None:
    data = source.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(FileFormatError, match="not a complete Parquet file"):
        convert_file(artifact, tmp_path / "cut.parquet", tmp_path / "new.parquet")
    with pytest.raises(FileFormatError, match="does not exist"):
        convert_file(artifact, tmp_path / "none.parquet", tmp_path / "new.parquet")


def test_vectors_of_another_space_are_refused(
    artifact: Artifact, gallery: Embeddings, source: Path, tmp_path: Path
) -> None:
    other = artifact.source.model_copy(update={"fingerprint": {"prompt": "query: "}})
    Embeddings(gallery.vectors, gallery.ids, other).save(tmp_path / "other.parquet")
    with pytest.raises(SpaceMismatchError, match=r"fingerprint\.prompt"):
        convert_file(artifact, tmp_path / "other.parquet", tmp_path / "new.parquet")
    with pytest.raises(SpaceMismatchError, match="must be in space"):
        convert_file(artifact, source, tmp_path / "new.parquet", space=artifact.target)


def test_a_map_in_the_wrong_direction_writes_nothing(
    split: PairSplit, gallery: Embeddings, source: Path, artifact: Artifact, tmp_path: Path
) -> None:
    right = artifact.weights()
    wrong = save_artifact(
        AffineAligner(-right["weight"], -right["bias"]),
        tmp_path / "wrong",
        source=artifact.source,
        target=artifact.target,
        split=split,
    )
    with pytest.raises(MigrationError, match="the canary must find its pairs"):
        convert_file(wrong, source, tmp_path / "new.parquet", force=True)
    assert not (tmp_path / "new.parquet").exists()
    assert not part_path(tmp_path / "new.parquet").exists()


def test_bad_arguments(artifact: Artifact, gallery: Embeddings, source: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "old.npy", gallery.vectors)
    with pytest.raises(InputError, match=r"batch_size must be at least 1. Got 0"):
        convert_file(artifact, source, tmp_path / "new.parquet", batch_size=0)
    with pytest.raises(InputError, match=r"threads must be at least 1. Got 0"):
        convert_file(artifact, source, tmp_path / "new.parquet", threads=0)
    with pytest.raises(InputError, match=r"target must be a .parquet file"):
        convert_file(artifact, source, tmp_path / "new.npy")
    with pytest.raises(InputError, match="another file than the source"):
        convert_file(artifact, source, source)
    with pytest.raises(InputError, match="does not name its space"):
        convert_file(artifact, tmp_path / "old.npy", tmp_path / "new.npy")
    with pytest.raises(FileFormatError, match=r"floats of shape \(n, 8\)"):
        convert_file(artifact, tmp_path / "old.npy", tmp_path / "new.npy", space=artifact.target)
    with pytest.raises(InputError, match=r"the folder of .* does not exist"):
        convert_file(artifact, source, tmp_path / "nowhere" / "new.parquet")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "bare.parquet")
    with pytest.raises(FileFormatError, match="must have a column of vectors.*Got id"):
        convert_file(artifact, tmp_path / "bare.parquet", tmp_path / "new.parquet", space=artifact.source)


def test_rows_damaged_after_they_were_written_are_found(
    artifact: Artifact, gallery: Embeddings, tmp_path: Path
) -> None:
    np.save(tmp_path / "old.npy", gallery.vectors)
    target = tmp_path / "new.npy"
    with pytest.raises(KilledError):
        convert_file(artifact, tmp_path / "old.npy", target, space=artifact.source, progress=lambda _: stop_after(1000))
    with part_path(target).open("r+b") as stream:
        stream.seek(-8, os.SEEK_END)
        stream.write(np.array([7.0, 7.0], np.float32).tobytes())
    with pytest.raises(MigrationError, match="read back, differ from the converted rows"):
        convert_file(artifact, tmp_path / "old.npy", target, space=artifact.source)
    assert not target.exists()
    assert convert_file(artifact, tmp_path / "old.npy", target, space=artifact.source, resume=False).rows == 1000
