"""Relevance judgements from click logs."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence

from embcompat.errors import FileFormatError

CLICK_COLUMNS = ("query_id", "item_id", "count")
"""Header of a click log, by commas or tabs."""


def is_click_log(first_line: str) -> bool:
    """Say whether a file that begins with this line is a click log.

    Example:
        >>> is_click_log("query_id,item_id,count"), is_click_log("q1 0 d7 1")
        (True, False)
    """
    fields = first_line.split("\t" if "\t" in first_line else ",")
    return tuple(field.strip().lower() for field in fields) == CLICK_COLUMNS


def parse_clicks(lines: Sequence[str], *, where: str) -> dict[str, dict[str, float]]:
    """Read a click log, ``query_id, item_id, count`` on each line below a header, as gains: query → {item: gain}.

    The gain is log2(1 + count), so that the tenth click on an item counts less than the first one [ours]. Counts of
    the same query and item add up. Clicks prefer what today's search showed, so they favour the old model.

    Args:
        lines: The lines of the file, header first.
        where: What to call the file in an error.

    Raises:
        FileFormatError: If a line has other fields, a count is not a whole number of 0 or more, or there is no click;
            names the line.

    Example:
        >>> parse_clicks(["query_id,item_id,count", "q1,d1,1", "q1,d2,3"], where="clicks.csv")
        {'q1': {'d1': 1.0, 'd2': 2.0}}
    """
    delimiter = "\t" if "\t" in lines[0] else ","
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for number, fields in enumerate(csv.reader(lines[1:], delimiter=delimiter), start=2):
        if not fields:
            continue
        if len(fields) != len(CLICK_COLUMNS) or not all(field.strip() for field in fields):
            raise FileFormatError(f"{where}, line {number} must hold {', '.join(CLICK_COLUMNS)}. Got {fields}.")
        query, item, count = (field.strip() for field in fields)
        if not (count.isascii() and count.isdigit()):
            raise FileFormatError(f"{where}, line {number}: count must be a whole number of 0 or more. Got {count!r}.")
        counts[query][item] += int(count)
    gains = {
        query: {item: math.log2(1 + count) for item, count in items.items() if count} for query, items in counts.items()
    }
    gains = {query: items for query, items in gains.items() if items}
    if not gains:
        raise FileFormatError(f"{where} must hold at least one click. Got none.")
    return gains
