"""Rows of a file, kept during its conversion to compare them with the written file.

They are kept as they pass, because reaching a row of a Parquet file means decoding all rows before it in its row group.
Imports pyarrow.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import final

import pyarrow as pa

from embcompat.files.reading.streams import Block, VectorFile

SAMPLE_PLACES, SAMPLE_ROWS = 4, 64
"""Places at which the finished file is read back, and the most rows at each [ours]."""


@final
class Sample:
    """Rows at a few places of a file, taken from its blocks as they pass.

    Args:
        rows: Number of rows of the source.
    """

    def __init__(self, rows: int) -> None:
        last = max(rows - SAMPLE_ROWS, 0)
        self._places = sorted({last * place // (SAMPLE_PLACES - 1) for place in range(SAMPLE_PLACES)})
        self._blocks: dict[int, Block] = {}

    def watch(self, blocks: Generator[Block]) -> Generator[Block]:
        """Pass blocks on, and copy the rows at the places; at most to the end of a block."""
        with closing(blocks):
            for block in blocks:
                for place in self._places:
                    if block.start <= place < block.start + max(1, len(block)):
                        self._blocks[place] = _copy(block, place - block.start)
                yield block

    def of(self, file: VectorFile) -> Iterator[Block]:
        """Yield the rows at each place; read from the file those that an interrupted run converted."""
        for place in self._places:
            if place not in self._blocks:
                self._blocks[place] = file.block_at(place, SAMPLE_ROWS)
            yield self._blocks[place]


def _copy(block: Block, start: int) -> Block:
    """Copy up to `SAMPLE_ROWS` rows of a block, so that the block itself need not stay in memory."""
    rows = range(start, min(start + SAMPLE_ROWS, len(block)))
    others = None if block.others is None else block.others.take(pa.array(rows, pa.int64()))
    return Block(block.start + start, block.vectors[rows].copy(), others)
