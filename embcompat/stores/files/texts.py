"""The texts of the rows of a file that is a gallery, for an aligner that reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embcompat.stores.files.layouts import Contents, FileLayout
from embcompat.stores.values import Job, Obstacle


def texts_of(layout: FileLayout, contents: Contents, job: Job) -> NDArray[np.object_] | None:
    """Return the text of each row, "" where there is none: what the job brings for its id, or what its column holds.

    None where the job reads no texts, or the file has no such column.
    """
    if job.texts is not None:
        ids = contents.ids(np.arange(len(contents.keys)))
        return np.array([job.texts.get(identifier, "") for identifier in ids], dtype=object)
    return None if job.text_column is None else layout.texts(contents, job.text_column)


def text_obstacles(layout: FileLayout, contents: Contents, job: Job) -> list[Obstacle]:
    """List why the texts that the aligner is to read cannot be found."""
    texts = texts_of(layout, contents, job)
    if texts is None and job.text_column is not None:
        text = f"There is no column {job.text_column!r} with texts for the aligner to read."
        return [Obstacle(f"{text} Texts in a file of items are given by the ids of the rows (--items).")]
    if job.texts is not None and texts is not None and len(texts) and not texts.any():
        first = contents.ids(np.arange(min(3, len(contents.keys))))
        text = f"None of the {len(job.texts):,} texts belongs to a row."
        return [Obstacle(f"{text} The ids of the rows are like {', '.join(map(repr, first))}.")]
    return []
