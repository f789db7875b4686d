"""AUC and hits: closed forms, ties, bounds."""

import numpy as np
import pytest
from scipy.stats import norm

from prism_mri.privacy.membership import compute_auc, compute_hits, measure_leak


def test_auc_counts_pairs() -> None:
    assert compute_auc(np.array([3.0, 1.0]), np.array([2.0, 0.0, 2.0])) == pytest.approx(4 / 6)


def test_auc_counts_ties_as_half() -> None:
    assert compute_auc(np.ones(3), np.ones(5)) == 0.5


@pytest.mark.parametrize(("members", "others", "auc"), [([1, 2], [0], 1.0), ([0], [1, 2], 0.0)])
def test_auc_of_what_is_told_apart(members: list[int], others: list[int], auc: float) -> None:
    assert compute_auc(np.array(members, float), np.array(others, float)) == auc


def test_auc_of_two_normal_distributions() -> None:
    """Φ(d / √2) for means d apart (Green and Swets 1966)."""
    numbers = np.random.default_rng(0)
    found = compute_auc(numbers.normal(1, 1, 20_000), numbers.normal(0, 1, 20_000))
    assert found == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.005)


def test_hits_allow_one_false_alarm_in_a_hundred() -> None:
    others = np.arange(200.0)
    members = np.array([197.5, 198.5, 199.5, 0.0])
    # Two of two hundred may be above: 198 and 199 are, the threshold is 197.
    assert compute_hits(members, others) == 0.75


def test_hits_allow_no_false_alarm_among_few() -> None:
    assert compute_hits(np.array([5.0, 4.0]), np.array([4.0, 1.0, 2.0])) == 0.5


def test_bounds_hold_the_estimate_and_narrow_with_people() -> None:
    numbers = np.random.default_rng(1)
    few, many = (
        measure_leak("x", numbers.normal(0.5, 1, n), numbers.normal(0, 1, n), numbers)
        for n in (10, 300)
    )
    for leak in (few, many):
        assert leak.auc_low <= leak.auc <= leak.auc_high
        assert leak.hits_low <= leak.hits <= leak.hits_high
    assert many.auc_high - many.auc_low < 0.5 * (few.auc_high - few.auc_low)


def test_same_seed_same_bounds() -> None:
    scores = np.arange(8.0), np.arange(9.0) - 2
    first, again = (measure_leak("x", *scores, np.random.default_rng(2)) for _ in range(2))
    assert first == again
