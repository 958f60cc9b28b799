from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from embcompat_text import OnnxTextExtractor, StaticTextExtractor
from embcompat_text.packaged import MINILM_TOKENIZER
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from embcompat.errors import ExtractionError, InputError
from embcompat.testing.extractors import check_extractor

WORDS = ("[UNK]", "one", "two", "three", "four", "five")
TABLE = np.random.default_rng(0).standard_normal((len(WORDS), 4)).astype(np.float32)
TEXTS = ["one", "two three one four five", "five three", "four two"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Write a tokenizer with one token a word and no special tokens."""
    words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    inputs: tuple[str, ...],
    outputs: dict[str, int],
    numbers: int = TensorProto.INT64,
    floats: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph from token ids to float outputs with the given numbers of axes."""
    shapes = {2: ("n", 4), 3: ("n", "t", 4)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, numbers, ("n", "t")) for name in inputs],
        [helper.make_tensor_value_info(name, floats, shapes[axes]) for name, axes in outputs.items()],
        [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a model whose token vectors are rows of TABLE; its second output is their maximum."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["states"]),
        helper.make_node("ReduceMax", ["states", "axis"], ["pooled"], keepdims=0),
    ]
    return write(tmp_path / "My Model.onnx", nodes, inputs=("input_ids",), outputs={"states": 3, "pooled": 2})


def rows(text: str) -> NDArray[np.float32]:
    return TABLE[[WORDS.index(word) for word in text.split()]]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_is_what_it_says(model: Path, tokenizer: Path, pooling: Any) -> None:
    pools = {"mean": lambda rows: rows.mean(axis=0), "cls": lambda rows: rows[0], "last": lambda rows: rows[-1]}
    extractor = OnnxTextExtractor(model, tokenizer, pooling=pooling, normalize=False, batch_size=2)
    expected = [pools[pooling](rows(text)) for text in TEXTS]
    np.testing.assert_allclose(extractor.extract(TEXTS), expected, atol=1e-6)
    check_extractor(extractor, TEXTS)
    assert not extractor.space.normalized


def test_a_graph_that_pools_itself(model: Path, tokenizer: Path) -> None:
    extractor = OnnxTextExtractor(model, tokenizer, pooling="none", normalize=True)
    # Padding is the token 0, which takes part in this graph's maximum: alone there is none.
    expected = np.array([rows(text).max(axis=0) for text in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate([extractor.extract([text]) for text in TEXTS]), expected, atol=1e-6)
    assert extractor.space.normalized


def test_inputs_are_fed_by_their_names(tmp_path: Path, tokenizer: Path) -> None:
    """The graph returns mask, types and positions of each token."""
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    nodes = []
    for name in names:
        nodes.append(helper.make_node("Cast", [name], [name + "_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Unsqueeze", [name + "_float", "two"], [name + "_column"]))
    nodes.append(helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2]))))
    nodes.append(helper.make_node("Concat", [name + "_column" for name in names], ["out"], axis=2))
    path = write(tmp_path / "echo.onnx", [nodes[-2], *nodes[:-2], nodes[-1]], inputs=names, outputs={"out": 3})
    extractor = OnnxTextExtractor(path, tokenizer, normalize=False)
    vectors = extractor.extract(["one two three", "five"])
    np.testing.assert_allclose(vectors, [[2, 1, 0, 1], [5, 1, 0, 0]])


def test_the_prompt_goes_before_each_text(model: Path, tokenizer: Path) -> None:
    plain = OnnxTextExtractor(model, tokenizer)
    prompted = OnnxTextExtractor(model, tokenizer, prompt="three ")
    np.testing.assert_allclose(prompted.extract(["one"]), plain.extract(["three one"]), atol=1e-6)
    assert prompted.space.differences(plain.space) == ["fingerprint.prompt: 'three ' != ''"]
    sides = [
        OnnxTextExtractor(model, tokenizer, prompt={"query": "one ", "document": "two "}, encode=side)
        for side in ("query", "document")
    ]
    assert sides[0].space == sides[1].space
    np.testing.assert_allclose(sides[1].extract(["one"]), plain.extract(["two one"]), atol=1e-6)


