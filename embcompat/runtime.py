"""An artifact at work: numpy and onnxruntime only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.artifact import Artifact, read_artifact
from embcompat.errors import ArtifactError, InputError

BATCH_ROWS = 8_192
"""Rows that go through the graph at a time; bounds the memory of the hidden layers."""


@final
class OnnxAligner:
    """Serves an artifact: maps vectors of its source space to its target space.

    The artifact's digests are verified on construction. Safe to use from several threads.

    Args:
        path: The artifact directory.
        threads: Threads for one call; onnxruntime's own choice when None.
        providers: onnxruntime execution providers, best first.

    Raises:
        InputError: If there is no artifact at the path.
        ArtifactError: If the artifact is damaged or its graph is refused.

    Example:
        ``OnnxAligner("old-to-new").transform(stored_vectors)``
    """

    def __init__(
        self,
        path: str | Path | Artifact,
        *,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        import onnxruntime as ort

        self.artifact = path if isinstance(path, Artifact) else read_artifact(path)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if threads is not None:
            if threads < 1:
                raise InputError(f"threads must be at least 1. Got {threads}.")
            options.intra_op_num_threads = threads
        graph = self.artifact.graph()
        try:
            self._session = ort.InferenceSession(graph, options, providers=list(providers), enable_fallback=0)
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ArtifactError(f"onnxruntime cannot load the graph of {self.artifact.path}: {error}") from error
        self._source_dim, self._target_dim = self.artifact.source.dim, self.artifact.target.dim
        if len(inputs) != 1 or inputs[0].shape[1:] != [self._source_dim] or inputs[0].type != "tensor(float)":
            raise ArtifactError(f"the graph of {self.artifact.path} must take float vectors (n, {self._source_dim}).")
        if outputs[0].shape[1:] != [self._target_dim] or outputs[0].type != "tensor(float)":
            raise ArtifactError(f"the graph of {self.artifact.path} must return float vectors (n, {self._target_dim}).")
        self._input, self._output = inputs[0].name, [outputs[0].name]

    def __repr__(self) -> str:
        return f"OnnxAligner({self.artifact.source.id} -> {self.artifact.target.id}, id={self.artifact.id[:12]})"

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim), or one vector (source_dim,), to float32 of the same number of axes.

        Raises:
            InputError: If the vectors have another shape or are not floats.
            ArtifactError: If the graph fails, or returns another number of rows.
        """
        array = np.asarray(vectors)
        if array.dtype.kind != "f" or array.ndim not in (1, 2) or array.shape[-1] != self._source_dim:
            raise InputError(
                f"vectors must be floats of shape (n, {self._source_dim}) or ({self._source_dim},) for space "
                f"{self.artifact.source.id!r}. Got {array.dtype} of shape {array.shape}."
            )
        if array.dtype != np.float32:
            array = array.astype(np.float32)
        if array.ndim == 1:
            return np.asarray(self._run(array[np.newaxis])[0])
        if len(array) <= BATCH_ROWS:
            return self._run(array)
        result = np.empty((len(array), self._target_dim), dtype=np.float32)
        for start in range(0, len(array), BATCH_ROWS):
            block = np.ascontiguousarray(array[start : start + BATCH_ROWS])
            result[start : start + BATCH_ROWS] = self._run(block)
        return result

    def _run(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            converted = np.asarray(self._session.run(self._output, {self._input: block})[0])
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ArtifactError(f"the graph of {self.artifact.path} fails: {error}") from error
        if converted.shape != (len(block), self._target_dim):
            expected = (len(block), self._target_dim)
            raise ArtifactError(f"the graph of {self.artifact.path} must return {expected}. Got {converted.shape}.")
        return converted
