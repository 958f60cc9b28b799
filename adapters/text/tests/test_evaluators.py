"""Evaluators of other libraries measure an aligned model as embcompat does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from embcompat_text.integrations.sentence_transformers import align_model
from embcompat_text.packaged import MINILM_WEIGHTS
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

import embcompat as ec
from embcompat.embeddings import Embeddings
from embcompat.testing import make_pairs

SUBJECTS = ("the wing", "a rotor", "the plate", "a jet", "the layer", "a shock")
VERBS = ("heats", "cools", "turns", "bends", "shakes")
OBJECTS = ("the air", "a pipe", "the engine")
DOCS = {
    f"d{row}": f"{s} {v} {o}"
    for row, (s, v, o) in enumerate((s, v, o) for s in SUBJECTS for v in VERBS for o in OBJECTS)
}
QUERIES = {"q0": "what makes air hot", "q1": "which part rotates the motor", "q2": "deformed tubes", "q3": "vibration"}
RELEVANT = {
    "q0": [name for name, text in DOCS.items() if "heats the air" in text],
    "q1": [name for name, text in DOCS.items() if "turns the engine" in text],
    "q2": [name for name, text in DOCS.items() if "bends a pipe" in text],
    "q3": [name for name, text in DOCS.items() if "shakes" in text],
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noisy map to 24 dimensions, so that the figures are far from 0 and 1."""
    pairs = make_pairs(900, source_dim=384, target_dim=24, normalized=True, noise=0.05).pairs
    split = ec.split_pairs(pairs)
    aligner = ec.fit_aligner("ridge", split.train, split.validation)
    path = Path(tmp_path_factory.mktemp("artifact")) / "map"
    ec.save_artifact(aligner, path, source=pairs.source.space, target=pairs.target.space)
    return path


@pytest.fixture(scope="module")
def model(artifact: Path) -> SentenceTransformer:
    folder = MINILM_WEIGHTS.locate(purpose="A test").parent
    return align_model(SentenceTransformer(str(folder), device="cpu", local_files_only=True), artifact)


@pytest.fixture(scope="module")
def expected(artifact: Path) -> float:
    """nDCG@10 by our own evaluation of the vectors that the artifact makes of the bare model's."""
    bare = ec.load_extractor("minilm")
    aligner = ec.OnnxAligner(artifact)
    sides = [
        Embeddings(aligner.transform(bare.extract(list(texts.values()))), list(texts), aligner.artifact.target)
        for texts in (QUERIES, DOCS)
    ]
    qrels = ec.Qrels({query: dict.fromkeys(names, 1) for query, names in RELEVANT.items()})
    queries, gallery = sides
    report = ec.evaluate_retrieval(
        old_queries=queries,
        new_queries=queries,
        old_gallery=gallery,
        new_gallery=gallery,
        converted=gallery,
        qrels=qrels,
    )
    assert 0.05 < report.lines["status_quo"].value < 0.95
    return report.lines["status_quo"].value


def test_the_evaluator_of_sentence_transformers(model: SentenceTransformer, expected: float) -> None:
    relevant = {query: set(names) for query, names in RELEVANT.items()}
    evaluator = InformationRetrievalEvaluator(QUERIES, DOCS, relevant, name="tiny", write_csv=False)
    assert evaluator(model)["tiny_cosine_ndcg@10"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # mteb lags behind its libraries
def test_a_task_of_mteb(model: SentenceTransformer, expected: float) -> None:
    import mteb
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Tiny(AbsTaskRetrieval):
        """A task that is made here: nothing is downloaded."""

        metadata = TaskMetadata(
            name="Tiny",
            description="Short sentences about machines.",
            type="Retrieval",
            category="t2t",
            dataset={"path": "nowhere", "revision": "1"},
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **_options: Any) -> None:
            texts = [Dataset.from_list([{"id": i, "text": t} for i, t in part.items()]) for part in (DOCS, QUERIES)]
            relevant = {query: dict.fromkeys(names, 1) for query, names in RELEVANT.items()}
            parts = {"corpus": texts[0], "queries": texts[1], "relevant_docs": relevant, "top_ranked": None}
            self.dataset = {"default": {"test": parts}}
            self.data_loaded = True

    results = mteb.evaluate(model, [Tiny()], cache=None, show_progress_bar=False)
    assert results.task_results[0].get_score() == pytest.approx(expected, abs=1e-4)
