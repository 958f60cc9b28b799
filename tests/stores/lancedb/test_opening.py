"""A table in an object store, which the environment leads to."""

from __future__ import annotations

import sys
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import IvfFlat

from embcompat.cli import main
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store, parse_store_url


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["embcompat", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, words


def test_a_table_in_an_object_store_goes_all_the_way(
    bucket: dict[str, bytes],
    aligner: OnnxAligner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).standard_normal((300, 24)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 24)
    database = lancedb.connect("s3://bucket/folder")
    table = database.create_table("docs", pa.table({"id": np.arange(300), "vector": column, "note": ["x"] * 300}))
    table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=2))

    def served() -> np.ndarray:
        rows = database.open_table("docs").to_arrow().sort_by("id")
        assert rows["note"].to_pylist() == ["x"] * 300
        return np.array(rows["vector"].to_pylist(), np.float32)

    artifact, url = str(aligner.artifact.path), "lancedb://s3://bucket/folder#docs.vector"
    converted = aligner.transform(vectors)
    for verb, expected in {"plan": vectors, "run": vectors, "cutover": converted, "rollback": vectors}.items():
        run(["migrate", verb, artifact, url], monkeypatch)
        np.testing.assert_allclose(served(), expected, rtol=1e-4, atol=1e-5)
    for verb in ("cutover", "drop-old"):
        run(["migrate", verb, artifact, url, *(["--yes"] if verb == "drop-old" else [])], monkeypatch)
    np.testing.assert_allclose(served(), converted, rtol=1e-4, atol=1e-5)
    run(["migrate", "status", artifact, url, "--json"], monkeypatch)
    captured = capfd.readouterr()
    assert '"phase": "finished"' in captured.out
    assert all(key.startswith("folder/") for key in bucket)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "correct-horse" not in captured.out + captured.err + files.decode(errors="replace")


def test_credentials_in_the_address_are_refused_and_not_shown() -> None:
    url = "lancedb://s3://AKIA1234:sec/ret@1@bucket/folder#docs.vector"
    assert parse_store_url(url).public == "lancedb://s3://AKIA1234@bucket/folder#docs.vector"
    with pytest.raises(Exception, match="must not hold credentials.*AWS_SECRET_ACCESS_KEY") as refusal:
        open_store(url)
    assert "sec/ret" not in str(refusal.value)
