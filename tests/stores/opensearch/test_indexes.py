"""What an index holds and what a server does, besides what the suite of every store looks at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opensearchpy import OpenSearch

from embcompat.errors import InputError, StoreError
from embcompat.migration import RunOptions, abort, cut_over, drop_old, job_of, roll_back, run_migration, sweep
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store, sample_rows
from embcompat.stores.opensearch import bulk, connection
from tests.stores.opensearch.server import SearchDouble, running

DIM, ROWS = 24, 12
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "migrate-opensearch.md"
ACCEPTED = RunOptions(accept_changes=True)
FAISS = {"name": "hnsw", "engine": "faiss", "space_type": "cosinesimil", "parameters": {"m": 8}}
MAPPINGS: dict[str, Any] = {
    "opensearch": {"type": "knn_vector", "dimension": DIM, "method": FAISS},
    "elasticsearch": {
        "type": "dense_vector",
        "dims": DIM,
        "similarity": "cosine",
        "index_options": {"type": "int8_hnsw"},
    },
}


@pytest.fixture(params=["opensearch", "elasticsearch"])
def double(request: pytest.FixtureRequest) -> Iterator[SearchDouble]:
    version = (3, 2) if request.param == "opensearch" else (9, 5)
    with running(request.param, version) as double:
        yield double


@pytest.fixture
def opensearch() -> Iterator[SearchDouble]:
    with running("opensearch", (3, 2)) as double:
        yield double


@pytest.fixture
def elasticsearch() -> Iterator[SearchDouble]:
    with running("elasticsearch", (9, 5)) as double:
        yield double


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(bulk, "_PAUSES_SECONDS", (0.0, 0.0))


def ask(double: SearchDouble, method: str, path: str, body: Any = None) -> Any:
    """Send a request past the clients."""
    lines = "".join(json.dumps(line) + "\n" for line in body) if isinstance(body, list) else json.dumps(body or {})
    with double.lock:
        return double.answer(method, path, b"" if body is None else lines.encode())


def fill(double: SearchDouble, *, aliases: dict[str, Any] | None = None, **changes: Any) -> np.ndarray:
    """Make an index of documents with several shards behind an alias; return its vectors."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    field = {**MAPPINGS[double.product], **changes.pop("field", {})}
    mappings = {
        "properties": {
            "v": field,
            "lang": {"type": "keyword"},
            "inner": {"properties": {"n": {"type": "long"}}},
            "list": {"type": "long"},
        },
        **changes.pop("mappings", {}),
    }
    settings = {"index.number_of_shards": 3, "index.refresh_interval": "30s", **changes.pop("settings", {})}
    if double.product == "opensearch":
        settings["index.knn"] = True
    ask(double, "PUT", "/docs-1", {"mappings": mappings, "settings": settings})
    actions = [
        {"add": {"index": "docs-1", "alias": name, **options}} for name, options in (aliases or {"docs": {}}).items()
    ]
    ask(double, "POST", "/_aliases", {"actions": actions})
    for row in range(ROWS):
        put(double, f"d{row}", {"v": vectors[row].tolist(), "lang": "en", "inner": {"n": row}, "list": [row, 2**60]})
    return vectors


def put(
    double: SearchDouble, key: str, document: dict[str, Any], *, index: str = "docs", routing: str | None = None
) -> None:
    """Write a document as an application does."""
    options = {"_id": key} if routing is None else {"_id": key, "routing": routing}
    answer = ask(double, "POST", f"/{index}/_bulk", [{"index": options}, document])
    assert not answer["errors"], answer


def held(double: SearchDouble, name: str = "docs") -> dict[str, dict[str, Any]]:
    """Return the documents behind a name, with their routing, by id."""
    return {each.identifier: {**each.source, "routing": each.routing} for each in double.one(name).documents.values()}


def others(double: SearchDouble, name: str = "docs") -> dict[str, dict[str, Any]]:
    """Return everything of the documents but the vectors."""
    documents = held(double, name)
    return {key: {k: v for k, v in each.items() if k not in ("v", "embcompat")} for key, each in documents.items()}


