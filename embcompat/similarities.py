"""Names of options, apart so that the command line can show its help without loading anything else."""

from typing import Literal

Similarity = Literal["cosine", "dot", "euclidean"]

Weight = Literal["person", "pairs"]
"""What has one vote in verification: ``person``, each person and each ordered pair of people; ``pairs`` of images."""
