"""Relevance judgements."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embcompat.embeddings import Embeddings
from embcompat.errors import FileFormatError, InputError
from embcompat.evaluation.retrieval.judgements import read_qrels
from embcompat.evaluation.retrieval.qrels import Qrels, match_qrels
from embcompat.spaces import SpaceVersion


def ids(*names: str) -> np.ndarray:
    return np.array(names, dtype=object)


def labelled(names: str, labels: str | None) -> Embeddings:
    space = SpaceVersion(name="toy", version="1", dim=1, similarity="dot")
    return Embeddings(np.ones((len(names), 1)), list(names), space, None if labels is None else list(labels))


def test_trec_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text("q1\t0\tdoc one\t2\nq1\t0\td2\t0\n\nq2 Q0 d3 -1\nq2 0 d4 1\n", encoding="utf-8")
    qrels = read_qrels(path)
    assert qrels.gains == {"q1": {"doc one": 2.0, "d2": 0.0}, "q2": {"d3": -1.0, "d4": 1.0}}
    assert qrels.relevant_items() == {"doc one", "d4"}
    assert len(qrels) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 0 d1 1\nq1 d2 1\n", r"qrels, line 2 must hold four fields: .* Got 'q1 d2 1'"),
        ("query-id\tcorpus-id\tscore\n", "must hold at least one judgement"),
        ("q1 0 d1 yes\n", "line 1: the gain must be a number. Got 'yes'"),
        ("q1 0 d1 nan\n", "line 1: the gain must be a number. Got 'nan'"),
        ("q1\t0\t\t1\n", "line 1 must hold four fields"),
        ("q1 0 d1 1\nq1 0 d1 2\n", "line 2: item 'd1' is judged twice for query 'q1'"),
        ("\n", "must hold at least one judgement"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "qrels"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match=message):
        read_qrels(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="absent cannot be read: No such file"):
        read_qrels(tmp_path / "absent")
    (tmp_path / "bytes").write_bytes(b"q1 0 d1 1\n\xff\xfe")
    with pytest.raises(FileFormatError, match="must be UTF-8 text: .* position 10"):
        read_qrels(tmp_path / "bytes")


def test_gains_must_be_finite() -> None:
    with pytest.raises(InputError, match="Query 'q', item 'd' has inf"):
        Qrels({"q": {"d": float("inf")}})


def test_labels_become_judgements() -> None:
    qrels = Qrels.from_labels(labelled("pq", "xz"), labelled("abc", "xyx"))
    assert qrels.gains == {"p": {"a": 1.0, "c": 1.0}, "q": {}}
    with pytest.raises(InputError, match="must have labels"):
        Qrels.from_labels(labelled("p", None), labelled("a", "x"))


def test_judgements_are_matched_to_rows() -> None:
    qrels = Qrels({"b": {"x": 1, "z": 3, "gone": 1}, "a": {"y": 0}, "c": {"gone": 1}, "absent": {"x": 1}})
    relevance = match_qrels(qrels, ids("a", "b", "c"), ids("z", "y", "x"), exclude_self=False)
    assert relevance.queries.tolist() == [1]
    assert relevance.rows.tolist() == [2, 0]
    assert relevance.gains.tolist() == [1.0, 3.0]
    assert relevance.offsets.tolist() == [0, 2]


def test_equal_ids_of_queries_and_items_mean_the_same_only_when_said() -> None:
    qrels = Qrels({"a": {"a": 1, "b": 1}, "b": {"b": 1}, "q": {"a": 1}})
    apart = match_qrels(qrels, ids("a", "b", "q"), ids("a", "b"), exclude_self=False)
    assert (apart.rows.tolist(), len(apart.left_out[0])) == ([0, 1, 1, 0], 0)
    same = match_qrels(qrels, ids("a", "b", "q"), ids("a", "b"), exclude_self=True)
    assert (same.queries.tolist(), same.rows.tolist()) == ([0, 2], [1, 0])
    assert [part.tolist() for part in same.left_out] == [[0], [0]]


def test_fitted_items_leak_and_can_be_taken_out() -> None:
    qrels = Qrels({"a": {"x": 1, "y": 2}, "b": {"y": 1}, "c": {"z": 1}})
    relevance = match_qrels(qrels, ids("a", "b", "c"), ids("x", "y", "z"), exclude_self=False)
    native = np.array([False, True, False])
    assert relevance.leaked(native).tolist() == [True, True, False]
    free = relevance.select(~relevance.leaked(native))
    assert (free.queries.tolist(), free.rows.tolist(), free.offsets.tolist()) == ([2], [2], [0, 1])
    rest = relevance.without(native)
    assert (rest.queries.tolist(), rest.rows.tolist(), rest.gains.tolist()) == ([0, 2], [0, 2], [1.0, 1.0])
    assert [part.tolist() for part in rest.left_out] == [[0], [1]]


def test_what_a_query_must_not_find_follows_it_through_a_selection() -> None:
    qrels = Qrels({name: {"x": 1} for name in "abc"})
    relevance = match_qrels(qrels, ids("a", "b", "c"), ids("x", "c", "a"), exclude_self=True)
    assert [part.tolist() for part in relevance.left_out] == [[0, 2], [2, 1]]
    judged = relevance.select(np.array([False, True, True]))
    assert [part.tolist() for part in judged.left_out] == [[1], [1]]


def test_no_judged_query() -> None:
    relevance = match_qrels(Qrels({}), ids("a"), ids("x"), exclude_self=True)
    assert len(relevance) == 0
    assert relevance.leaked(np.array([True])).shape == (0,)
    assert len(relevance.without(np.array([True]))) == 0


def test_a_click_log_gives_graded_judgements(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("query_id,item_id,count\nq1,d1,1\nq1,d2,2\nq1,d2,1\n\nq2,d1,0\n")
    assert read_qrels(path).gains == {"q1": {"d1": 1.0, "d2": 2.0}}
    path.write_text("query_id\titem_id\tcount\nq 1\td1\t7\n")
    assert read_qrels(path).gains == {"q 1": {"d1": 3.0}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("q1,d1", "line 2 must hold query_id, item_id, count"),
        ("q1,d1,-1", "line 2: count must be a whole number of 0 or more. Got '-1'"),
        ("q1,d1,0", "must hold at least one click"),
    ],
)
def test_a_click_log_that_is_not_one_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(f"query_id,item_id,count\n{rows}\n")
    with pytest.raises(FileFormatError, match=message):
        read_qrels(path)


def test_judgements_as_people_have_them(tmp_path: Path) -> None:
    expected = {"1": {"7": 2.0, "8": 0.0}, "2": {"7": 1.0}}
    rows = [("1", "7", 2), ("1", "8", 0), ("2", "7", 1)]
    frame = pd.DataFrame(rows, columns=["query-id", "corpus-id", "score"]).astype({"query-id": int, "corpus-id": int})
    frame.to_csv(tmp_path / "beir.tsv", sep="\t", index=False)
    frame.to_csv(tmp_path / "table.csv.gz", index=False)
    frame.to_parquet(tmp_path / "table.parquet")
    frame.to_json(tmp_path / "table.jsonl", orient="records", lines=True)
    (tmp_path / "nested.json").write_text(json.dumps(expected))
    (tmp_path / "bare.txt").write_text("1 7 2\n1 8 0\n2 7 1\n")
    with gzip.open(tmp_path / "trec.qrels.gz", "wt") as stream:
        stream.write("1 0 7 2\n1 0 8 0\n2 0 7 1\n")
    for path in sorted(tmp_path.iterdir()):
        assert read_qrels(path).gains == expected, path.name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", '{"qid": 1, "docid": null}', r"row 0 must have a value in 'docid'"),
        ("x.jsonl", '{"qid": 1, "docid": 2, "rel": 1}\n{"qid": 1, "docid": 3}', r"row 1 must have a value in 'rel'"),
        (
            "x.jsonl",
            '{"qid": 1, "docid": 2}\n{"qid": 1, "docid": 3, "rel": 0}',
            r"row 1 has 'rel', which the first row",
        ),
        ("x.json", '{"q1": {"d1": 1}, "q1": {"d2": 1}}', r"must name each field once. It holds 'q1' twice"),
        ("x.json", '{"q1": 3}', r"must hold \{query: \{item: gain\}\}"),
        ("x.json", "[3]", r"must hold \{query: \{item: gain\}\}"),
        ("x.json", "7", r"must hold \{query: \{item: gain\}\}"),
    ],
)
def test_what_would_be_passed_over_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_qrels(tmp_path / name)
