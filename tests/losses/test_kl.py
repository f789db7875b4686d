"""Kullback–Leibler divergence against numbers worked out by hand."""

import math

import pytest
import torch

from prism_mri.losses.kl import compute_kl
from prism_mri.networks import GaussianStyle


def divergence(mean: list[list[float]], variance: list[list[float]]) -> torch.Tensor:
    return compute_kl(GaussianStyle(torch.tensor(mean), torch.tensor(variance).log()))


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        # ½ (μ² + σ² − 1 − ln σ²)
        (0.0, 1.0, 0.0),
        (1.0, 1.0, 0.5),
        (-3.0, 1.0, 4.5),
        (0.0, 4.0, 0.5 * (3 - math.log(4))),
        (0.0, 0.25, 0.5 * (-0.75 + math.log(4))),
        (2.0, 0.25, 2.0 + 0.5 * (-0.75 + math.log(4))),
    ],
)
def test_one_dimension(mean: float, variance: float, expected: float) -> None:
    assert float(divergence([[mean]], [[variance]])) == pytest.approx(expected, abs=1e-6)


def test_dimensions_are_summed_and_the_batch_is_averaged() -> None:
    """(0.5 + 0.806853) + 0 over two images: 0.653426."""
    value = divergence([[1.0, 0.0], [0.0, 0.0]], [[1.0, 4.0], [1.0, 1.0]])
    assert value.shape == ()
    assert float(value) == pytest.approx(0.653426, abs=1e-6)


def test_gradient_as_by_hand() -> None:
    """By the mean μ, by the log-variance ½ (σ² − 1); half of each for a batch of two."""
    mean = torch.tensor([[2.0], [-1.0]], requires_grad=True)
    log_variance = torch.tensor([[0.0], [math.log(3)]], requires_grad=True)
    compute_kl(GaussianStyle(mean, log_variance)).backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert mean.grad.flatten().tolist() == pytest.approx([1.0, -0.5])
    assert log_variance.grad.flatten().tolist() == pytest.approx([0.0, 0.5])


def test_is_the_divergence_of_torchs_own_distributions() -> None:
    generator = torch.Generator().manual_seed(3)
    mean, log_variance = torch.randn(2, 6, 4, generator=generator).unbind()
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(6, 4), torch.ones(6, 4))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1).mean()
    value = compute_kl(GaussianStyle(mean, log_variance))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert float(value) > 1
