"""Conversion with an artifact, by numpy and onnxruntime only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embcompat.artifact import CONVERTIBILITY, PLAIN, TEXT_AWARE, Artifact, read_artifact
from embcompat.cohorts import AnyCohort, Cohort, CohortMoments, ScoreCohort
from embcompat.embeddings import Embeddings, convert_embeddings
from embcompat.errors import ArtifactError, InputError
from embcompat.files.validation import as_array
from embcompat.graphs import split_outputs
from embcompat.spaces import require_space

if TYPE_CHECKING:
    from embcompat.aligners.text import StaticEncoder

CONVERTED: Final = "converted"
_FLOATS: Final = "tensor(float)"

BATCH_ROWS = 512
"""Rows per call of the graph: similarities to some thousand landmarks stay in the processor's cache."""


@final
class OnnxAligner:
    """Maps vectors of an artifact's source space to its target space.

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
        graphs = split_outputs(self.artifact.graph(), CONVERTED, {CONVERTIBILITY, PLAIN})
        self._convertibility_graph = graphs.get(CONVERTIBILITY)
        self._open: Callable[[bytes], Any] = partial(
            ort.InferenceSession, sess_options=options, providers=list(providers), enable_fallback=0
        )
        self._source_dim, self._target_dim = self.artifact.source.dim, self.artifact.target.dim
        self._encoder = self._read_encoder()
        worded = {} if self._encoder is None else {"features": self._encoder.dim}
        self._session = self._open_checked(graphs[CONVERTED], worded)
        self._plain_session = self._session if self._encoder is None else self._open_checked(graphs.get(PLAIN, b""), {})

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, **options: Any) -> Self:
        """Open an artifact in a directory, or on the Hugging Face Hub, where `embcompat.push_to_hub` uploads it.

        Args:
            name: A directory, or a repository ``owner/name``. A directory that exists comes first.
            revision: A commit, tag or branch of the repository; the main branch when None. Only a commit never changes.
            options: Passed on to the constructor: ``threads``, ``providers``.

        Raises:
            InputError: If there is no such directory, repository or revision, or it holds no artifact.
            ArtifactError: If the artifact is damaged or its graph is refused.
            ServiceError: If the Hub cannot be reached.
            MissingExtraError: If huggingface_hub is not installed.

        Example:
            ``OnnxAligner.from_pretrained("my-team/old-to-new", revision="4f2c…")``
        """
        if isinstance(name, Path) or Path(name).is_dir():
            if revision is not None:
                raise InputError(f"revision is for repositories of the Hub. Got the directory {name} and {revision!r}.")
            return cls(name, **options)
        from embcompat.hub import download_artifact

        return cls(download_artifact(name, revision=revision), **options)

    def _read_encoder(self) -> StaticEncoder | None:
        """Return the static encoder of an artifact that reads texts."""
        if self.artifact.manifest.kind != TEXT_AWARE:
            return None
        from embcompat.aligners.text import encoder_from_state

        try:
            return encoder_from_state(self.artifact.weights())
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{self.artifact.path} must hold the words that its aligner reads: {error}") from error

    def _open_checked(self, graph: bytes, features: dict[str, int]) -> Any:
        """Open a graph that takes vectors, and features where there are some, and returns vectors."""
        path = self.artifact.path
        try:
            session = self._open(graph)
            inputs, outputs = session.get_inputs(), session.get_outputs()
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ArtifactError(f"onnxruntime cannot load the graph of {path}: {error}") from error
        dims = [self._source_dim, *features.values()]
        if [value.shape[1:] for value in inputs] != [[dim] for dim in dims] or {value.type for value in inputs} != {
            _FLOATS
        }:
            arguments = zip(("vectors", *features), dims, strict=True)
            signature = " and ".join(f"{name} (n, {dim})" for name, dim in arguments)
            raise ArtifactError(f"the graph of {path} must take float {signature}.")
        if outputs[0].shape[1:] != [self._target_dim] or outputs[0].type != _FLOATS:
            raise ArtifactError(f"the graph of {path} must return float vectors (n, {self._target_dim}).")
        return session

    @property
    def reads_texts(self) -> bool:
        """Whether `transform` needs the text of each item beside its vector."""
        return self._encoder is not None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the artifact's path and id, for pools of workers; a worker opens and verifies it anew."""
        return _reopen, (self.artifact.path, self.artifact.id, self._threads, self._providers)

    def __repr__(self) -> str:
        return f"OnnxAligner({self.artifact.source.id} -> {self.artifact.target.id}, id={self.artifact.id[:12]})"

    def transform(self, vectors: ArrayLike, texts: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Map vectors (n, source_dim), or one vector (source_dim,), to float32 of the same number of axes.

        Args:
            vectors: The vectors.
            texts: The n texts of their items (a list of one for one vector), where the artifact reads texts
                (`reads_texts`). A row whose text is empty, or holds no known word, is mapped from its vector alone.

        Raises:
            InputError: If the vectors have another shape or are not floats, or texts are missing, not as many, or of no
                use to the artifact.
            ArtifactError: If the graph fails, or returns another number of rows.
        """
        if self._encoder is None:
            if texts is not None:
                raise InputError(f"{self!r} reads no texts: it maps vectors alone. Call transform(vectors).")
            return self._run(self._session, vectors, self._target_dim)
        from embcompat.aligners.text import check_texts, combine

        array = self._checked(vectors)
        rows = np.atleast_2d(array)
        words = check_texts(texts, len(rows))
        result = np.empty((len(rows), self._target_dim), dtype=np.float32)
        for start in range(0, len(rows), BATCH_ROWS):
            block = rows[start : start + BATCH_ROWS]
            features = self._encoder.encode(words[start : start + BATCH_ROWS])
            result[start : start + BATCH_ROWS] = combine(block, features, self._run_worded, self.transform_plain)
        return result[0] if array.ndim == 1 else result

    def transform_plain(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Map vectors as `transform` does for rows without a text: from the vectors alone.

        Raises:
            InputError: As `transform`.
            ArtifactError: As `transform`.
        """
        return self._run(self._plain_session, vectors, self._target_dim)

    def transform_canary(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map the sources of the artifact's canary as `transform` would with their texts, which it does not store."""
        if self._encoder is None:
            return self.transform(vectors)
        features = self.artifact.canary_features()
        if features is None:
            return self.transform_plain(vectors)
        from embcompat.aligners.text import combine

        return combine(vectors, features, self._run_worded, self.transform_plain)

    def convert(self, embeddings: Embeddings) -> Embeddings:
        """Convert embeddings of the artifact's source space to its target space; ids, labels and texts stay.

        Raises:
            SpaceMismatchError: If the embeddings are in another space than the artifact's source.
            InputError: If the artifact reads texts and the embeddings have none.
            ArtifactError: If the graph fails, or returns another number of rows.
        """
        require_space(embeddings.space, self.artifact.source, what="The vectors to convert")
        return convert_embeddings(self, embeddings, self.artifact.target)

    def cohort(self) -> ScoreCohort[AnyCohort] | None:
        """Return the people, or their statistics, by which scores are normalized; None where the artifact has none.

        `embcompat.serving.Scorer` uses it.
        """
        similarity = self.artifact.target.similarity
        if (statistics := self.artifact.score_statistics()) is not None:
            moments = [CohortMoments(*statistics[side], similarity) for side in ("converted", "native")]
            return ScoreCohort(*moments)
        stored = self.artifact.cohort()
        if stored is None:
            return None
        converted, native, top = stored
        return ScoreCohort(Cohort(converted, similarity, top), Cohort(native, similarity, top))

    def convertibility(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """Measure how far vectors lie from the training vectors, so that a conversion can be flagged or refused.

        A typical held-out item scores 1; the larger the score, the less the conversion can be trusted. The manifest's
        calibration records quantiles of the held-out items' scores under ``convertibility``. The score is the
        Mahalanobis distance from the training sources [ours].

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
                "chain has none, because it was fitted on no pairs of its own: use its first step."
            )
        try:
            return self._open(self._convertibility_graph)
        except Exception as error:  # as above
            raise ArtifactError(f"onnxruntime cannot load the graph of {self.artifact.path}: {error}") from error

    def _checked(self, vectors: ArrayLike) -> NDArray[np.float32]:
        array = as_array(vectors)
        if array.dtype.kind != "f" or array.ndim not in (1, 2) or array.shape[-1] != self._source_dim:
            raise InputError(
                f"vectors must be floats of shape (n, {self._source_dim}) or ({self._source_dim},) for space "
                f"{self.artifact.source.id!r}. Got {array.dtype} of shape {array.shape}."
            )
        return array.astype(np.float32, copy=False)

    def _run(self, session: Any, vectors: ArrayLike, width: int) -> NDArray[np.float32]:
        """Run vectors through a session in blocks: (n, width), or (width,) for one vector."""
        array = self._checked(vectors)
        name = session.get_inputs()[0].name
        if array.ndim == 1:
            return np.asarray(self._run_block(session, {name: array[np.newaxis]}, width)[0])
        if len(array) <= BATCH_ROWS:
            return self._run_block(session, {name: array}, width)
        result = np.empty((len(array), width), dtype=np.float32)
        for start in range(0, len(array), BATCH_ROWS):
            block = np.ascontiguousarray(array[start : start + BATCH_ROWS])
            result[start : start + BATCH_ROWS] = self._run_block(session, {name: block}, width)
        return result

    def _run_worded(self, vectors: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
        names = [value.name for value in self._session.get_inputs()]
        return self._run_block(self._session, dict(zip(names, (vectors, features), strict=True)), self._target_dim)

    def _run_block(self, session: Any, feeds: dict[str, NDArray[np.float32]], width: int) -> NDArray[np.float32]:
        try:
            mapped = np.asarray(session.run(None, feeds)[0])
        except Exception as error:  # onnxruntime raises its own classes, without a common base
            raise ArtifactError(f"the graph of {self.artifact.path} fails: {error}") from error
        expected = (len(next(iter(feeds.values()))), width)
        if mapped.shape != expected:
            raise ArtifactError(f"the graph of {self.artifact.path} must return {expected}. Got {mapped.shape}.")
        return mapped


def _reopen(path: Path, artifact_id: str, threads: int | None, providers: tuple[str, ...]) -> OnnxAligner:
    aligner = OnnxAligner(path, threads=threads, providers=providers)
    if aligner.artifact.id != artifact_id:
        raise ArtifactError(
            f"{path} must hold artifact {artifact_id[:12]}, as when it was pickled. Got {aligner.artifact.id[:12]}."
        )
    return aligner
