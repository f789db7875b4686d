"""The paired bootstrap: known statistics, pairing, and what few people can say."""

import numpy as np
import pytest

from prism_mri.evaluate.bootstrap import compute_difference, compute_share, resample_people


def draw(people, draws=2000, seed=0):
    return resample_people(people, draws=draws, generator=np.random.default_rng(seed))


def test_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(3).normal(0.4, 0.1, size=400)
    interval = compute_difference(values, np.zeros(400), draw(400))
    half = 1.96 * values.std() / 20
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_pairing_takes_out_what_people_share():
    people = np.random.default_rng(4).normal(0, 10, size=30)
    interval = compute_difference(people + 0.5, people, draw(30))
    assert interval.estimate == pytest.approx(0.5)
    assert interval.high - interval.low < 1e-9


def test_two_people_give_exactly_the_three_possible_means():
    resamples = draw(2, draws=400)
    interval = compute_difference(np.array([1.0, 3.0]), np.zeros(2), resamples)
    assert (interval.estimate, interval.low, interval.high) == (2.0, 1.0, 3.0)


def test_one_person_has_no_interval():
    interval = compute_difference(np.array([0.2]), np.array([0.1]), draw(1))
    assert interval.estimate == pytest.approx(0.1)
    assert (interval.low, interval.high) == (None, None)


def test_share_is_a_ratio_of_means_and_not_a_mean_of_ratios():
    baseline = np.zeros(2)
    share = compute_share(np.array([0.1, 0.8]), baseline, np.array([0.2, 1.0]), draw(2))
    assert share.estimate == pytest.approx(0.9 / 1.2)
    assert (share.low, share.high) == pytest.approx((0.5, 0.8))


def test_share_without_distance_is_not_defined():
    assert compute_share(np.ones(3), np.ones(3), np.ones(3), draw(3)) is None


def test_share_has_no_interval_where_a_resample_has_no_distance():
    share = compute_share(np.array([0.5, 0.5]), np.array([0.0, 0.4]), np.array([1.0, 0.3]), draw(2))
    assert share.estimate == pytest.approx(0.6 / 0.9)
    assert share.low is None


def test_the_seed_fixes_the_draws():
    assert np.array_equal(draw(4, seed=7), draw(4, seed=7))
    assert not np.array_equal(draw(4, seed=7), draw(4, seed=8))
