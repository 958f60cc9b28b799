"""An artifact at work: numpy and onnxruntime only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.artifact import CONVERTIBILITY, Artifact, read_artifact
from embcompat.cohorts import Cohort, ScoreCohort
from embcompat.embeddings import Embeddings, convert_embeddings
from embcompat.errors import ArtifactError, InputError
from embcompat.spaces import require_space

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
        ``OnnxAligner("old-to-new").convert(stored)``
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
        self._threads, self._providers = threads, tuple(providers)
        if threads is not None:
            if threads < 1:
                raise InputError(f"threads must be at least 1. Got {threads}.")
            options.intra_op_num_threads = threads
        graph, self._convertibility_graph = _split_outputs(self.artifact.graph())
        self._open: Callable[[bytes], Any] = partial(
            ort.InferenceSession, sess_options=options, providers=list(providers), enable_fallback=0
        )
        try:
            self._session = self._open(graph)
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ArtifactError(f"onnxruntime cannot load the graph of {self.artifact.path}: {error}") from error
        self._source_dim, self._target_dim = self.artifact.source.dim, self.artifact.target.dim
        if len(inputs) != 1 or inputs[0].shape[1:] != [self._source_dim] or inputs[0].type != "tensor(float)":
            raise ArtifactError(f"the graph of {self.artifact.path} must take float vectors (n, {self._source_dim}).")
        if outputs[0].shape[1:] != [self._target_dim] or outputs[0].type != "tensor(float)":
            raise ArtifactError(f"the graph of {self.artifact.path} must return float vectors (n, {self._target_dim}).")
        self._input = inputs[0].name

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the artifact's path and id, for pools of workers; a worker opens and verifies it anew."""
        return _reopen, (self.artifact.path, self.artifact.id, self._threads, self._providers)

    def __repr__(self) -> str:
        return f"OnnxAligner({self.artifact.source.id} -> {self.artifact.target.id}, id={self.artifact.id[:12]})"

    def transform(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors (n, source_dim), or one vector (source_dim,), to float32 of the same number of axes.

        Raises:
            InputError: If the vectors have another shape or are not floats.
            ArtifactError: If the graph fails, or returns another number of rows.
        """
        return self._run(self._session, vectors, self._target_dim)

    def convert(self, embeddings: Embeddings) -> Embeddings:
        """Convert embeddings of the artifact's source space to its target space; ids, labels and texts stay.

        Raises:
            SpaceMismatchError: If the embeddings are in another space than the artifact's source.
            ArtifactError: If the graph fails, or returns another number of rows.
        """
        require_space(embeddings.space, self.artifact.source, what="The vectors to convert")
        return convert_embeddings(self, embeddings, self.artifact.target)

    def cohort(self) -> ScoreCohort | None:
        """Return the people against whom scores are normalized, or None where the artifact carries none.

        `embcompat.serving.Scorer` normalizes with it.
        """
        stored = self.artifact.cohort()
        if stored is None:
            return None
        converted, native, top = stored
        similarity = self.artifact.target.similarity
        return ScoreCohort(Cohort(converted, similarity, top), Cohort(native, similarity, top))

    def convertibility(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Say how far vectors lie from what the aligner was fitted on, so that a conversion can be flagged or refused.

        1 is as far as a typical held-out item; the larger, the less to trust. The manifest's calibration records under
        ``convertibility`` below which score which fraction of the held-out items lie. It is the Mahalanobis distance
        from the training sources [ours].

        Args:
            vectors: Array (n, source_dim), or one vector (source_dim,).

        Returns:
            Array (n,), or one number without axes.

        Raises:
            InputError: If the artifact has no such score, or the vectors have another shape or are not floats.
            ArtifactError: If the graph fails.
        """
        return self._run(self._convertibility_session, vectors, 1)[..., 0]

    @cached_property
    def _convertibility_session(self) -> Any:
        if self._convertibility_graph is None:
            raise InputError(
                f"{self!r} has no convertibility. save_artifact adds it where split= holds held-out pairs; a composed "
                "chain has none, because it was fitted on no pairs of its own: ask its first step."
            )
        try:
            return self._open(self._convertibility_graph)
        except Exception as error:  # as above
            raise ArtifactError(f"onnxruntime cannot load the graph of {self.artifact.path}: {error}") from error

    def _run(self, session: Any, vectors: ArrayLike, width: int) -> NDArray[np.float32]:
        """Run vectors through a session in blocks: (n, width), or (width,) for one vector."""
        array = np.asarray(vectors)
        if array.dtype.kind != "f" or array.ndim not in (1, 2) or array.shape[-1] != self._source_dim:
            raise InputError(
                f"vectors must be floats of shape (n, {self._source_dim}) or ({self._source_dim},) for space "
                f"{self.artifact.source.id!r}. Got {array.dtype} of shape {array.shape}."
            )
        if array.dtype != np.float32:
            array = array.astype(np.float32)
        if array.ndim == 1:
            return np.asarray(self._run_block(session, array[np.newaxis], width)[0])
        if len(array) <= BATCH_ROWS:
            return self._run_block(session, array, width)
        result = np.empty((len(array), width), dtype=np.float32)
        for start in range(0, len(array), BATCH_ROWS):
            block = np.ascontiguousarray(array[start : start + BATCH_ROWS])
            result[start : start + BATCH_ROWS] = self._run_block(session, block, width)
        return result

    def _run_block(self, session: Any, block: NDArray[np.float32], width: int) -> NDArray[np.float32]:
        try:
            mapped = np.asarray(session.run(None, {self._input: block})[0])
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ArtifactError(f"the graph of {self.artifact.path} fails: {error}") from error
        if mapped.shape != (len(block), width):
            expected = (len(block), width)
            raise ArtifactError(f"the graph of {self.artifact.path} must return {expected}. Got {mapped.shape}.")
        return mapped


def _reopen(path: Path, artifact_id: str, threads: int | None, providers: tuple[str, ...]) -> OnnxAligner:
    aligner = OnnxAligner(path, threads=threads, providers=providers)
    if aligner.artifact.id != artifact_id:
        raise ArtifactError(
            f"{path} must hold artifact {artifact_id[:12]}, as when it was pickled. Got {aligner.artifact.id[:12]}."
        )
    return aligner


def _split_outputs(graph: bytes) -> tuple[bytes, bytes | None]:
    """Return the graph without the convertibility, and the graph of the convertibility alone, if there is one.

    onnxruntime computes every node of a graph, whichever outputs are asked for; so each gets its own session.
    """
    import onnx

    model = onnx.load_model_from_string(graph)
    if CONVERTIBILITY not in {output.name for output in model.graph.output}:
        return graph, None
    parts = []
    for kept in (False, True):
        part = onnx.ModelProto()
        part.CopyFrom(model)
        for field in ("node", "initializer", "output"):
            values = getattr(part.graph, field)
            chosen = [value for value in values if (value.name.split(".")[0] == CONVERTIBILITY) == kept]
            del values[:]
            values.extend(chosen)
        parts.append(part.SerializeToString())
    return parts[0], parts[1]