def gallery(double: SearchDouble, name: str = "docs.v") -> closing[GalleryStore]:
    return closing(open_store(f"{double.product}+{double.address}#{name}"))


def test_a_migration_changes_the_vectors_and_nothing_else(double: SearchDouble, aligner: OnnxAligner) -> None:
    filtered = {"filter": {"term": {"lang": "en"}}, "search_routing": "x"}
    vectors = fill(
        double, aliases={"docs": {"is_write_index": True}, "english": filtered}, mappings={"dynamic": "false"}
    )
    put(double, "routed", {"v": vectors[0].tolist(), "lang": "de"}, routing="someone")
    put(double, "[odd", {"v": vectors[1].tolist(), "unknown": {"kept": [1.5, None, "ü"]}})
    put(double, "empty", {"lang": "fr"})
    put(double, "null", {"v": None, "lang": "it"}, routing="r")
    documents, settings = others(double), dict(double.indexes["docs-1"].settings)
    aliases = dict(double.indexes["docs-1"].aliases)
    with gallery(double) as store:
        run_migration(aligner, store)
        assert others(double) == documents
        ask(double, "PUT", "/docs-1/_mapping", {"properties": {"late": {"type": "keyword"}}})
        put(double, "late", {"v": vectors[2].tolist(), "late": "yes"})
        put(double, "late and empty", {"late": "yes"})
        documents |= {"late": {"late": "yes", "routing": None}, "late and empty": {"late": "yes", "routing": None}}
        cut_over(aligner, store)
        index = double.one("docs")
        assert others(double) == documents
        assert index.name == f"docs-1__v__{aligner.artifact.id[:12]}"
        assert (index.aliases, index.settings) == (aliases, settings)
        assert not double.indexes["docs-1"].aliases
        known = index.mappings["properties"]
        size = "dimension" if double.product == "opensearch" else "dims"
        assert known["v"] == {**MAPPINGS[double.product], size: aligner.artifact.target.dim}
        assert known["late"] == {"type": "keyword"}
        expected = aligner.transform(vectors)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        actual = np.array([held(double)[f"d{row}"]["v"] for row in range(ROWS)])
        actual /= np.linalg.norm(actual, axis=1, keepdims=True)
        np.testing.assert_allclose(actual, expected, atol=1e-4)
        put(double, "d3", {"v": held(double)["d4"]["v"], "lang": "changed"})
        ask(double, "POST", "/docs/_bulk", [{"delete": {"_id": "d5"}}])
        put(double, "empty", {"lang": "es"})
        assert list(sweep(aligner, store)) == ["d3"]
        assert roll_back(aligner, store) == 1
        after = others(double)
        assert sorted(after) == sorted(set(documents) - {"d5"})
        assert (after["d3"]["lang"], after["empty"]["lang"]) == ("changed", "es")
        assert double.one("docs").name == "docs-1"
        old = np.array(held(double)["d3"]["v"])
        np.testing.assert_allclose(old / np.linalg.norm(old), vectors[3] / np.linalg.norm(vectors[3]), atol=1e-6)
        cut_over(aligner, store)
        drop_old(aligner, store)
    assert list(double.indexes) == [f"docs-1__v__{aligner.artifact.id[:12]}"]
    assert not double.points


def test_an_abort_leaves_the_index_alone(double: SearchDouble, aligner: OnnxAligner) -> None:
    fill(double)
    initial = others(double)
    with gallery(double) as store:
        run_migration(aligner, store)
        abort(aligner, store)
    assert (list(double.indexes), others(double)) == (["docs-1"], initial)


