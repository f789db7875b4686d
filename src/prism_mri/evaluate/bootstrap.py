"""Paired bootstrap over people."""

import math

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats

from prism_mri.evaluate.results import Interval

DRAWS = 2000
"""Resamples of the people."""

PersonScores = Float64[np.ndarray, " P"]
Resamples = Int64[np.ndarray, "D P"]


def resample_people(people: int, *, draws: int, generator: np.random.Generator) -> Resamples:
    """Draw people with replacement, once for all methods: this is what pairs the comparison.

    Args:
        people: number of people.
        draws: number of resamples.
        generator: source of randomness.

    Returns:
        Indices (draws, people).
    """
    return generator.integers(0, people, size=(draws, people), dtype=np.int64)


def compute_difference(
    method: PersonScores, baseline: PersonScores, resamples: Resamples
) -> Interval:
    """Return the mean difference of two methods over people, with its 95 % interval.

    Args:
        method: score of each person (P,).
        baseline: score of the same people (P,).
        resamples: indices from `resample_people`.

    Returns:
        Mean of ``method - baseline``; no bounds for fewer than two people, since with one every
        resample is the same and an interval would claim certainty.

    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile
        interval).
    """
    difference = method - baseline
    if len(difference) < 2:
        return Interval(estimate=float(difference.mean()))
    return _interval(float(difference.mean()), difference[resamples].mean(axis=1))


def estimate_mean(scores: PersonScores, seed: int, *, draws: int = DRAWS) -> Interval:
    """Return the mean over people, with its 95 % interval.

    Args:
        scores: score of each person (P,), at least one.
        seed: of the resamples.
        draws: number of resamples.
    """
    return estimate_difference(scores, np.zeros(len(scores)), seed, draws=draws)


def estimate_difference(
    method: PersonScores, baseline: PersonScores, seed: int, *, draws: int = DRAWS
) -> Interval:
    """Return what `compute_difference` does, on resamples of its own.

    Args:
        method: score of each person (P,), at least one.
        baseline: score of the same people (P,).
        seed: of the resamples: the same for as many people, so that comparisons are paired.
        draws: number of resamples.
    """
    generator = np.random.default_rng(seed)
    resamples = resample_people(len(method), draws=draws, generator=generator)
    return compute_difference(np.asarray(method, np.float64), baseline, resamples)


def widen_for_few(interval: Interval, people: int) -> Interval:
    """Return an interval as wide as so few people ask for.

    A bootstrap over n people knows nothing of what it has not seen: its spread is too small by
    sqrt((n - 1) / n), and its quantiles are those of a normal distribution where Student's t is
    due.

    Args:
        interval: percentile interval of a mean over people.
        people: how many.

    Source:
        Hesterberg 2015, The American Statistician 69(4), section 3.2 and 5.3.
    """
    if interval.low is None or interval.high is None or people < 2:
        return interval
    quantile = float(stats.t.ppf(0.975, people - 1) / stats.norm.ppf(0.975))
    factor = quantile * math.sqrt(people / (people - 1))
    middle = interval.estimate
    return Interval(
        estimate=middle,
        low=middle - factor * (middle - interval.low),
        high=middle + factor * (interval.high - middle),
    )


def compute_share(
    method: PersonScores, baseline: PersonScores, oracle: PersonScores, resamples: Resamples
) -> Interval | None:
    """Return the share of the distance from baseline to oracle that a method covers.

    Args:
        method: score of each person (P,).
        baseline: score of the same people (P,).
        oracle: score of the same people (P,) for a perfect method.
        resamples: indices from `resample_people`.

    Returns:
        ``(mean method - mean baseline) / (mean oracle - mean baseline)``: 0 is the baseline, 1 the
        oracle. None where the oracle is not better than the baseline; without bounds where that
        happens in a resample, or for fewer than two people.
    """
    gained, distance = method - baseline, oracle - baseline
    if not distance.mean() > 0:
        return None
    estimate = float(gained.mean() / distance.mean())
    distances = distance[resamples].mean(axis=1)
    if len(distance) < 2 or not (distances > 0).all():
        return Interval(estimate=estimate)
    return _interval(estimate, gained[resamples].mean(axis=1) / distances)


def _interval(estimate: float, draws: Float64[np.ndarray, " D"]) -> Interval:
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(estimate=estimate, low=float(low), high=float(high))
