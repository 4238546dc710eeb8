"""Muon against the exact orthogonal matrix and against torch's."""

import pytest
import torch

from orchestrion.train.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_singular_values_come_close_to_one_and_directions_stay(rng, shape):
    matrix = torch.randn(shape, generator=rng)
    made = orthogonalised(matrix, torch.float32)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ made @ right.T
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-4, rtol=0)


def test_steps_are_those_of_torch_within_its_lower_precision(rng):
    start = torch.randn(8, 5, generator=rng)
    gradients = [torch.randn(8, 5, generator=rng) for _ in range(4)]
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"weight_decay": 0.1}
    optimizers = [
        Muon([ours], 0.02, **settings),
        torch.optim.Muon([theirs], 0.02, adjust_lr_fn="match_rms_adamw", **settings),
    ]
    for gradient in gradients:
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved
