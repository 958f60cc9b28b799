"""Models of transformers and sentence-transformers: how they open, where they lie, and the digests of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embcompat.errors import InputError, MissingExtraError
from embcompat.extractors.models import sha256_of
from embcompat.spaces import Similarity

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TOKENIZER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model")


def open_sentence_transformer(
    model: str | Path, *, device: str | None, revision: str | None, quiet: bool, extra: str
) -> SentenceTransformer:
    """Open a sentence-transformers model with safetensors weights.

    Args:
        model: A folder, or a name on the hub.
        device: torch device; the fastest available when None.
        revision: Branch, tag or commit on the hub.
        quiet: Whether no bar shows how weights are loaded.
        extra: What pip takes to install sentence-transformers, for the error.

    Raises:
        MissingExtraError: If sentence-transformers is not installed.
        InputError: If the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            error.name or "sentence-transformers", extra, "A sentence-transformers model"
        ) from error

    with quiet_transformers() if quiet else nullcontext():
        try:
            return SentenceTransformer(
                str(model),
                device=device,
                revision=revision,
                local_files_only=Path(model).is_dir(),
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{str(model)!r} must be the folder of a sentence-transformers model with safetensors weights, or its "
                f"name on the hub. It cannot be loaded: {error}"
            ) from error


def model_similarity(model: SentenceTransformer) -> Similarity:
    """Return how a sentence-transformers model compares its vectors.

    Raises:
        InputError: If it compares them in a way that embcompat does not.
    """
    name: Any = str(model.similarity_fn_name)
    if name not in ("cosine", "dot", "euclidean"):
        raise InputError(f"the model must compare by cosine, dot product or Euclidean distance. Got {name}.")
    similarity: Similarity = name
    return similarity


@contextmanager
def quiet_transformers(*, reports: bool = True) -> Iterator[None]:
    """Show no bars of transformers for a while.

    Args:
        reports: Whether warnings are shown, such as the report of weights that are missing.
    """
    from transformers.utils import logging

    switches: Any = logging  # its functions have no types
    bars, verbosity = switches.is_progress_bar_enabled(), switches.get_verbosity()
    if bars:
        switches.disable_progress_bar()
    if not reports:
        switches.set_verbosity_error()
    try:
        yield
    finally:
        switches.set_verbosity(verbosity)
        if bars:
            switches.enable_progress_bar()


def checkpoint_folder(model: str, revision: str | None) -> Path:
    """Return the folder that a loaded model came from: itself, or the one that the hub's cache has.

    Args:
        model: A folder, or a name on the hub; a short name means one of sentence-transformers.
        revision: Branch, tag or commit on the hub.

    Raises:
        InputError: If the files are in neither.
    """
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache

    for name in (model, f"sentence-transformers/{model}"):  # short names mean that organisation
        for file in ("modules.json", "config.json"):
            cached = try_to_load_from_cache(name, file, revision=revision)
            if isinstance(cached, str):
                return Path(cached).parent
    raise InputError(f"{model!r} was loaded, but its files are not in the hub cache, so its weights have no digest.")


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's weights, or of the list of names and digests where they are in several files.

    Raises:
        InputError: If there are none as safetensors, or some are pickled.
    """
    files = sorted(folder.rglob("*.safetensors"))
    pickled = [path for path in folder.rglob("pytorch_model*.bin") if not any(path.parent.glob("*.safetensors"))]
    if pickled or not files:
        what = f"pickled weights in {pickled[0]}" if pickled else "none"
        raise InputError(f"{folder} must hold its weights as safetensors. Got {what}. Save the model again.")
    return _digest(folder, files)


def tokenizer_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's ``tokenizer.json``, or of the files of an older tokenizer."""
    files = sorted(folder.rglob("tokenizer.json"))
    return _digest(folder, files or [path for path in sorted(folder.rglob("*")) if path.name in _TOKENIZER_FILES])


def _digest(folder: Path, files: list[Path]) -> str:
    """Return the digest of one file, or of the list of names and digests of several."""
    if len(files) == 1:
        return sha256_of(files[0])
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