def test_copies_do_not_pass_the_default_pipeline(opensearch: SearchDouble, aligner: OnnxAligner) -> None:
    fill(opensearch)
    old = {"text_embedding": {"vector": [1.0] * DIM}}
    ask(opensearch, "PUT", "/_ingest/pipeline/embed", {"processors": [{"set": {"field": "x", "value": 1}}, old]})
    ask(opensearch, "PUT", "/docs-1/_settings", {"index.default_pipeline": "embed"})
    with gallery(opensearch) as store:
        with pytest.raises(StoreError, match="'embed' may embed documents \\(text_embedding\\)"):
            run_migration(aligner, store)
        run_migration(aligner, store, options=ACCEPTED)
        cut_over(aligner, store, options=ACCEPTED)
    assert opensearch.one("docs").settings["index.default_pipeline"] == "embed"
    assert all("x" not in document for document in held(opensearch).values())


def test_what_cannot_be_kept_is_listed(opensearch: SearchDouble, aligner: OnnxAligner) -> None:
    settings = {"index.final_pipeline": "last", "index.search.default_pipeline": "neural", "index.blocks.write": True}
    fill(opensearch, aliases={"docs": {}})
    ask(opensearch, "PUT", "/docs-1/_settings", settings)
    ask(opensearch, "PUT", "/docs-1/_mapping", {"properties": {"body": {"type": "semantic"}}})
    template = {"index_patterns": ["docs-*"], "template": {"aliases": {"docs": {}}}}
    ask(opensearch, "PUT", "/_index_template/docs", template)
    with gallery(opensearch) as store:
        listed = store.obstacles(job_of(aligner.artifact))
    assert [entry.acceptable for entry in listed] == [False, False, True, True, True]
    texts = ["behind the alias docs", "index.blocks.write", "'last' runs over copies", "'neural' stays", "field body"]
    assert [part in entry.text for part, entry in zip(texts, listed, strict=True)] == [True] * 5


def test_an_index_by_its_own_name_is_refused_because_there_is_no_way_back(
    double: SearchDouble, aligner: OnnxAligner
) -> None:
    fill(double)
    with gallery(double, "docs-1.v") as store, pytest.raises(StoreError, match="no way back. Make an alias"):
        run_migration(aligner, store, options=ACCEPTED)
    assert list(double.indexes) == ["docs-1"]


def test_the_page_tells_how_a_name_becomes_an_alias_without_loss(double: SearchDouble, aligner: OnnxAligner) -> None:
    fill(double)
    ask(
        double,
        "PUT",
        "/mine",
        {"mappings": double.indexes["docs-1"].mappings, "settings": double.indexes["docs-1"].settings},
    )
    for key, document in held(double).items():
        put(double, key, {name: value for name, value in document.items() if name != "routing"}, index="mine")
    initial = others(double)
    for name in ("docs-1", "docs"):
        double.indexes.pop(name, None)
    text = PAGE.read_text().partition("Writers get an error")[2].partition("```text\n")[2].partition("```")[0]
    for request in text.replace("docs", "mine").strip().split("\n\n"):
        line, body = request.split("\n")
        ask(double, *line.split(), json.loads(body))
    assert others(double, "mine") == initial
    with gallery(double, "mine.v") as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert roll_back(aligner, store) == 0
    assert others(double, "mine") == initial


def test_a_user_who_may_not_read_pipelines_is_told_so(opensearch: SearchDouble, aligner: OnnxAligner) -> None:
    fill(opensearch)
    ask(opensearch, "PUT", "/_ingest/pipeline/embed", {"processors": []})
    ask(opensearch, "PUT", "/docs-1/_settings", {"index.default_pipeline": "embed"})
    opensearch.forbidden = ("/_ingest", "/_index_template")
    with gallery(opensearch) as store:
        assert ["may not read it" in entry.text for entry in store.obstacles(job_of(aligner.artifact))] == [True]


