"""Tables as other libraries make them: their own queries before, during and after a migration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from django import conf, db
from langchain_core.embeddings import Embeddings
from langchain_postgres import PGVector
from pgvector.django import CosineDistance, HnswIndex, VectorField
from pgvector.sqlalchemy import Vector
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import orm

from embcompat.migration import cut_over, drop_old, job_of, roll_back, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import open_store

DIM = 24
TEXTS = [f"document {number}" for number in range(40)]
TARGETS = pytest.mark.parametrize("target", ["?target=table", "?target=column"])


class Model(Embeddings):
    """A model: the old one hashes texts, the new one is the old one mapped without an error."""

    def __init__(self, aligner: OnnxAligner | None = None) -> None:
        self.aligner = aligner

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]
        rows = [np.random.default_rng(seed).standard_normal(DIM) for seed in seeds]
        vectors = np.array(rows, np.float32)
        vectors = vectors if self.aligner is None else self.aligner.transform(vectors)
        return [[float(number) for number in row] for row in vectors]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class Application:
    """Where an application finds its schema, and which space it says that it writes."""

    def __init__(self, database: Any, space: str = "") -> None:
        schema = database.one("SELECT current_schema()")
        self.options = f"-c search_path={schema},public" + (f" -c embcompat.space={space}" if space else "")
        self.server = database.server

    def engine(self) -> sqlalchemy.Engine:
        url = self.server.replace("postgresql://", "postgresql+psycopg://", 1)
        return sqlalchemy.create_engine(url, connect_args={"options": self.options})

    def django(self) -> dict[str, Any]:
        place = conninfo_to_dict(self.server)
        names = {"NAME": place["dbname"], "USER": place["user"], "HOST": place["host"]}
        return {"ENGINE": "django.db.backends.postgresql", **names, "OPTIONS": {"options": self.options}}


@pytest.fixture
def engines(database: Any) -> Iterator[tuple[sqlalchemy.Engine, sqlalchemy.Engine]]:
    """Engines of the application of the old model, and of that of the new one."""
    clients = Application(database).engine(), Application(database, "made-new@1").engine()
    yield clients
    for engine in clients:
        engine.dispose()


@TARGETS
def test_models_of_sqlalchemy(
    database: Any, aligner: OnnxAligner, engines: tuple[sqlalchemy.Engine, sqlalchemy.Engine], target: str
) -> None:
    def model(dim: int) -> Any:
        class Base(orm.DeclarativeBase):
            pass

        class Doc(Base):
            __tablename__ = "docs"
            id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
            title: orm.Mapped[str]
            v: orm.Mapped[Any] = orm.mapped_column(Vector(dim))
            __table_args__ = (
                sqlalchemy.Index("docs_v", "v", postgresql_using="hnsw", postgresql_ops={"v": "vector_cosine_ops"}),
            )

        return Doc

    old, new = Model(), Model(aligner)
    old_doc, new_doc = model(DIM), model(16)
    old_doc.metadata.create_all(engines[0])

    def add(engine: sqlalchemy.Engine, doc: Any, embeddings: Model, texts: list[str]) -> None:
        with orm.Session(engine) as session:
            session.add_all(
                doc(title=text, v=vector) for text, vector in zip(texts, embeddings.embed_documents(texts), strict=True)
            )
            session.commit()

    def nearest(engine: sqlalchemy.Engine, doc: Any, embeddings: Model, text: str) -> str:
        with orm.Session(engine) as session:
            query = sqlalchemy.select(doc).order_by(doc.v.cosine_distance(embeddings.embed_query(text))).limit(1)
            return str(session.scalars(query).one().title)

    add(engines[0], old_doc, old, TEXTS)
    with database.opened(target) as store:
        run_migration(aligner, store)
        add(engines[0], old_doc, old, ["a late document"])
        assert nearest(engines[0], old_doc, old, "a late document") == "a late document"
        cut_over(aligner, store)
        for text in (TEXTS[3], "a late document"):
            assert nearest(engines[1], new_doc, new, text) == text
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="vectors must be in space made-new@1"):
            add(engines[0], new_doc, new, ["no space was named"])
        add(engines[1], new_doc, new, ["of the new model"])
        assert nearest(engines[1], new_doc, new, "of the new model") == "of the new model"
        drop_old(aligner, store)
    assert nearest(engines[1], new_doc, new, TEXTS[7]) == TEXTS[7]
    assert "docs_v" in {index["name"] for index in sqlalchemy.inspect(engines[1]).get_indexes("docs")}


@pytest.fixture
def django(database: Any) -> Iterator[None]:
    """Django, with the connection ``default`` of the old model's application and ``new`` of the new one's."""
    if not conf.settings.configured:
        conf.settings.configure(DATABASES={}, INSTALLED_APPS=[])
        import django as framework

        framework.setup()
    settings = {"default": Application(database).django(), "new": Application(database, "made-new@1").django()}
    db.connections.settings = db.connections.configure_settings(settings)
    yield
    for alias in settings:
        db.connections[alias].close()
        del db.connections[alias]


def django_model(dim: int, target: str) -> Any:
    """A model of the table; Django wants another name for each."""

    class Meta:
        app_label = f"docs{dim}{target.removeprefix('?target=')}"
        db_table = "docs"
        indexes = (HnswIndex(name="docs_v", fields=["v"], opclasses=["vector_cosine_ops"]),)

    fields = {
        "title": db.models.CharField(max_length=40),
        "v": VectorField(dimensions=dim, null=True),
        "Meta": Meta,
        "__module__": __name__,
    }
    return type("Doc", (db.models.Model,), fields)


@TARGETS
def test_models_of_django(database: Any, aligner: OnnxAligner, django: None, target: str) -> None:
    old, new = Model(), Model(aligner)
    old_doc, new_doc = django_model(DIM, target), django_model(16, target)
    with db.connections["default"].schema_editor() as editor:
        editor.create_model(old_doc)

    def nearest(doc: Any, alias: str, embeddings: Model, text: str) -> str:
        distance = CosineDistance("v", embeddings.embed_query(text))
        return str(doc.objects.using(alias).order_by(distance).first().title)

    for text, vector in zip(TEXTS, old.embed_documents(TEXTS), strict=True):
        old_doc(title=text, v=vector).save()
    with database.opened(target) as store:
        run_migration(aligner, store)
        old_doc.objects.filter(title=TEXTS[5]).update(title="renamed")
        old_doc.objects.filter(title=TEXTS[6]).delete()
        assert nearest(old_doc, "default", old, TEXTS[3]) == TEXTS[3]
        cut_over(aligner, store)
        assert nearest(new_doc, "new", new, TEXTS[3]) == TEXTS[3]
        assert nearest(new_doc, "new", new, TEXTS[5]) == "renamed"
        assert new_doc.objects.using("new").count() == len(TEXTS) - 1
        with pytest.raises(db.IntegrityError, match="vectors must be in space made-new@1"):
            new_doc(title="no space was named", v=new.embed_query("x")).save()
        new_doc(title="of the new model", v=new.embed_query("of the new model")).save(using="new")
        assert nearest(new_doc, "new", new, "of the new model") == "of the new model"
        assert roll_back(aligner, store) == 1
        assert nearest(old_doc, "default", old, TEXTS[3]) == TEXTS[3]
        assert old_doc.objects.get(title="of the new model").v is None


@TARGETS
def test_the_default_table_of_langchain(
    database: Any, aligner: OnnxAligner, engines: tuple[sqlalchemy.Engine, sqlalchemy.Engine], target: str
) -> None:
    def library(engine: sqlalchemy.Engine, embeddings: Model) -> PGVector:
        return PGVector(embeddings=embeddings, collection_name="docs", connection=engine, use_jsonb=True)

    old = library(engines[0], Model())
    old.add_texts(TEXTS, ids=TEXTS, metadatas=[{"number": number} for number in range(len(TEXTS))])
    schema = database.one("SELECT current_schema()")
    with closing(open_store(f"{database.server}#{schema}.langchain_pg_embedding.embedding{target}")) as store:
        assert not any("cached plan" in note for note in store.notes(job_of(aligner.artifact)))
        run_migration(aligner, store)
        old.add_texts(["a late document"], ids=["late"])
        old.delete(ids=[TEXTS[4]])
        for text in (TEXTS[3], "a late document"):
            assert old.similarity_search(text, k=1)[0].page_content == text
        cut_over(aligner, store)
        new = library(engines[1], Model(aligner))
        for text in (TEXTS[3], "a late document"):
            assert new.similarity_search(text, k=1)[0].page_content == text
        assert new.similarity_search("anything", k=5, filter={"number": {"$eq": 7}})[0].page_content == TEXTS[7]
        assert TEXTS[4] not in {document.page_content for document in new.similarity_search("anything", k=100)}
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="vectors must be in space made-new@1"):
            old.add_texts(["of the old model"], ids=["refused"])
        new.add_texts(["of the new model"], ids=["native"])
        assert new.similarity_search("of the new model", k=1)[0].page_content == "of the new model"
        drop_old(aligner, store)


def test_two_collections_of_langchain_in_one_table(
    database: Any, aligner: OnnxAligner, engines: tuple[sqlalchemy.Engine, sqlalchemy.Engine]
) -> None:
    def library(engine: sqlalchemy.Engine, name: str, embeddings: Model) -> PGVector:
        return PGVector(embeddings=embeddings, collection_name=name, connection=engine, use_jsonb=True)

    def answers(collection: PGVector) -> list[tuple[str, float]]:
        results = (collection.similarity_search_with_score(text, k=5) for text in TEXTS[:8])
        return [(document.page_content, score) for result in results for document, score in result]

    names = ("manuals", "letters")
    old = {name: library(engines[0], name, Model()) for name in names}
    new = {name: library(engines[1], name, Model(aligner)) for name in names}
    for name, collection in old.items():
        collection.add_texts([f"{text} of {name}" for text in TEXTS], ids=[f"{text} of {name}" for text in TEXTS])
    letters = answers(old["letters"])
    schema = database.one("SELECT current_schema()")

    def gallery(name: str) -> Any:
        number = database.one(f"SELECT uuid FROM langchain_pg_collection WHERE name = '{name}'")
        url = (
            f"{database.server}#{schema}.langchain_pg_embedding.embedding?target=column&where=collection_id='{number}'"
        )
        return closing(open_store(url))

    with gallery("manuals") as store:
        assert run_migration(aligner, store).rows == len(TEXTS)
        old["manuals"].add_texts(["late of manuals"], ids=["late"])
        assert answers(old["letters"]) == letters
        cut_over(aligner, store)
        assert answers(old["letters"]) == letters
        for text in (f"{TEXTS[3]} of manuals", "late of manuals"):
            assert new["manuals"].similarity_search(text, k=1)[0].page_content == text
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="vectors must be in space made-new@1"):
            old["manuals"].add_texts(["of the old model"], ids=["refused"])
        new["manuals"].add_texts(["of the new model"], ids=["native"])
        old["letters"].add_texts(["a late letter"], ids=["late letter"])
        assert old["letters"].similarity_search("a late letter", k=1)[0].page_content == "a late letter"
        old["letters"].delete(ids=["late letter"])
        assert roll_back(aligner, store) == 1
        assert answers(old["letters"]) == letters
        assert old["manuals"].similarity_search("late of manuals", k=1)[0].page_content == "late of manuals"
        cut_over(aligner, store)
        drop_old(aligner, store)
    with gallery("letters") as store:
        run_migration(aligner, store)
        cut_over(aligner, store)
        drop_old(aligner, store)
    for name, collection in new.items():
        text = f"{TEXTS[3]} of {name}"
        assert collection.similarity_search(text, k=1)[0].page_content == text


@TARGETS
def test_the_table_of_llama_index(database: Any, aligner: OnnxAligner, target: str) -> None:
    """As llama-index-vector-stores-postgres 0.9 makes and queries it with hybrid_search and an HNSW index."""
    database.execute(
        f"""
        CREATE TABLE data_docs (id bigserial PRIMARY KEY, text varchar NOT NULL, metadata_ json, node_id varchar,
            embedding vector({DIM}),
            text_search_tsv tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED);
        CREATE INDEX docs_idx ON data_docs USING gin (text_search_tsv);
        CREATE INDEX docs_idx_1 ON data_docs ((metadata_ ->> 'ref_doc_id'));
        CREATE INDEX data_docs_embedding_idx ON data_docs USING hnsw (embedding vector_cosine_ops)
            WITH (m = 16, ef_construction = 64);
        """
    )
    for text, vector in zip(TEXTS, Model().embed_documents(TEXTS), strict=True):
        statement = "INSERT INTO data_docs (text, node_id, metadata_, embedding) VALUES (%s, %s, %s, %s)"
        database.execute(statement, (text, text, '{"ref_doc_id": "x"}', str(vector)))
    schema = database.one("SELECT current_schema()")

    def nearest(embeddings: Model, text: str) -> object:
        return database.one(
            "SELECT text FROM (SELECT text, embedding <=> '" + str(embeddings.embed_query(text)) + "' AS distance "
            "FROM data_docs WHERE metadata_ ->> 'ref_doc_id' = 'x' ORDER BY distance ASC LIMIT 1) nearest"
        )

    with closing(open_store(f"{database.server}#{schema}.data_docs.embedding{target}")) as store:
        run_migration(aligner, store)
        assert nearest(Model(), TEXTS[3]) == TEXTS[3]
        cut_over(aligner, store)
        assert nearest(Model(aligner), TEXTS[3]) == TEXTS[3]
        words = "SELECT count(*) FROM data_docs WHERE text_search_tsv @@ plainto_tsquery('english', 'document')"
        assert database.one(words) == len(TEXTS)
        assert database.one("INSERT INTO data_docs (text) VALUES ('more') RETURNING id") == len(TEXTS) + 1
        roll_back(aligner, store)
        assert nearest(Model(), TEXTS[3]) == TEXTS[3]
