"""Relevance judgements from files of many formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from embcompat.errors import FileFormatError
from embcompat.evaluation.retrieval.clicks import is_click_log, parse_clicks
from embcompat.evaluation.retrieval.qrels import Qrels
from embcompat.files.formats import ending_of
from embcompat.files.reading.text import read_lines, read_table, unambiguous

QUERY_COLUMNS: Final = ("query-id", "query_id", "qid", "query", "topic")
ITEM_COLUMNS: Final = ("corpus-id", "corpus_id", "docid", "doc_id", "doc-id", "pid", "item_id", "item", "id")
GAIN_COLUMNS: Final = ("score", "rel", "relevance", "gain", "label")

_TABLES: Final = (".parquet", ".pq")

Judgement = tuple[str, str, Any, str]
"""Query, item, gain as it is written, and where it stands."""


def read_qrels(path: str | Path) -> Qrels:
    """Read judgements.

    trec_eval's format (``query iteration item gain``) and BEIR's (``query-id corpus-id score`` with or without a
    header), separated by tabs, or by blanks where the line holds no tab; tables in CSV, JSON lines and Parquet with
    columns of these names; JSON ``{query: {item: gain}}`` or ``{query: [items]}``. Text files may be compressed with
    gzip. A click log begins with the header ``query_id,item_id,count``; an item's gain is log2(1 + count) [ours]. The
    iteration is ignored, as trec_eval does; empty lines are skipped.

    Raises:
        FileFormatError: If the file is missing, empty or not UTF-8, a line has other fields, or an item is judged
            twice for a query; names the line.
    """
    where = Path(path)
    if not where.exists():
        raise FileFormatError(f"{path} cannot be read: No such file or directory.")
    if ending_of(where) not in (*_TABLES, ".jsonl", ".ndjson", ".json"):
        lines = list(read_lines(where))
        if lines and is_click_log(lines[0]):
            return Qrels(parse_clicks(lines, where=str(path)))
    gains: dict[str, dict[str, float]] = {}
    for query, item, written, place in _judgements(where):
        items = gains.setdefault(query, {})
        if item in items:
            raise FileFormatError(f"{place}: item {item!r} is judged twice for query {query!r}.")
        items[item] = _gain(written, place)
    if not gains:
        raise FileFormatError(f"{path} must hold at least one judgement. Got none.")
    return Qrels(gains)


def _judgements(path: Path) -> Iterator[Judgement]:
    ending = ending_of(path)
    if ending in _TABLES:
        from embcompat.files.reading.parquet import open_parquet

        table = open_parquet(path).read()
        return _rows(path, table.column_names, enumerate(table.to_pylist()))
    if ending in (".jsonl", ".ndjson", ".csv"):
        return _rows(path, *read_table(path))
    if ending == ".json":
        return _json(path)
    return _lines(path)


def _rows(path: Path, columns: list[str], rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Judgement]:
    lower = {name.lower(): name for name in columns}
    chosen: list[str | None] = []
    for names in (QUERY_COLUMNS, ITEM_COLUMNS, GAIN_COLUMNS):
        name = next((lower[name] for name in names if name in lower), None)
        if name is None and names is not GAIN_COLUMNS:
            raise FileFormatError(f"{path} must have one of the columns {', '.join(names)}. Got {', '.join(columns)}.")
        chosen.append(name)
    query, item, gain = chosen
    for number, values in rows:
        place = f"{path}, row {number}"
        absent = next((name for name in chosen if name is not None and values.get(name) is None), None)
        if absent is not None:
            raise FileFormatError(f"{place} must have a value in {absent!r}, as the first row has. Got none.")
        late = next((name for name in values if gain is None and name.lower() in GAIN_COLUMNS), None)
        if late is not None:
            raise FileFormatError(
                f"{place} has {late!r}, which the first row lacks. Every row must have the same fields."
            )
        written = 1 if gain is None else values[gain]
        yield _key(values[str(query)]), _key(values[str(item)]), written, place


def _json(path: Path) -> Iterator[Judgement]:
    import json

    try:
        content = json.loads("\n".join(read_lines(path)), object_pairs_hook=unambiguous)
    except ValueError as error:
        raise FileFormatError(f"{path} is not JSON with judgements: {error}.") from error
    tables = content if isinstance(content, list) else list(content.values()) if isinstance(content, dict) else None
    if tables is None or not all(isinstance(entry, dict | list) for entry in tables):
        raise FileFormatError(
            f"{path} must hold {{query: {{item: gain}}}}, {{query: [items]}}, or a list of rows. "
            f"Got {json.dumps(content)[:60]}."
        )
    if isinstance(content, list):
        yield from _rows(path, list(content[0]) if content else [], enumerate(content))
        return
    for query, items in content.items():
        pairs = items.items() if isinstance(items, dict) else ((item, 1) for item in items)
        for item, gain in pairs:
            yield query, _key(item), gain, f"{path}, query {query!r}"


def _lines(path: Path) -> Iterator[Judgement]:
    width = 0
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
        if not width:
            width = 3 if len(fields) == 3 else 4
            if width == 3 and not _is_number(fields[2]):
                continue  # BEIR's header
        if len(fields) != width or not all(fields):
            expected = "four fields: query, iteration, item, gain (for instance 'q1 0 doc7 1')"
            raise FileFormatError(
                f"{place} must hold {expected if width == 4 else 'three fields: query, item, gain'}. Got {line!r}."
            )
        yield fields[0], fields[-2], fields[-1], place


def _key(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _gain(written: Any, place: str) -> float:
    if isinstance(written, bool) or not _is_number(str(written)):
        raise FileFormatError(f"{place}: the gain must be a number. Got {written!r}.")
    return float(written)