def test_a_template_that_nobody_saw_makes_no_alias_of_half_an_index(
    opensearch: SearchDouble, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(opensearch)
    ask(opensearch, "PUT", "/_index_template/t", {"index_patterns": ["docs-*"], "template": {"aliases": {"docs": {}}}})
    monkeypatch.setattr(SearchDouble, "simulate", lambda *_: {})  # templates of the old kind are not simulated
    with (
        gallery(opensearch) as store,
        pytest.raises(StoreError, match="behind the alias docs, .* Nothing was converted"),
    ):
        run_migration(aligner, store)
    assert list(opensearch.indexes) == ["docs-1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mappings": {"_source": {"excludes": ["v"]}}}, "not stored whole"),
        ({"mappings": {"_source": {"excludes": ["lang"]}}}, "not stored whole"),
    ],
)
def test_documents_that_are_not_whole_are_refused(
    changes: dict[str, Any], message: str, elasticsearch: SearchDouble, aligner: OnnxAligner
) -> None:
    fill(elasticsearch, **changes)
    with gallery(elasticsearch) as store, pytest.raises(StoreError, match=message):
        run_migration(aligner, store)


def test_vectors_that_the_server_does_not_give_are_no_missing_vectors(
    elasticsearch: SearchDouble, aligner: OnnxAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(elasticsearch)
    monkeypatch.setattr(connection.Server, "hides_vectors", False)
    with gallery(elasticsearch) as store, pytest.raises(StoreError, match="does not give the vectors"):
        run_migration(aligner, store)


def test_a_busy_server_and_small_requests_are_borne(double: SearchDouble, aligner: OnnxAligner) -> None:
    fill(double)
    with gallery(double) as store:
        double.failures, double.rejected, double.largest = [429, 503], 3, 4_000
        run_migration(aligner, store)
        double.rejected = 1_000
        with pytest.raises(StoreError, match="the server is busy, and did not take"):
            store.write_native(job_of(aligner.artifact), ["d1"], np.ones((1, aligner.artifact.target.dim), np.float32))


def test_a_write_that_comes_between_stays_as_the_application_wrote_it(
    double: SearchDouble, aligner: OnnxAligner
) -> None:
    fill(double)
    job = job_of(aligner.artifact)
    with gallery(double) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        indexes = store._collections  # type: ignore[attr-defined]
        write_vectors = indexes.write_vectors

        def late(name: str, records: Any) -> None:
            put(double, "d1", {"v": held(double)["d2"]["v"], "lang": "of the application"})
            write_vectors(name, records)

        indexes.write_vectors = late
        store.write_native(job, ["d1", "d2"], np.eye(2, aligner.artifact.target.dim, dtype=np.float32))
    assert held(double)["d1"]["lang"] == "of the application"
    assert held(double)["d2"]["v"][:2] == [0.0, 1.0]


def test_a_page_that_comes_too_late_is_an_error(double: SearchDouble, aligner: OnnxAligner) -> None:
    fill(double)
    with gallery(double) as store:
        store._collections.page_rows = 2  # type: ignore[attr-defined]
        pages = store.scan(job_of(aligner.artifact), batch_size=2, missing_only=False)
        next(pages)
        double.seconds += 3_600
        with pytest.raises(StoreError, match="more than 30m after the one before"):
            list(pages)


def test_every_document_of_every_shard_is_read_once(double: SearchDouble, aligner: OnnxAligner) -> None:
    fill(double)
    with gallery(double) as store:
        store._collections.page_rows = 2  # type: ignore[attr-defined]
        ids = [
            key for rows in store.scan(job_of(aligner.artifact), batch_size=5, missing_only=False) for key in rows.ids
        ]
    assert sorted(ids) == sorted(f"d{row}" for row in range(ROWS))


def test_a_refused_document_is_named(double: SearchDouble, aligner: OnnxAligner) -> None:
    fill(double)
    job = job_of(aligner.artifact)
    with gallery(double) as store:
        run_migration(aligner, store)
        short = np.ones((1, 3), np.float32)
        with pytest.raises(StoreError, match="document 'd1' is refused: .*number of dimensions"):
            store.write(job, ["d1"], short, np.ones(1, np.int64))


def test_a_sample_takes_queries_and_fields(double: SearchDouble) -> None:
    vectors = fill(double)
    put(double, "d4", {"v": vectors[4].tolist(), "lang": "de", "inner": {"n": 4}})
    url = f"{double.product}+{double.address}#docs.v"
    rows = sample_rows(url, label_column="inner.n", where='{"term": {"lang": "de"}}')
    assert (list(rows.ids), list(rows.labels or ())) == (["d4"], ["4"])
    for where, message in (("lang:de", "takes a query as JSON"), ('{"regex": 1}', "does not understand the query")):
        with pytest.raises(InputError, match=message):
            sample_rows(url, where=where)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("docs", "has the form"),
        ("docs*.v", "with one index"),
        ("none.v", "there is no index or alias 'none'"),
        ("docs.lang", "there is no .* field 'lang'. Fields of this type: v"),
        ("both.v", "stands for 2 indexes: docs-1, docs-2"),
    ],
)
def test_addresses_that_lead_nowhere(name: str, message: str, double: SearchDouble) -> None:
    fill(double)
    ask(double, "PUT", "/docs-2", {})
    actions = [{"add": {"index": index, "alias": "both"}} for index in ("docs-1", "docs-2")]
    ask(double, "POST", "/_aliases", {"actions": actions})
    with pytest.raises(InputError, match=message):
        open_store(f"{double.product}+{double.address}#{name}")


