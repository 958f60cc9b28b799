"""What works where torch and sentence-transformers are not installed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "sentence_transformers", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])


sys.meta_path.insert(0, Absent())

from embcompat.errors import MissingExtraError
from embcompat.extractors import list_extractors, load_extractor

assert {"minilm", "static64"} <= {each.name for each in list_extractors()}
for name in ("static64", "paraphrase-minilm-l3", "minilm-int8"):
    model = load_extractor(name)
    assert model.extract(["a text", "another"]).shape == (2, model.space.dim)
for name, arguments in (("minilm", ()), ("sentence-transformers", ("some-model",))):
    try:
        load_extractor(name, *arguments)
    except MissingExtraError as error:
        print(error)
try:
    import embcompat_text.integrations.sentence_transformers
except MissingExtraError as error:
    print(error)
"""


def test_onnx_and_static_models_need_neither() -> None:
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert len(lines) == 3
    hint = "which is not installed. Install it with: pip install 'embcompat-text[sentence-transformers]'"
    assert all(line.endswith(hint) for line in lines)
    assert lines[0].startswith("A sentence-transformers model needs the package 'sentence_transformers'")
