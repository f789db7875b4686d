"""Distances between distributions against closed forms and scipy's own."""

import numpy as np
import pytest
from scipy.stats import energy_distance

from prism_mri.errors import ImageError
from prism_mri.metrics.distributions import compute_energy_distance, compute_wasserstein


def test_wasserstein_of_a_shift_is_the_shift():
    values = np.random.default_rng(0).random(500)
    assert compute_wasserstein(values, values + 0.3) == pytest.approx(0.3)
    assert compute_wasserstein(values, values[::-1].copy()) == pytest.approx(0, abs=1e-12)


def test_energy_distance_of_two_points_is_known():
    """2 E|X - Y| is 2 d, the others are 0."""
    first, second = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])
    assert compute_energy_distance(first, second) == pytest.approx(np.sqrt(10))


def test_energy_distance_in_one_dimension_is_scipys():
    generator = np.random.default_rng(1)
    first, second = generator.normal(0, 1, 40), generator.normal(1, 2, 55)
    assert compute_energy_distance(first[:, None], second[:, None]) == pytest.approx(
        energy_distance(first, second)
    )


def test_energy_distance_of_a_sample_to_itself_is_zero_and_grows_with_distance():
    points = np.random.default_rng(2).normal(size=(30, 3))
    assert compute_energy_distance(points, points) == pytest.approx(0, abs=1e-7)
    near, far = (compute_energy_distance(points, points + step) for step in (0.5, 2.0))
    assert 0 < near < far


def test_nothing_to_compare_is_refused():
    with pytest.raises(ImageError, match="0 and 3 points"):
        compute_energy_distance(np.zeros((0, 2)), np.zeros((3, 2)))
    with pytest.raises(ImageError, match="3 and 0 intensities"):
        compute_wasserstein(np.zeros(3), np.zeros(0))
