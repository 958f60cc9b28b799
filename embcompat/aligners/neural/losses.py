"""Losses between converted vectors and the vectors they should have become.

Pure functions of batches (rows, dim); every loss is a mean over the rows of the batch, so that its scale does not
depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.1
"""Default temperature of the contrastive losses [ours]."""

Loss = Callable[[Tensor, Tensor], Tensor]


def euclidean(converted: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of a row, not squared: the loss of FC-Aligner (Vieira-e-Silva et al., section 3.2.1).

    Example:
        >>> euclidean(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.zeros(2, 2)).item()
        3.0
    """
    distances: Tensor = torch.linalg.vector_norm(converted - target, dim=1)
    return distances.mean()


def mse(converted: Tensor, target: Tensor) -> Tensor:
    """Mean squared Euclidean distance of a row: summed over the dimensions, averaged over the batch [ours].

    Example:
        >>> mse(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.zeros(2, 2)).item()
        13.0
    """
    return (converted - target).square().sum(dim=1).mean()


def cosine(converted: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 − cosine similarity of a row.

    Example:
        >>> cosine(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, -5.0]])).item()
        1.0
    """
    return 1 - functional.cosine_similarity(converted, target, dim=1).mean()


def info_nce(converted: Tensor, target: Tensor, *, temperature: float = TEMPERATURE) -> Tensor:
    """Cross entropy of finding each row's own target among the batch's targets, by cosine.

    Source: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018), eq. 4.
    """
    return functional.cross_entropy(
        _logits(converted, target, temperature), torch.arange(len(target)).to(target.device)
    )


def supervised_contrastive(
    converted: Tensor, target: Tensor, labels: Tensor, *, temperature: float = TEMPERATURE
) -> Tensor:
    """−Σ p log q with p uniform over the targets of the same label, q = softmax(cosine / temperature).

    With labels that are all different it is `info_nce`. Source: Khosla et al., "Supervised Contrastive Learning"
    (2020), eq. 2, between two sets of vectors, as in Ricci et al. (2025).

    Args:
        converted: Rows (rows, dim) that look for their class.
        target: Candidates (rows, dim); row i is the pair of row i.
        labels: Class of each row, integers (rows,).
        temperature: Divides the cosines.
    """
    same = (labels[:, None] == labels[None, :]).to(converted.dtype)
    log_q = _logits(converted, target, temperature).log_softmax(dim=1)
    return -(same * log_q).sum(dim=1).div(same.sum(dim=1)).mean()


def similarity_structure(converted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference between the cosines among converted rows and those among target rows.

    It asks for the new model's neighbourhoods, not for its coordinates. Source: Park et al., "Relational Knowledge
    Distillation" (2019), with cosines in place of distances [ours]. A batch of one row has no pairs and gives 0.
    """
    difference = _logits(converted, converted, 1.0) - _logits(target, target, 1.0)
    rows = len(target)
    return difference.fill_diagonal_(0.0).square().sum() / max(rows * (rows - 1), 1)


def _logits(queries: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    return functional.normalize(queries, dim=1) @ functional.normalize(candidates, dim=1).T / temperature


LOSSES: dict[str, Loss] = {
    "euclidean": euclidean,
    "mse": mse,
    "cosine": cosine,
    "info_nce": info_nce,
    "similarity_structure": similarity_structure,
}
"""The losses that need no labels, by name."""
