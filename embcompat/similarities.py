"""The names of the similarities, apart so that the command line can show its help without loading anything else."""

from typing import Literal

Similarity = Literal["cosine", "dot", "euclidean"]
