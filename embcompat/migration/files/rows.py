"""Convert blocks of a file, with their texts if the artifact reads texts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from embcompat.errors import InputError, MigrationError
from embcompat.files.reading.streams import Block, VectorFile
from embcompat.migration.checks import first_bad_row
from embcompat.runtime import OnnxAligner


class FileRows:
    """Converts blocks of a file, with their texts if the artifact reads texts.

    Args:
        aligner: The artifact.
        file: The file.
        texts: The text of each item by id; the file's column of texts when None.

    Raises:
        InputError: If the artifact reads texts and there are none, or reads none and there are some.
    """

    def __init__(self, aligner: OnnxAligner, file: VectorFile, texts: Mapping[str, str] | None) -> None:
        self.aligner, self.file, self._texts = aligner, file, texts
        self.without_text: list[int] = []
        if texts is not None and not aligner.reads_texts:
            raise InputError(f"{aligner!r} reads no texts. Convert without them (without --items).")
        if aligner.reads_texts and texts is None and file.roles.text is None:
            raise InputError(
                f"{aligner!r} reads the text of each item, and {file.path} has no column of texts. "
                "Name the column (--text-column), or pass the texts (--items)."
            )

    def identity(self) -> dict[str, JsonValue]:
        """Return what must be the same in a resumed run besides the files: the digest of the texts that were passed."""
        if self._texts is None:
            return {}
        digest = hashlib.sha256()
        for item, text in self._texts.items():
            digest.update(f"{item}\0{text}\0".encode())
        return {"texts": digest.hexdigest()}

    def mapped(self, block: Block) -> NDArray[np.float32]:
        """Convert a block: float32 (n, target_dim)."""
        if not self.aligner.reads_texts:
            return self.aligner.transform(block.vectors)
        return self.aligner.transform(block.vectors, self._texts_of(block))

    def checked(self, block: Block) -> NDArray[np.float32]:
        """Convert a block, count its rows without a text, and refuse NaN and infinity: float32 (n, target_dim)."""
        mapped = self.mapped(block)
        if self.aligner.reads_texts:
            self.without_text.append(sum(not text for text in self._texts_of(block)))
        bad = first_bad_row(mapped)
        if bad is not None:
            row = self.file.first_row + block.start + bad
            raise MigrationError(
                f"{self.file.path}: row {row} maps to NaN or infinity. Remove the row; the aligner cannot convert it."
            )
        return mapped

    def _texts_of(self, block: Block) -> list[str]:
        if self._texts is None:
            return self.file.texts(block) or []
        return [self._texts.get(item, "") for item in self.file.ids(block)]
