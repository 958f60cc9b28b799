from __future__ import annotations

import numpy as np
import pytest
import torch

from embcompat.aligners.neural.losses import (
    LOSSES,
    cosine,
    euclidean,
    info_nce,
    mse,
    similarity_structure,
    supervised_contrastive,
)


def batch(rows: int = 7, dim: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    vectors = np.random.default_rng(seed).standard_normal((2, rows, dim))
    return torch.tensor(vectors[0]), torch.tensor(vectors[1])


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"info_nce"}))
def test_no_loss_where_the_target_is_met(name: str) -> None:
    _, target = batch()
    assert LOSSES[name](target, target).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_gradient_is_finite_even_where_the_target_is_met(name: str) -> None:
    _, target = batch()
    converted = target.clone().requires_grad_()
    LOSSES[name](converted, target).backward()
    assert torch.isfinite(converted.grad).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_order_of_the_rows_does_not_matter(name: str) -> None:
    converted, target = batch()
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(1))
    assert LOSSES[name](converted[order], target[order]).item() == pytest.approx(LOSSES[name](converted, target).item())


@pytest.mark.parametrize("loss", [cosine, info_nce, similarity_structure])
def test_cosine_losses_do_not_see_the_length_of_rows(loss) -> None:
    converted, target = batch()
    lengths = torch.arange(1.0, 8.0, dtype=torch.float64)[:, None]
    assert loss(lengths * converted, target).item() == pytest.approx(loss(converted, target).item())


def test_similarity_structure_does_not_see_a_rotation() -> None:
    converted, target = batch()
    rotation = torch.linalg.qr(batch(5, 5, seed=2)[0])[0]
    assert similarity_structure(target @ rotation, target).item() == pytest.approx(0, abs=1e-12)
    assert similarity_structure(converted, target).item() > 0.01


def cosines(x: np.ndarray) -> list[list[float]]:
    return [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in x] for a in x]


def test_against_loops() -> None:
    converted, target = batch()
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 3])
    x, y = converted.numpy(), target.numpy()
    rows = range(len(x))
    cos = [[x[i] @ y[j] / np.linalg.norm(x[i]) / np.linalg.norm(y[j]) for j in rows] for i in rows]
    among_x, among_y = (cosines(side) for side in (x, y))
    assert euclidean(converted, target).item() == pytest.approx(np.mean([np.linalg.norm(x[i] - y[i]) for i in rows]))
    assert mse(converted, target).item() == pytest.approx(np.mean([np.sum((x[i] - y[i]) ** 2) for i in rows]))
    assert cosine(converted, target).item() == pytest.approx(np.mean([1 - cos[i][i] for i in rows]))
    losses, classes = [], []
    for i in rows:
        scores = np.exp(np.array(cos[i]) / 0.2)
        log_q = np.log(scores / scores.sum())
        losses.append(-log_q[i])
        classes.append(-np.mean([log_q[j] for j in rows if labels[j] == labels[i]]))
    assert info_nce(converted, target, temperature=0.2).item() == pytest.approx(np.mean(losses))
    assert supervised_contrastive(converted, target, labels, temperature=0.2).item() == pytest.approx(np.mean(classes))
    off = [(among_x[i][j] - among_y[i][j]) ** 2 for i in rows for j in rows if i != j]
    assert similarity_structure(converted, target).item() == pytest.approx(np.mean(off))


def test_labels_that_all_differ_make_supervised_contrastive_info_nce() -> None:
    converted, target = batch()
    supervised = supervised_contrastive(converted, target, torch.arange(len(target)))
    assert supervised.item() == pytest.approx(info_nce(converted, target).item())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_row(name: str) -> None:
    converted, target = batch(1)
    assert torch.isfinite(LOSSES[name](converted, target))
