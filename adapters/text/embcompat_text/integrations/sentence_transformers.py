"""A sentence-transformers model that answers in another space."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Self, final

from embcompat.aligners import AffineAligner, load_aligner
from embcompat.artifact import Artifact, read_artifact
from embcompat.errors import InputError, MissingExtraError
from embcompat.runtime import OnnxAligner
from embcompat_text.integrations import refuse_failed

try:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Module, Normalize
except ImportError as error:
    raise MissingExtraError(
        error.name or "sentence-transformers", "embcompat-text[sentence-transformers]", "align_model"
    ) from error


def align_model(model: SentenceTransformer, artifact: str | Path | Artifact) -> SentenceTransformer:
    """Append an aligner to a model, in place: from then on it answers in the artifact's target space.

    An affine aligner becomes ordinary layers of sentence-transformers in the model's own precision, so a model that
    was saved with it loads anywhere, without embcompat. Any other becomes an `AlignedOutput`, and the saved model loads
    with ``trust_remote_code=True``, which sentence-transformers asks for where a module is not its own.

    Args:
        model: The new model, loaded as it was when the pairs were made: same prompts, no truncation.
        artifact: An aligner from its space to another, for instance new → old.

    Returns:
        The same model.

    Raises:
        InputError: If the model truncates its vectors, or they are not what the artifact takes.
    """
    opened = artifact if isinstance(artifact, Artifact) else read_artifact(artifact)
    normalized = any(isinstance(module, Normalize) for module in model)
    dim = model.get_embedding_dimension()
    if model.truncate_dim is not None or (dim, normalized) != (opened.source.dim, opened.source.normalized):
        raise InputError(
            f"the model must be in space {opened.source.id!r}: {opened.source.dim} dimensions, not truncated, "
            f"normalized {opened.source.normalized}. Got {dim} dimensions, truncate_dim {model.truncate_dim}, "
            f"normalized {normalized}. Load the model that the pairs were made with."
        )
    aligner = load_aligner(opened)
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    if isinstance(aligner, AffineAligner):
        weight, bias = torch.from_numpy(aligner.weight), torch.from_numpy(aligner.bias)
        dims = aligner.source_dim, aligner.target_dim
        model.append(Dense(*dims, activation_function=torch.nn.Identity(), init_weight=weight, init_bias=bias))
        if aligner.normalize:
            model.append(Normalize())
    else:
        model.append(AlignedOutput(opened))
    model.similarity_fn_name = opened.target.similarity
    return model.to(model.device, dtype)


@final
class AlignedOutput(Module):
    """The last module of a model: an artifact's graph, run by onnxruntime on the CPU. `align_model` appends it.

    Args:
        artifact: The artifact; saving the model copies it into the model's folder.
    """

    def __init__(self, artifact: str | Path | Artifact) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._aligner = OnnxAligner(artifact)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._aligner.artifact.path,)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Map the sentence embeddings (n, source_dim) to (n, target_dim)."""
        embedding = features["sentence_embedding"]
        vectors = embedding.detach().float().cpu().numpy()
        refuse_failed(vectors)
        features["sentence_embedding"] = torch.from_numpy(self._aligner.transform(vectors)).to(embedding)
        return features

    def get_embedding_dimension(self) -> int:
        """Return the length of the vectors that come out."""
        return self._aligner.artifact.target.dim

    def get_config_dict(self) -> dict[str, Any]:
        """Return the id of the artifact."""
        return {"artifact": self._aligner.artifact.id}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Copy the artifact into the module's folder."""
        shutil.copytree(self._aligner.artifact.path, output_path, dirs_exist_ok=True)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,  # noqa: ARG003 (an artifact says everything itself)
        **_: Any,
    ) -> Self:
        """Read the artifact from the module's folder, on disk or on the hub."""
        folder = cls.load_dir_path(model_name_or_path, subfolder, token, cache_folder, revision, local_files_only)
        return cls(folder or Path(model_name_or_path, subfolder))
