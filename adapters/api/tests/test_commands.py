"""Commands besides `embed` that ask a model in a service: the estimate comes first, and the spend cap holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

import embcompat as ec
from embcompat.artifact import Artifact
from embcompat.backfill import Budget, plan_backfill, save_plan
from embcompat.cli import app
from embcompat.errors import ServiceError
from embcompat.extractors import CANARY_TEXTS, load_extractor
from embcompat.migration import RunOptions, run_migration
from embcompat.stores import open_store

WORDS = ["river", "stone", "cloud", "harvest", "window", "iron", "music", "lantern", "valley", "thunder"]
TEXTS = {f"t{row}": " ".join(np.random.default_rng(row).choice(WORDS, 5)) for row in range(120)}


@pytest.fixture
def folder(service: Any, tmp_path: Path) -> Path:
    """Items, and their vectors under a poor old model and the one of the service."""
    lines = (json.dumps({"id": name, "text": text}) for name, text in TEXTS.items())
    (tmp_path / "items.jsonl").write_text("\n".join(lines) + "\n")
    model = load_extractor("openai", service.models["own"], base_url=service.url)
    new = ec.extract_embeddings(model, list(TEXTS.values()), ids=list(TEXTS))
    new.save(tmp_path / "new.parquet")
    rng = np.random.default_rng(0)
    vectors = new.vectors @ rng.standard_normal((64, 6)) + 0.1 * rng.standard_normal((len(new), 6))
    space = ec.SpaceVersion(name="poor", version="1", dim=6, similarity="dot")
    ec.Embeddings(vectors, new.ids, space).save(tmp_path / "old.parquet")
    service.requests.clear()
    return tmp_path


def run(service: Any, *words: object, **options: object) -> Result:
    command = [*words, "-e", "openai", "-m", service.models["own"]]
    for name, value in {"base-url": service.url, **options}.items():
        command += ["--option", f"{name.replace('_', '-')}={value}"]
    return CliRunner().invoke(app, [str(word) for word in command])


def texts_after_the_canary(service: Any) -> int:
    assert service.requests[0] == list(CANARY_TEXTS)
    return sum(len(texts) for texts in service.requests[1:])


def fit(service: Any, folder: Path, **options: object) -> Result:
    files = (folder / "old.parquet", folder / "new.parquet", "--items", folder / "items.jsonl")
    return run(service, "fit", *files, "--kind", "text_aware", "--out", folder / "map", **options)


def test_fit_estimates_the_words_and_stays_below_the_cap(service: Any, folder: Path) -> None:
    stopped = fit(service, folder, price=1e6, max_cost=60, batch_size=8)  # a token costs 1
    assert isinstance(stopped.exception, ServiceError)
    assert "max_cost is 60" in str(stopped.exception)
    assert " ".join(stopped.stderr.split()).count("At most about") == 1
    assert texts_after_the_canary(service) < len(WORDS)
    service.requests.clear()
    fitted = fit(service, folder, price=0.02)
    assert fitted.exit_code == 0, fitted.exception
    line = next(line for line in fitted.stderr.splitlines() if "At most about" in line)
    assert "a cost of about" in line
    words = {word for texts in service.requests[1:] for text in texts for word in text.split()}
    assert words <= set(WORDS)  # the estimate is of what was asked: words and pairs of words
    tokens = int(line.split("At most about ")[1].split(" tokens")[0].replace(",", ""))
    assert 0 < tokens < sum(len(text) for texts in service.requests[1:] for text in texts)


@pytest.fixture
def plan(folder: Path) -> tuple[Path, str]:
    """A converted LanceDB table, and a plan to re-embed 40 of its rows."""
    old, new = (ec.Embeddings.load(folder / name) for name in ("old.parquet", "new.parquet"))
    split = ec.split_pairs(ec.pair_embeddings(old, new))
    artifact: Artifact = ec.save_artifact(
        ec.fit_affine(split.train, split.validation), folder / "map", split=split, source=old.space, target=new.space
    )
    column = pa.FixedSizeListArray.from_arrays(pa.array(old.vectors.reshape(-1)), old.space.dim)
    lancedb.connect(str(folder / "gallery")).create_table("docs", pa.table({"id": old.ids.tolist(), "vector": column}))
    url = f"lancedb://{folder}/gallery#docs.vector"
    run_migration(ec.OnnxAligner(artifact), open_store(url), options=RunOptions(accept_changes=True))
    ids = list(TEXTS)[:40]
    spaces = {"source": artifact.source.id, "target": artifact.target.id}
    plan = plan_backfill(ids, Budget(rows=len(ids)))
    save_plan(
        plan, folder / "PLAN.json", folder / "ids.txt", artifact=artifact.id, artifact_path=artifact.path, **spaces
    )
    return folder / "PLAN.json", url


def test_backfill_run_estimates_the_planned_items(service: Any, folder: Path, plan: tuple[Path, str]) -> None:
    words = ("backfill", "run", *plan, "--items", folder / "items.jsonl")
    stopped = run(service, *words, price=1e6, max_cost=100, batch_size=8)
    assert "max_cost is 100" in " ".join(f"{stopped.output} {stopped.exception}".split())
    assert "tokens in 5 requests, a cost of about" in " ".join(stopped.stderr.split())
    assert texts_after_the_canary(service) < 40
    assert run(service, *words).exit_code == 0
    assert "a cost of" not in run(service, *words).stderr
