"""What must not be loaded before it is needed, seen in clean processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "lightning", "datasets", "pyarrow", "sentence_transformers", "onnxruntime"}


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(process.stderr.split())


def test_import_embcompat_is_light() -> None:
    assert not loaded_by("import embcompat") & HEAVY


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["migrate", "run", "--help"]])
def test_help_is_light(words: list[str]) -> None:
    code = f"sys.argv = {['embcompat', *words]}\nfrom embcompat.cli import main\ntry:\n main()\nexcept SystemExit: pass"
    assert not loaded_by(code) & {*HEAVY, "numpy", "pydantic"}


@pytest.mark.parametrize("kind", ["ridge", "procrustes", "low_rank", "kernel"])
def test_fitting_serving_and_evaluating_need_no_torch(kind: str) -> None:
    code = f"""
import numpy as np, tempfile, embcompat as ec
from embcompat.testing import make_pairs
split = ec.split_pairs(make_pairs(300, source_dim=8, target_dim=8).pairs)
aligner = ec.fit_aligner({kind!r}, split.train, split.validation)
with tempfile.TemporaryDirectory() as folder:
    spaces = dict(source=split.train.source.space, target=split.train.target.space)
    ec.save_artifact(aligner, folder + "/a", split=split, **spaces)
    ec.OnnxAligner(folder + "/a").transform(split.test.source.vectors)
"""
    assert not loaded_by(code) & {"torch", "lightning", "sentence_transformers", "datasets"}