def test_the_client_of_the_other_product_is_refused() -> None:
    with (
        running("opensearch", (3, 2)) as double,
        pytest.raises(StoreError, match="is not Elasticsearch"),
    ):
        open_store(f"elasticsearch+{double.address}#docs.v")
    with running("elasticsearch", (9, 5)) as double, pytest.raises(StoreError, match="is not OpenSearch"):
        open_store(f"opensearch+{double.address}#docs.v")


def test_credentials_are_used_and_never_shown(double: SearchDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(double)
    double.password = "Basic bWU6aHVudGVyMi0y"  # me:hunter2-2
    host = double.address.removeprefix("http://")
    with closing(open_store(f"{double.product}+http://me:hunter2-2@{host}#docs.v")) as store:
        assert "hunter2" not in store.url
    monkeypatch.setenv(f"{double.product.upper()}_USERNAME", "me")
    monkeypatch.setenv(f"{double.product.upper()}_PASSWORD", "hunter2-2")
    open_store(f"{double.product}+{double.address}#docs.v").close()
    with pytest.raises(StoreError, match="missing authentication credentials") as error:
        open_store(f"{double.product}+http://me:wrong-secret@{host}#docs.v")
    assert "wrong-secret" not in str(error.value)


def test_an_older_server_needs_an_older_client() -> None:
    with (
        running("elasticsearch", (7, 17)) as double,
        pytest.raises(StoreError, match="Install a client of the server's"),
    ):
        open_store(f"elasticsearch+{double.address}#docs.v")


def test_an_index_that_is_gone_is_no_document_that_is_gone(double: SearchDouble, aligner: OnnxAligner) -> None:
    fill(double)
    double.creates_missing = False
    job = job_of(aligner.artifact)
    with gallery(double) as store:
        run_migration(aligner, store)
        write = store._collections.write  # type: ignore[attr-defined]
        double.indexes.pop(f"docs-1__v__{aligner.artifact.id[:12]}")
        with pytest.raises(StoreError, match="no such index"):
            write(store._target(job), store._collections.read("docs", ["d1"]))  # type: ignore[attr-defined]


def test_a_server_that_is_not_there(double: SearchDouble) -> None:
    with pytest.raises(StoreError, match="the server cannot be reached"):
        open_store(f"{double.product}+http://127.0.0.1:9#docs.v")


def test_the_client_of_opensearch_is_silent(opensearch: SearchDouble, caplog: pytest.LogCaptureFixture) -> None:
    fill(opensearch)
    with gallery(opensearch):
        assert OpenSearch.__module__.startswith("opensearchpy")
    assert not [record for record in caplog.records if record.name == "opensearch"]
