"""Masked absolute error against numbers worked out by hand."""

import pytest
import torch

from prism_mri.losses.masked import compute_masked_l1

PREDICTION = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
TARGET = torch.tensor([[[[1.5, 0.0], [3.0, -6.0]]]])


def test_mean_over_the_mask_only() -> None:
    """Errors 0.5, 2, 0 and 10; the mask holds the first three."""
    mask = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    assert float(compute_masked_l1(PREDICTION, TARGET, mask)) == pytest.approx(2.5 / 3)


def test_full_mask_is_the_plain_mean() -> None:
    loss = compute_masked_l1(PREDICTION, TARGET, torch.ones(1, 1, 2, 2))
    assert float(loss) == pytest.approx(12.5 / 4)


def test_channels_share_the_mask_and_are_averaged() -> None:
    """Two channels with errors 1 and 3 in each of two pixels of the mask: 2."""
    prediction = torch.stack([torch.full((2, 2), 1.0), torch.full((2, 2), -3.0)])[None]
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    assert float(compute_masked_l1(prediction, torch.zeros(1, 2, 2, 2), mask)) == 2.0


def test_pixels_count_alike_whichever_image_they_lie_in() -> None:
    """Image 1: one pixel of error 4; image 2: three of error 0. The mean is over four pixels."""
    prediction = torch.zeros(2, 1, 2, 2)
    prediction[0, 0, 0, 0] = 4
    mask = torch.tensor([[[[1.0, 0], [0, 0]]], [[[1.0, 1], [1, 0]]]])
    assert float(compute_masked_l1(prediction, torch.zeros(2, 1, 2, 2), mask)) == 1.0


def test_empty_mask_gives_0_and_no_gradient() -> None:
    prediction = PREDICTION.clone().requires_grad_()
    loss = compute_masked_l1(prediction, TARGET, torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert float(loss.detach()) == 0
    assert prediction.grad is not None
    assert prediction.grad.abs().max() == 0


def test_gradient_is_the_sign_of_the_error_inside_the_mask() -> None:
    """Errors -0.5, 2, 0 and 10; the mask holds the first three."""
    prediction = PREDICTION.clone().requires_grad_()
    compute_masked_l1(prediction, TARGET, torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])).backward()
    assert prediction.grad is not None
    assert prediction.grad.flatten().tolist() == pytest.approx([-1 / 3, 1 / 3, 0, 0])
