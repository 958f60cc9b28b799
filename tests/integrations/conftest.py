from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embcompat as ec
from embcompat.extractors import Extractor, load_extractor
from tests.integrations.two_stores import TEXTS


@pytest.fixture(scope="session")
def models() -> tuple[Extractor, Extractor]:
    return load_extractor("static64"), load_extractor("paraphrase-minilm-l3")


@pytest.fixture(scope="session")
def vectors(models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    old, new = (ec.extract_embeddings(model, list(TEXTS.values()), ids=list(TEXTS)) for model in models)
    split = ec.split_pairs(ec.pair_embeddings(old, new), seed=0)
    path = Path(tmp_path_factory.mktemp("artifact")) / "old-to-new"
    aligner = ec.fit_aligner("ridge", split.train, split.validation)
    ec.save_artifact(aligner, path, split=split, source=old.space, target=new.space)
    return {"old": old.vectors, "new": new.vectors, "converted": ec.OnnxAligner(path).transform(old.vectors)}
