"""Cycles of style and anatomy against numbers worked out by hand."""

import pytest
import torch

from prism_mri.losses.cycle import compute_anatomy_cycle, compute_style_cycle


def test_mean_absolute_difference() -> None:
    """|1 − 0| + |−2 − 1| + |0.5 − 0.5| + |4 − 2| over four numbers."""
    read = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    given = torch.tensor([[0.0, 1.0], [0.5, 2.0]])
    assert float(compute_style_cycle(read, given)) == 1.5
    assert float(compute_style_cycle(given, read)) == 1.5


def test_the_same_style_costs_nothing() -> None:
    style = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert float(compute_style_cycle(style, style.clone())) == 0


def test_gradient_reaches_both_styles() -> None:
    read = torch.tensor([[1.0, -2.0]], requires_grad=True)
    given = torch.tensor([[0.0, 1.0]], requires_grad=True)
    compute_style_cycle(read, given).backward()
    assert read.grad is not None
    assert given.grad is not None
    assert read.grad.flatten().tolist() == pytest.approx([0.5, -0.5])
    assert given.grad.flatten().tolist() == pytest.approx([-0.5, 0.5])


def test_anatomy_mean_absolute_difference() -> None:
    """Levels apart by 0.25, 1, 0 and 0.75 in one image, by 0 in the other: 2 over eight pixels."""
    read = torch.tensor([[[[0.25, 1.0], [0.5, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    given = torch.tensor([[[[0.5, 0.0], [0.5, 0.75]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    assert float(compute_anatomy_cycle(read, given)) == 0.25
    assert float(compute_anatomy_cycle(given, read)) == 0.25
    assert float(compute_anatomy_cycle(given, given.clone())) == 0


def test_reversed_levels_are_a_high_cost() -> None:
    """Of five levels alike in number: (1 + 0.5 + 0 + 0.5 + 1) / 5."""
    levels = torch.linspace(0, 1, 5).view(1, 1, 1, 5)
    assert float(compute_anatomy_cycle(levels.flip(3), levels)) == pytest.approx(0.6)


def test_gradient_reaches_both_anatomies() -> None:
    read = torch.tensor([[[[0.25, 1.0]]]], requires_grad=True)
    given = torch.tensor([[[[0.5, 0.0]]]], requires_grad=True)
    compute_anatomy_cycle(read, given).backward()
    assert read.grad is not None
    assert given.grad is not None
    assert read.grad.flatten().tolist() == [-0.5, 0.5]
    assert given.grad.flatten().tolist() == [0.5, -0.5]