def test_the_space_and_everything_that_changes_it(model: Path, tokenizer: Path) -> None:
    plain = OnnxTextExtractor(model, tokenizer)
    assert plain.space.name == "my-model"
    assert plain.space.fingerprint["weights"] == f"sha256:{hashlib.sha256(model.read_bytes()).hexdigest()}"
    assert plain.space.version == str(plain.space.fingerprint["weights"])[7:19]
    assert plain.space.fingerprint["max_length"] == 512
    others = [{"pooling": "cls"}, {"normalize": False}, {"max_length": 3}, {"pooling": "none", "output": "pooled"}]
    prints = [plain.space.fingerprint] + [
        OnnxTextExtractor(model, tokenizer, **options).space.fingerprint for options in others
    ]
    assert all(first != second for row, first in enumerate(prints) for second in prints[:row])


def test_long_texts_are_cut(model: Path, tokenizer: Path) -> None:
    extractor = OnnxTextExtractor(model, tokenizer, max_length=2)
    np.testing.assert_allclose(extractor.extract(["one two three"]), extractor.extract(["one two"]), atol=1e-6)
    limited = Tokenizer.from_file(str(tokenizer))
    limited.enable_truncation(3)
    limited.save(str(tokenizer))
    assert OnnxTextExtractor(model, tokenizer).space.fingerprint["max_length"] == 3


def test_texts_that_are_longer_than_the_model_reads_are_counted(model: Path, tokenizer: Path, tmp_path: Path) -> None:
    extractor = OnnxTextExtractor(model, tokenizer, max_length=2)
    assert extractor.notes(TEXTS) == ["1 of 4 texts is longer than 2 tokens; the rest of it is not read."]
    assert extractor.notes(["one two", "one"]) == []
    two = extractor.notes(["one two three", "", None, "one one one one", "five"])  # what is no text is another matter
    assert two == ["2 of 3 texts are longer than 2 tokens; the rest of each is not read."]
    prompted = OnnxTextExtractor(model, tokenizer, max_length=2, prompt="five ")
    assert prompted.notes(["one", "two three"]) == ["1 of 2 texts is longer than 2 tokens; the rest of it is not read."]
    save_file({"embeddings": TABLE}, tmp_path / "static.safetensors")
    static = StaticTextExtractor(tmp_path / "static.safetensors", tokenizer)
    long = static.notes(["one " * 513, "one " * 512])
    assert long == ["1 of 2 texts is longer than 512 tokens; the rest of it is not read."]


@pytest.mark.parametrize("numbers", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize("floats", [TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE])
def test_graphs_with_other_numbers_give_the_same_vectors(
    tmp_path: Path, model: Path, tokenizer: Path, numbers: int, floats: int
) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["float32"]),
        helper.make_node("Cast", ["float32"], ["states"], to=floats),
    ]
    path = write(
        tmp_path / "other.onnx", nodes, inputs=("input_ids",), outputs={"states": 3}, numbers=numbers, floats=floats
    )
    extractor = OnnxTextExtractor(path, tokenizer)
    check_extractor(extractor, TEXTS, tolerance=1e-3)
    np.testing.assert_allclose(extractor.extract(TEXTS), OnnxTextExtractor(model, tokenizer).extract(TEXTS), atol=2e-3)


def test_a_blank_text_is_refused(model: Path, tokenizer: Path) -> None:
    with pytest.raises(ExtractionError, match="a text must not be empty or blank. Got ''"):
        OnnxTextExtractor(model, tokenizer).extract(["one", ""])


def test_a_graph_that_quantizes_as_it_runs_gets_one_text_at_a_time(tmp_path: Path, tokenizer: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["states"]),
        helper.make_node("DynamicQuantizeLinear", ["states"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["out"]),
    ]
    path = write(tmp_path / "dynamic.onnx", nodes, inputs=("input_ids",), outputs={"out": 3})
    check_extractor(OnnxTextExtractor(path, tokenizer), TEXTS, tolerance=1e-6)
    with pytest.raises(AssertionError, match="one item alone"):
        check_extractor(OnnxTextExtractor(path, tokenizer, batch_size=32), TEXTS)


def test_bad_arguments(model: Path, tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    for options, message in (
        ({"pooling": "max"}, "pooling must be one of mean, cls, last, none. Got 'max'"),
        ({"output": "nope"}, r"output must name one float output .* with 3 axes. Got 'nope'; .* states .*, pooled"),
        ({"output": "pooled"}, "with 3 axes. Got 'pooled'"),
        ({"max_length": 0}, "max_length must be a positive integer. Got 0"),
        ({"batch_size": -1}, "batch_size must be a positive integer. Got -1"),
        ({"tokenizer": tmp_path / "none.json"}, "Pass the tokenizer.json that fits the model"),
        ({"tokenizer": tmp_path / "bad.json"}, "bad.json is not a tokenizer.json"),
        ({"tokenizer": MINILM_TOKENIZER.locate(purpose="A test")}, "tokenizer.json does not fit .*My Model.onnx"),
        ({"model": tmp_path / "none.onnx"}, "none.onnx does not exist"),
        ({"model": tmp_path}, f"{tmp_path} is a folder. Pass the path of an ONNX file"),
        ({"model": tokenizer}, "tokenizer.json is not an ONNX model but JSON, as a tokenizer is"),
    ):
        with pytest.raises(InputError, match=message):
            OnnxTextExtractor(**{"model": model, "tokenizer": tokenizer, **options})


def test_a_graph_with_other_inputs_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "pixels"], ["out"])]
    path = write(tmp_path / "other.onnx", nodes, inputs=("pixels",), outputs={"out": 3})
    with pytest.raises(InputError, match=r"must take input_ids and may take .* Got pixels tensor\(int64\)"):
        OnnxTextExtractor(path, tokenizer)


# the static table, with the same tokenizer


def test_a_static_table_is_a_weighted_mean(tmp_path: Path, tokenizer: Path) -> None:
    weights = np.arange(1, 7, dtype=np.float32)
    mapping = np.array([0, 5, 4, 3, 2, 1])
    save_file({"embeddings": TABLE, "weights": weights, "mapping": mapping}, tmp_path / "static.safetensors")
    extractor = StaticTextExtractor(tmp_path / "static.safetensors", tokenizer, name="s", version="1")
    check_extractor(extractor, TEXTS)
    ids = [2, 3]
    expected = sum(weights[row] * TABLE[mapping[row]] for row in ids)
    np.testing.assert_allclose(extractor.extract(["two three"])[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_a_static_table_in_bfloat16_is_read(tmp_path: Path, tokenizer: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_tensors

    save_tensors({"embeddings": torch.tensor(TABLE).bfloat16()}, tmp_path / "half.safetensors")
    save_file({"embeddings": TABLE}, tmp_path / "whole.safetensors")
    half, whole = (StaticTextExtractor(tmp_path / f"{name}.safetensors", tokenizer) for name in ("half", "whole"))
    np.testing.assert_allclose(half.extract(TEXTS), whole.extract(TEXTS), atol=0.02)


def test_a_static_table_that_does_not_fit_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "static.safetensors"
    with pytest.raises(InputError, match="static.safetensors does not exist"):
        StaticTextExtractor(path, tokenizer)
    path.write_bytes(b"\x08\x00\x00")
    with pytest.raises(InputError, match="is not a complete safetensors file"):
        StaticTextExtractor(path, tokenizer)
    save_file({"other": TABLE}, path)
    with pytest.raises(InputError, match=r"must hold embeddings \(rows, dim\). Got \['other'\]"):
        StaticTextExtractor(path, tokenizer)
    save_file({"embeddings": TABLE[:4]}, path)
    with pytest.raises(InputError, match="must have a row for each of the tokenizer's 6 tokens. Got 4 tokens"):
        StaticTextExtractor(path, tokenizer)
    save_file({"embeddings": TABLE}, path)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="bad.json is not a tokenizer.json"):
        StaticTextExtractor(path, tmp_path / "bad.json")
