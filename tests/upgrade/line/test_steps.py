from __future__ import annotations

from pathlib import Path

import pytest

from embcompat.upgrade.line import Upgrade
from embcompat.upgrade.line.steps import measuring_steps


@pytest.mark.parametrize("gallery", ["lancedb:///x#a.b", "sqlite:///x.db#a.b", "chroma:///x#a", "x.parquet#vector"])
def test_words_are_tried_with_the_new_model_and_its_options_in_every_store(gallery: str, tmp_path: Path) -> None:
    upgrade = Upgrade(gallery=gallery, text_column="body", extractor="words", model="m", options=["a=1", "b=2"])
    steps = {step.words[0]: step.words for step in measuring_steps(upgrade, tmp_path)}
    model = ("--extractor", "words", "--model", "m", "--option", "a=1", "--option", "b=2")
    for name in ("embed", "fit"):
        start = steps[name].index("--extractor")
        assert steps[name][start : start + len(model)] == model
