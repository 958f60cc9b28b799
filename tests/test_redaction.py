from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from embcompat.aligners import fit_affine
from embcompat.artifact import Artifact
from embcompat.cli import main
from embcompat.cli.console import print_json
from embcompat.embeddings import PairSplit
from embcompat.errors import StoreError
from embcompat.export import save_artifact
from embcompat.migration.journal import Journal
from embcompat.redaction import redact, redact_values, split_secrets
from embcompat.stores import parse_store_url


@pytest.fixture(scope="module")
def artifact(split: PairSplit, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("artifact") / "old-to-new"
    spaces = {"source": split.train.source.space, "target": split.train.target.space}
    return save_artifact(fit_affine(split.train, split.validation), path, split=split, **spaces)


PASSWORDS = ["hunter22", "a/b@c:d", "100%zz&x=y", "pa#ss#word", "sécret+plus", "tail@", "?key=hidden", "***visible"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("encoded", [False, True])
def test_an_address_is_taken_apart_whatever_is_in_the_password(password: str, encoded: bool) -> None:
    text = quote(password, safe="") if encoded else password
    address = split_secrets(f"postgresql://me:{text}@host:5432/base?x=1#docs.v")
    assert address.full == f"postgresql://me:{quote(password, safe='')}@host:5432/base?x=1#docs.v"
    assert address.public == "postgresql://me@host:5432/base?x=1#docs.v"
    assert password not in redact(f'driver: "{password}" is wrong, so is {quote(password)}, {password!r}')


@pytest.mark.parametrize(
    "name", ["password", "sslpassword", "api_key", "apikey", "AWS_SECRET_ACCESS_KEY", "token", "sig_nature"]
)
def test_secret_options_are_hidden_and_the_others_stay(name: str) -> None:
    url = f"qdrant+https://host:6333/?user=me&{name}=open sesame&timeout=3#live.text?key=id"
    public = split_secrets(url.replace(" ", "%20")).public
    if name == "sig_nature":
        assert "sesame" in public
    else:
        assert public == f"qdrant+https://host:6333/?user=me&{name}=***&timeout=3#live.text?key=id"
        assert "sesame" not in redact("the server says: open sesame")


@pytest.mark.parametrize(
    "url",
    [
        "faiss:///",
        "lancedb:///a@b:c#docs.v?key=id",
        "qdrant+http://host:6333#a@b",
        "old.parquet",
        "postgresql://me@h/d",
    ],
)
def test_addresses_without_secrets_stay_as_they_are(url: str) -> None:
    assert split_secrets(url).full == split_secrets(url).public == redact(url) == url


def test_a_path_that_was_made_of_an_address_is_redacted() -> None:
    path = Path("s3://key:hunter2@bucket/team")
    assert redact(f"{path} is not there") == "s3:/key@bucket/team is not there"


def test_a_store_gets_the_password_that_was_meant() -> None:
    url = parse_store_url("postgresql://me:a/b@c@host/base#docs.v")
    assert url.location == "postgresql://me:a%2Fb%40c@host/base"
    assert (url.names, url.public) == (("docs", "v"), "postgresql://me@host/base#docs.v")


def test_errors_journals_and_json_hold_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split_secrets("postgresql://me:correct-horse@host/base")
    driver = 'connection failed: "correct-horse" and https://me:other1@host'
    assert (
        str(StoreError(f"cannot connect: {driver}")) == 'cannot connect: connection failed: "***" and https://me@host'
    )
    Journal(tmp_path / "journal.jsonl").write("failed", reason=driver, nested=[{"why": driver}])
    print_json({"reason": driver, "nested": {"why": [driver]}, "flag": True})
    for text in ((tmp_path / "journal.jsonl").read_text(), capsys.readouterr().out):
        assert "correct-horse" not in text
        assert "other1" not in text
        json.loads(text)
    assert redact_values([1, None, 2.5, True]) == [1, None, 2.5, True]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("place", ["user", "option"])
def test_no_command_shows_a_password(
    password: str,
    place: str,
    artifact: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("embcompat.stores.postgres.connection._FIRST_WAIT_SECONDS", 0)
    text = quote(password, safe="")
    host = f"me:{password}@127.0.0.1:1/base" if place == "user" else f"127.0.0.1:1/base?user=me&password={text}"
    verbs = ("plan", "status", "sweep", "rollback") if password == PASSWORDS[1] else ("run",)
    commands = [["migrate", verb, str(artifact.path)] for verb in verbs]
    for command in commands:
        for url in (f"postgresql://{host}#docs.v", f"qdrant+http://{host}#docs.v"):
            monkeypatch.setattr(sys, "argv", ["embcompat", *command, url, "--debug"])
            with pytest.raises(SystemExit) as left:
                main()
            assert left.value.code in (1, 2)
    captured = capfd.readouterr()
    files = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    flat = "".join((captured.out + captured.err + files).split())
    assert password not in flat
    assert text not in flat
