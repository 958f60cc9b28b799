"""Kinds of FAISS indexes, and files that change under a migration."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import faiss
import numpy as np
import pytest

from embcompat.aligners import AffineAligner
from embcompat.embeddings import normalize_rows, split_pairs
from embcompat.errors import InputError, MigrationError, StoreError
from embcompat.export import save_artifact
from embcompat.migration import RunOptions, cut_over, drop_old, job_of, plan_migration, roll_back, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store
from embcompat.stores.faiss.index import build_like, contents, layers_of, read_index
from embcompat.stores.files.records import RecordFile
from embcompat.testing import make_pairs

DIM = 16


@pytest.fixture(scope="module")
def aligner(tmp_path_factory: pytest.TempPathFactory) -> OnnxAligner:
    synthetic = make_pairs(200, source_dim=DIM, target_dim=DIM, normalized=True)
    artifact = save_artifact(
        AffineAligner(synthetic.matrix, synthetic.offset, normalize=True),
        tmp_path_factory.mktemp("artifact") / "old-to-new",
        source=synthetic.pairs.source.space,
        target=synthetic.pairs.target.space,
        split=split_pairs(synthetic.pairs),
    )
    return OnnxAligner(artifact, threads=1)


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    return normalize_rows(np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32))


def save(
    path: Path,
    factory: str,
    vectors: np.ndarray,
    ids: np.ndarray | None = None,
    metric: int = faiss.METRIC_INNER_PRODUCT,
) -> str:
    index = faiss.index_factory(DIM, factory, metric)
    index.train(vectors)
    if ids is None:
        index.add(vectors)
    else:
        index.add_with_ids(vectors, ids)
    faiss.write_index(index, str(path))
    return f"faiss://{path}"


@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IDMap,Flat", "IDMap2,HNSW8", "IVF4,Flat", "IDMap2,IVF4,Flat"])
def test_vectors_come_out_as_they_went_in(factory: str, tmp_path: Path) -> None:
    vectors = unit_vectors(400)
    ids = np.arange(400, dtype=np.int64) * 1_000_003
    positional = factory in ("Flat", "HNSW8")
    save(tmp_path / "a.faiss", factory, vectors, None if positional else ids)
    stored = contents(read_index(tmp_path / "a.faiss"), where="a")
    assert stored.positional == positional
    order = np.argsort(stored.keys)
    np.testing.assert_array_equal(stored.keys[order], np.arange(400) if positional else ids)
    np.testing.assert_array_equal(stored.vectors[order], vectors)


@pytest.mark.parametrize("factory", ["SQ8", "IVF4,PQ4x4", "PCA8,Flat", "IDMap2,SQ8"])
def test_lossy_indexes_are_refused_with_the_way_out(factory: str, aligner: OnnxAligner, tmp_path: Path) -> None:
    vectors = unit_vectors(700)
    url = save(tmp_path / "a.faiss", factory, vectors, np.arange(700) if "IDMap" in factory else None)
    with (
        closing(open_store(url)) as store,
        pytest.raises(StoreError, match="Convert the vectors that it was built from"),
    ):
        run_migration(aligner, store)


def test_a_new_index_has_the_parameters_of_the_old_one() -> None:
    vectors, ids = unit_vectors(200), np.arange(200, dtype=np.int64)
    graph = faiss.IndexHNSWFlat(DIM, 12)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 77, 55
    owner = build_like(graph, ids, vectors, "dot")
    index = faiss.downcast_index(owner)
    assert index.hnsw.nb_neighbors(1) == 12
    assert (index.hnsw.efConstruction, index.hnsw.efSearch, index.metric_type) == (77, 55, faiss.METRIC_INNER_PRODUCT)
    lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIM), DIM, 9)
    lists.nprobe = 3
    owner = build_like(lists, ids, vectors, "euclidean")
    index = faiss.downcast_index(owner)
    assert (index.nlist, index.nprobe, index.metric_type, index.ntotal) == (9, 3, faiss.METRIC_L2, 200)


KINDS = [
    "Flat",
    "IDMap,Flat",
    "HNSW8",
    "IVF4,Flat",
    "IVF4_HNSW4,Flat",
    "L2norm,Flat",
    "IDMap2,L2norm,Flat",
    "L2norm,IVF4,Flat",
    "IVF4,SQ8,RFlat",
    "IDMap,SQ8,RFlat",
]


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
@pytest.mark.parametrize("factory", KINDS)
def test_kind_wrappers_and_metric_are_kept(factory: str, metric: int, aligner: OnnxAligner, tmp_path: Path) -> None:
    vectors = unit_vectors(200)
    ids = np.arange(200) * 7 if "IDMap" in factory or "IVF4,Flat" in factory or "IVF4_" in factory else None
    url = save(tmp_path / "a.faiss", factory, vectors, ids, metric)
    original = read_index(tmp_path / "a.faiss")
    initial = layers_of(original)
    with closing(open_store(url)) as store:
        assert plan_migration(aligner, store).obstacles == ()
        run_migration(aligner, store)
        cut_over(aligner, store)
    index = read_index(tmp_path / "a.faiss")
    after = layers_of(index)
    assert (type(after.inner), after.wrappers, after.inner.metric_type) == (
        type(initial.inner),
        initial.wrappers,
        metric,
    )
    stored = contents(index, where="a")
    order = np.argsort(stored.keys)
    np.testing.assert_array_equal(stored.keys[order], np.arange(200) if ids is None else ids)
    np.testing.assert_allclose(stored.vectors[order], aligner.transform(vectors), rtol=1e-4, atol=1e-5)


def test_a_metric_that_the_new_space_does_not_have_must_be_chosen(tmp_path: Path) -> None:
    synthetic = make_pairs(100, source_dim=DIM, target_dim=DIM)
    spaces = [
        space.model_copy(update={"similarity": "dot"})
        for space in (synthetic.pairs.source.space, synthetic.pairs.target.space)
    ]
    artifact = save_artifact(
        AffineAligner(synthetic.matrix, synthetic.offset), tmp_path / "a", source=spaces[0], target=spaces[1]
    )
    aligner = OnnxAligner(artifact, threads=1)
    url = save(tmp_path / "a.faiss", "Flat", unit_vectors(20), metric=faiss.METRIC_L2)
    with closing(open_store(url)) as store:
        (obstacle,) = plan_migration(aligner, store).obstacles
        assert "Pass --metric dot to change the metric, or --metric euclidean to keep it" in obstacle.text
        with pytest.raises(StoreError, match="Pass --metric dot"):
            run_migration(aligner, store, options=RunOptions(accept_changes=True))
        assert store.state(job_of(artifact)).phase == "untouched"
        options = RunOptions(metric="dot")
        assert plan_migration(aligner, store, options=options).obstacles == ()
        run_migration(aligner, store, options=options)
        cut_over(aligner, store, options=options)
    assert read_index(tmp_path / "a.faiss").metric_type == faiss.METRIC_INNER_PRODUCT


def test_parts_that_do_not_divide_the_new_length_are_planned(tmp_path: Path) -> None:
    synthetic = make_pairs(100, source_dim=DIM, target_dim=DIM - 1, normalized=True)
    spaces = {"source": synthetic.pairs.source.space, "target": synthetic.pairs.target.space}
    artifact = save_artifact(
        AffineAligner(synthetic.matrix, synthetic.offset, normalize=True), tmp_path / "artifact", **spaces
    )
    url = save(tmp_path / "a.faiss", "IVF4,PQ4x4,RFlat", unit_vectors(200))
    with closing(open_store(url)) as store:
        (obstacle,) = plan_migration(OnnxAligner(artifact, threads=1), store).obstacles
    assert f"There is no index of this kind for vectors of length {DIM - 1}" in obstacle.text


def test_binary_indexes_are_refused_in_words(tmp_path: Path) -> None:
    faiss.write_index_binary(faiss.IndexBinaryFlat(64), str(tmp_path / "bits.faiss"))
    with pytest.raises(InputError, match="is a binary index: it holds bits"):
        open_store(f"faiss://{tmp_path}/bits.faiss")


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")
def test_a_langchain_folder_stays_in_service(aligner: OnnxAligner, tmp_path: Path) -> None:
    from langchain_community.vectorstores import FAISS
    from langchain_core.embeddings import Embeddings as Model

    class Old(Model):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [unit_vectors(1, seed=int(text))[0].tolist() for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    class New(Old):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return aligner.transform(np.array(super().embed_documents(texts), np.float32)).tolist()

    def own_documents(model: Model) -> int:
        shop = FAISS.load_local(str(tmp_path), model, allow_dangerous_deserialization=True)
        retriever = shop.as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.5, "k": 1}
        )
        return sum([document.page_content for document in retriever.invoke(text)] == [text] for text in texts)

    texts = [str(number) for number in range(50)]
    FAISS.from_texts(texts, Old()).save_local(str(tmp_path))
    assert own_documents(Old()) == 50
    with closing(open_store(f"faiss://{tmp_path}")) as store:
        run_migration(aligner, store)
        assert own_documents(Old()) == 50
        cut_over(aligner, store)
        assert own_documents(New()) == 50
        roll_back(aligner, store)
        assert own_documents(Old()) == 50


def test_ids_that_are_places_need_every_row(aligner: OnnxAligner, tmp_path: Path) -> None:
    vectors = unit_vectors(50)
    url = save(tmp_path / "a.faiss", "Flat", vectors)
    with closing(open_store(url)) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
    stored = contents(read_index(tmp_path / "a.faiss"), where="a")
    np.testing.assert_allclose(stored.vectors, aligner.transform(vectors), rtol=1e-4, atol=1e-5)
    vectors[7] = 0
    url = save(tmp_path / "b.faiss", "Flat", vectors)
    with closing(open_store(url)) as store, pytest.raises(StoreError, match="ids of this file are places in it"):
        cut_over_after_run(aligner, url)
    assert len(contents(read_index(tmp_path / "b.faiss"), where="b").keys) == 50


def cut_over_after_run(aligner: OnnxAligner, url: str) -> None:
    with closing(open_store(url)) as store:
        run_migration(aligner, store)
        cut_over(aligner, store, max_failures=1)


def test_the_files_that_are_left(aligner: OnnxAligner, tmp_path: Path) -> None:
    url = save(tmp_path / "a.faiss", "IDMap2,Flat", unit_vectors(30), np.arange(30))
    suffix = aligner.artifact.id[:12]
    with closing(open_store(url)) as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        assert {entry.name for entry in tmp_path.glob("[!.]*")} == {"a.faiss", f"a.faiss.old_{suffix}"}
        save(tmp_path / "a.faiss", "IDMap2,Flat", unit_vectors(33, seed=1), np.arange(33))
        assert store.state(job_of(aligner.artifact)).phase == "cut_over"
        assert roll_back(aligner, store) == 3
        cut_over(aligner, store)
        drop_old(aligner, store)
        assert {entry.name for entry in tmp_path.iterdir()} == {
            "a.faiss",
            ".a.faiss.embcompat.json",
            f".a.faiss.{suffix}.rows",
        }
        with pytest.raises(MigrationError, match="finished"):
            drop_old(aligner, store)


def test_a_torn_record_is_cut_off_and_the_last_one_counts(tmp_path: Path) -> None:
    records = RecordFile(tmp_path / "records", 3)
    one, two = np.ones((1, 3), np.float32), np.full((1, 3), 2, np.float32)
    ids = np.array([7], np.int64)
    records.append(ids, np.array([11]), one)
    with records.path.open("ab") as stream:
        stream.write(b"half a record")
    records.append(ids, np.array([12]), two)
    records.append(np.array([3]), np.array([5]), one)
    records.append(np.array([4]), np.array([6]), one)
    records.append(np.array([3]), np.array([0]), None)
    latest = records.latest()
    assert (latest.keys.tolist(), latest.sources.tolist(), latest.native.any()) == ([4, 7], [6, 12], False)
    np.testing.assert_array_equal(records.vectors(latest.numbers), np.concatenate([one, two]))
    records.append(ids, np.array([12]), one, native=True)
    assert records.latest().native.tolist() == [False, True]
    other = RecordFile(records.path, 3)  # another worker
    other.append(np.array([4, 9, 4]), np.array([8, 9, 10]), np.ones((3, 3), np.float32))
    records.append(np.array([1]), np.array([1]), one)
    for each in (records, other):
        assert (each.latest().keys.tolist(), each.latest().sources.tolist()) == ([1, 4, 7, 9], [1, 10, 12, 9])
        assert each.latest().numbers.tolist() == [9, 8, 5, 7]


def test_a_cosine_space_must_be_normalized(tmp_path: Path) -> None:
    synthetic = make_pairs(100, source_dim=DIM, target_dim=DIM)
    spaces = (synthetic.pairs.source.space, synthetic.pairs.target.space)
    aligner = AffineAligner(synthetic.matrix, synthetic.offset)
    artifact = save_artifact(aligner, tmp_path / "artifact", source=spaces[0], target=spaces[1])
    url = save(tmp_path / "a.faiss", "Flat", unit_vectors(5))
    with (
        closing(open_store(url)) as store,
        pytest.raises(StoreError, match="compares by cosine only where"),
    ):
        run_migration(OnnxAligner(artifact, threads=1), store)


def test_ids_that_repeat_are_refused(aligner: OnnxAligner, tmp_path: Path) -> None:
    url = save(tmp_path / "a.faiss", "IDMap2,Flat", unit_vectors(3), np.array([1, 2, 1]))
    with closing(open_store(url)) as store, pytest.raises(StoreError, match="ids must be unique"):
        run_migration(aligner, store)


def test_addresses_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no index file"):
        open_store(f"faiss://{tmp_path}/none.faiss")
    (tmp_path / "text.faiss").write_text("not an index")
    with pytest.raises(InputError, match="is not a FAISS index"):
        open_store(f"faiss://{tmp_path}/text.faiss")
    with pytest.raises(InputError, match="the address of a FAISS gallery has the form"):
        open_store(f"faiss://{tmp_path}/none.faiss#names")


@pytest.mark.parametrize("kind", ["IDMap2,Flat", "IDMap2,HNSW8", "IVF4,Flat"])
def test_a_plan_tries_writing_and_the_index(kind: str, aligner: OnnxAligner, tmp_path: Path) -> None:
    url = save(tmp_path / "a.faiss", kind, unit_vectors(300), np.arange(300) * 5)
    with closing(open_store(url)) as store:
        plan = plan_migration(aligner, store)
        assert plan.write_seconds is not None
        assert plan.write_seconds > 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.faiss"]


def test_vectors_outlive_the_index_that_they_were_read_from(tmp_path: Path) -> None:
    vectors = unit_vectors(500)
    for factory in ("Flat", "HNSW8", "IDMap2,Flat"):
        save(tmp_path / "index.faiss", factory, vectors, np.arange(500) if factory.startswith("IDMap") else None)
        read = contents(read_index(tmp_path / "index.faiss"), where="here").vectors
        contents(read_index(tmp_path / "index.faiss"), where="here")  # would take the place of freed memory
        np.testing.assert_array_equal(read, vectors)
        assert not read.flags.writeable
