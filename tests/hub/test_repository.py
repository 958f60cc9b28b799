"""Push and load through the real client of the Hub, against a small Hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

import embcompat as ec
from embcompat.artifact import Artifact
from embcompat.embeddings import PairSplit
from embcompat.errors import ArtifactError, InputError, MissingExtraError, ServiceError
from embcompat.hub import download_artifact, push_to_hub
from embcompat.runtime import OnnxAligner
from tests.hub.hub import TOKEN, HubState

constants = pytest.importorskip("huggingface_hub.constants")

REPO = "team/old-to-new"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client of huggingface_hub


def test_what_is_pushed_is_what_is_loaded(hub: HubState, artifact: Artifact, split: PairSplit) -> None:
    commit = ec.push_to_hub(artifact, REPO)
    aligner = ec.OnnxAligner.from_pretrained(REPO, threads=1)
    assert aligner.artifact.id == artifact.id
    vectors = split.test.source.vectors
    np.testing.assert_array_equal(aligner.transform(vectors), OnnxAligner(artifact).transform(vectors))
    assert commit.repo == REPO
    assert hub.repositories[REPO].refs["main"] == commit.revision
    assert commit.url.endswith(commit.revision)


def test_a_repository_holds_the_files_of_the_artifact_and_its_card(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact.path, REPO)
    files = hub.repositories[REPO].commits[hub.repositories[REPO].refs["main"]]
    assert {name: data for name, data in files.items() if name.startswith("artifact/")} == {
        f"artifact/{path.name}": path.read_bytes() for path in artifact.path.iterdir()
    }
    assert set(files) - {f"artifact/{path.name}" for path in artifact.path.iterdir()} == {"README.md", ".gitattributes"}
    assert len(hub.blobs) == 3  # graph, weights and canary went the way of large files


def test_an_older_revision_can_still_be_loaded(hub: HubState, artifact: Artifact, split: PairSplit) -> None:
    first = push_to_hub(artifact, REPO)
    spaces = {"source": artifact.source, "target": artifact.target}
    aligner = ec.fit_affine(split.validation, split.validation)
    second = ec.save_artifact(aligner, artifact.path.with_name("second"), split=split, canary=False, **spaces)
    push_to_hub(second, REPO)
    assert download_artifact(REPO).id == second.id  # the first one's canary is gone, or this would be refused
    assert download_artifact(REPO, revision=first.revision).id == artifact.id


def test_a_branch_is_made_and_leaves_the_main_one_alone(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact, REPO, revision="candidate")
    assert download_artifact(REPO, revision="candidate").id == artifact.id
    with pytest.raises(InputError, match="holds no artifact: there is no artifact/manifest.json"):
        download_artifact(REPO)
    push_to_hub(artifact, REPO, revision="candidate")  # a branch that exists


def test_the_same_again_makes_no_second_version(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact, REPO)
    files = hub.repositories[REPO].commits[hub.repositories[REPO].refs["main"]]
    push_to_hub(artifact, REPO)
    assert hub.repositories[REPO].commits[hub.repositories[REPO].refs["main"]] == files


def test_other_files_of_a_repository_stay(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact, REPO)
    repository = hub.repositories[REPO]
    repository.add("main", {**repository.commits[repository.refs["main"]], "notes.txt": b"mine"})
    push_to_hub(artifact, REPO)
    assert repository.commits[repository.refs["main"]]["notes.txt"] == b"mine"
    assert download_artifact(REPO).id == artifact.id


def test_a_new_repository_is_private_unless_told_otherwise(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact, REPO)
    push_to_hub(artifact, "team/open", private=False)
    assert hub.repositories[REPO].private
    assert not hub.repositories["team/open"].private


def test_nothing_is_pushed_to_a_public_repository_unawares(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact, REPO, private=False)
    commits = len(hub.repositories[REPO].commits)
    with pytest.raises(InputError, match="'team/old-to-new' is public.*private=False"):
        push_to_hub(artifact, REPO)
    assert len(hub.repositories[REPO].commits) == commits


def test_a_local_directory_comes_first(hub: HubState, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(artifact.path.parent)
    for name in (artifact.path, str(artifact.path), "old-to-new"):
        assert OnnxAligner.from_pretrained(name).artifact.id == artifact.id
    assert not hub.requests
    with pytest.raises(InputError, match="revision is for repositories of the Hub"):
        OnnxAligner.from_pretrained(artifact.path, revision="main")
    with pytest.raises(InputError, match="is not an artifact"):
        OnnxAligner.from_pretrained(Path("nowhere"))


@pytest.mark.parametrize("name", ["old-to-new", "./a/b", "a/b/c", "-a/b", "a/b--c", "a/b.git"])
def test_a_name_that_is_none_is_refused_before_the_hub_is_asked(name: str, hub: HubState, artifact: Artifact) -> None:
    for use in (lambda: OnnxAligner.from_pretrained(name), lambda: push_to_hub(artifact, name)):
        with pytest.raises(InputError, match="must be named owner/name"):
            use()
    assert not hub.requests


def test_a_missing_repository_and_a_private_one_without_a_token(
    hub: HubState, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="shows no repository 'team/nothing'"):
        download_artifact("team/nothing")
    push_to_hub(artifact, REPO)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"shows no repository .*HF_TOKEN.*hf auth login"):
        OnnxAligner.from_pretrained(REPO)
    with pytest.raises(InputError, match=r"HF_TOKEN.*hf auth login"):
        push_to_hub(artifact, REPO)


def test_a_token_that_may_not_write_is_an_input_error(hub: HubState, artifact: Artifact) -> None:
    with pytest.raises(InputError, match=r"refuses access to 'somebody-else/it' \(403\)"):
        push_to_hub(artifact, "somebody-else/it")


def test_a_wrong_revision_lists_those_that_exist(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact, REPO, revision="candidate")
    for revision in ("v9", "f" * 40):
        with pytest.raises(InputError, match=rf"has no revision '{revision}'. Known: candidate, main, and commits"):
            OnnxAligner.from_pretrained(REPO, revision=revision)


@pytest.mark.parametrize("status", [500, 429, 418])
def test_a_hub_that_fails_is_a_service_error_without_the_token(status: int, hub: HubState, artifact: Artifact) -> None:
    hub.failure = status
    with pytest.raises(ServiceError, match=f"answered {status} for 'team/old-to-new'") as caught:
        push_to_hub(artifact, REPO)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_hub_that_is_away_is_a_service_error(
    artifact: Artifact, hub: HubState, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub(artifact, REPO)
    commit = download_artifact(REPO)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert download_artifact(REPO).id == commit.id  # from the cache
    with pytest.raises(ServiceError, match="http://127.0.0.1:9 cannot be used"):
        download_artifact("team/another")


def test_a_race_for_one_branch_has_one_winner(
    hub: HubState, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to_hub(artifact, REPO)
    repository = hub.repositories[REPO]
    import huggingface_hub

    original = huggingface_hub.HfApi.create_commit

    def overtaken(self: huggingface_hub.HfApi, *arguments: object, **options: object) -> object:
        repository.add("main", {"README.md": b"another"})
        return original(self, *arguments, **options)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", overtaken)
    with pytest.raises(ServiceError, match="changed by somebody else meanwhile"):
        push_to_hub(artifact, REPO)
    assert repository.commits[repository.refs["main"]] == {"README.md": b"another"}


def test_damage_on_the_way_is_found(hub: HubState, artifact: Artifact) -> None:
    push_to_hub(artifact, REPO)
    repository = hub.repositories[REPO]
    files = repository.commits[repository.refs["main"]]
    repository.add("main", {**files, "artifact/weights.safetensors": b"other"})
    with pytest.raises(ArtifactError, match="is damaged"):
        download_artifact(REPO)
    (artifact.path / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="is damaged"):
        push_to_hub(artifact, REPO)


def test_the_extra_is_named_where_it_is_missing(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: push_to_hub(artifact, REPO), lambda: OnnxAligner.from_pretrained(REPO)):
        with pytest.raises(MissingExtraError, match=r"pip install 'embcompat\[hub\]'"):
            use()


def test_the_environment_leads_to_another_endpoint(hub: HubState, artifact: Artifact, tmp_path: Path) -> None:
    push_to_hub(artifact, REPO)
    code = f"import embcompat as ec; print(ec.OnnxAligner.from_pretrained({REPO!r}).artifact.id)"
    settings = {"HF_ENDPOINT": constants.ENDPOINT, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True)
    assert run.stdout.strip() == artifact.id, run.stderr
