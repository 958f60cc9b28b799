"""Repositories of the Hub: an artifact goes in as one commit, and comes out verified."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embcompat.artifact import MANIFEST, Artifact, read_artifact
from embcompat.errors import EmbcompatError, InputError, MissingExtraError, ServiceError
from embcompat.hub.card import model_card
from embcompat.redaction import redact, remember_secret

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FOLDER: Final = "artifact"
"""Folder of a repository that holds the artifact's files, and nothing else."""

_CARD: Final = "README.md"
_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class HubCommit:
    """Where an artifact is on the Hub.

    Attributes:
        repo: The repository, ``owner/name``.
        revision: The commit, which `embcompat.runtime.OnnxAligner.from_pretrained` takes as ``revision``.
        url: The commit's page.
    """

    repo: str
    revision: str
    url: str


def push_to_hub(
    artifact: Artifact | str | Path,
    repo: str,
    *,
    revision: str | None = None,
    private: bool = True,
    message: str | None = None,
) -> HubCommit:
    """Push an artifact and its model card to the Hugging Face Hub, as one commit.

    The repository is made where there is none. Its other files stay; an artifact that is there already is replaced,
    and remains available under its commit. The artifact carries ids and, unless it was saved without, held-out
    vectors, so a new repository is private by default [ours].

    Args:
        artifact: The artifact, or its directory.
        repo: The repository, ``owner/name``.
        revision: The branch to push to, which is made where there is none; the main one when None.
        private: Whether a new repository is private. Choose False to push to one that anybody can read.
        message: The commit's message.

    Raises:
        InputError: If there is no such artifact, the repository's name cannot be used, the token may not write, or the
            repository is public and ``private`` is not False.
        ArtifactError: If the artifact is damaged.
        ServiceError: If the Hub is down, refuses, or cannot be reached.
        MissingExtraError: If huggingface_hub is not installed.

    Example:
        ``ec.push_to_hub("old-to-new", "my-team/old-to-new")``
    """
    source = read_artifact(artifact.path if isinstance(artifact, Artifact) else artifact)
    api = _open_hub(repo)
    with _translated(api, repo, revision):
        _ensure_repository(api, repo, private=private)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        head = api.model_info(repo, revision=revision)
        stored = {entry.rfilename for entry in head.siblings or ()}
        with warnings.catch_warnings():  # pairs.parquet belongs to the model here
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            commit = api.create_commit(
                repo,
                _operations(source, model_card(source, repo, revision=revision), stored),
                commit_message=message or f"{source.source.id} to {source.target.id}, artifact {source.id[:12]}",
                revision=revision,
                parent_commit=head.sha,
            )
    return HubCommit(repo, str(commit.oid), str(commit.commit_url))


def download_artifact(repo: str, *, revision: str | None = None) -> Artifact:
    """Download an artifact from the Hugging Face Hub into the Hub's cache, and verify it.

    What is in the cache is not downloaded again, and is used where the Hub cannot be reached.

    Args:
        repo: The repository, ``owner/name``.
        revision: A commit, tag or branch; the main branch when None. Only a commit never changes.

    Raises:
        InputError: If there is no such repository or revision, the token may not read it, or it holds no artifact.
        ArtifactError: If the artifact is damaged.
        ServiceError: If the Hub is down, refuses, or cannot be reached.
        MissingExtraError: If huggingface_hub is not installed.
    """
    api = _open_hub(repo)
    with _translated(api, repo, revision):
        folder = Path(api.snapshot_download(repo, revision=revision, allow_patterns=[f"{FOLDER}/*"])) / FOLDER
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{repo!r} at {revision or 'its main branch'} holds no artifact: there is no {FOLDER}/{MANIFEST}. "
            "Push one with embcompat.push_to_hub."
        )
    return read_artifact(folder)


def _open_hub(repo: str) -> HfApi:
    if not _NAME.fullmatch(repo):
        raise InputError(
            f"a repository of the Hub must be named owner/name. Got {repo!r}, which is no directory either."
        )
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "embcompat[hub]", "The Hugging Face Hub") from error
    token = get_token()
    if token:
        remember_secret(token)
    return HfApi(library_name="embcompat", library_version=version("embcompat"))


def _ensure_repository(api: HfApi, repo: str, *, private: bool) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        existing = api.model_info(repo)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=private)
        return
    if private and existing.private is False:
        raise InputError(
            f"{repo!r} is public, so anybody could read the ids and vectors that the artifact carries. Pass "
            "private=False to push to it all the same, or name another repository."
        )


def _operations(artifact: Artifact, card: str, stored: set[str]) -> list[Any]:
    """List what the commit adds, and what it deletes of an artifact that was there before."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files = {f"{FOLDER}/{name}": artifact.path / name for name in (MANIFEST, *artifact.manifest.files)}
    leftovers = sorted(name for name in stored - set(files) if name.startswith(f"{FOLDER}/"))
    return [
        CommitOperationAdd(_CARD, card.encode()),
        *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
        *(CommitOperationDelete(name) for name in leftovers),
    ]


@contextmanager
def _translated(api: HfApi, repo: str, revision: str | None) -> Iterator[None]:
    """Turn every error of the client into one of ours; none of them holds the token."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    host = redact(api.endpoint)
    try:
        yield
    except EmbcompatError:
        raise
    except HFValidationError:
        raise InputError(f"a repository of the Hub must be named owner/name, in its letters. Got {repo!r}.") from None
    except GatedRepoError:
        raise InputError(f"{host} gates {repo!r}: ask for access on its page, then put a token in HF_TOKEN.") from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{host} shows no repository {repo!r}. Check its name; if it is private, put a token that may read it in "
            "HF_TOKEN, or log in with: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{repo!r} has no revision {revision!r}. {_known_revisions(api, repo)}") from None
    except Exception as error:  # of its HTTP client, its disk cache, its validation: their classes change
        answer = next((each for each in _causes(error) if isinstance(each, HfHubHTTPError)), None)
        if answer is not None:
            raise _status_error(answer, host, repo) from None
        reasons = ": ".join(" ".join(str(each).split()) or type(each).__name__ for each in _causes(error))
        raise ServiceError(f"{host} cannot be used: {redact(reasons)}") from None


def _status_error(error: Any, host: str, repo: str) -> EmbcompatError:
    status = error.response.status_code
    if status in (401, 403):
        return InputError(
            f"{host} refuses access to {repo!r} ({status}). Put a token that may read it, and write to it where you "
            "push, in HF_TOKEN, or log in with: hf auth login"
        )
    if status == 412:
        return ServiceError(f"{repo!r} was changed by somebody else meanwhile; nothing was pushed. Push again.")
    detail = redact(" ".join(str(error.server_message or "").split()))
    return ServiceError(f"{host} answered {status} for {repo!r}. {detail}".strip())


def _known_revisions(api: HfApi, repo: str) -> str:
    try:
        refs = api.list_repo_refs(repo)
    except Exception:  # what is known is a help, no more
        return "Name a commit, tag or branch."
    names = ", ".join(sorted(ref.name for ref in (*refs.branches, *refs.tags)))
    return f"Known: {names or 'none'}, and commits."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it; uploads wrap what the Hub answered."""
    while error is not None:
        yield error
        error = error.__cause__
