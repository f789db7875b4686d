"""From scores of single people to means, contrasts and intervals."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from prism_mri.evaluate.bootstrap import (
    PersonScores,
    Resamples,
    compute_difference,
    compute_share,
    resample_people,
)
from prism_mri.evaluate.results import (
    MEAN,
    METHODS,
    TRUTHS,
    Comparison,
    Contrast,
    Method,
    Metric,
    ScoreRow,
    SummaryRow,
    Truth,
)

COMPARED_METRICS: tuple[Metric, ...] = ("ssim", "psnr_db")
CONTRASTS: tuple[Contrast, ...] = ("prism-none", "prism-quantile", "share")


def summarize(scores: Sequence[ScoreRow]) -> tuple[SummaryRow, ...]:
    """Average over people, for every pair, and over all pairs with every pair counting the same.

    Args:
        scores: one row per person, pair, method and truth.

    Returns:
        Rows in the order of the pairs, methods and truths; rows over all pairs, named `MEAN`, last.
    """
    pairs = list(dict.fromkeys((row.source, row.target) for row in scores))
    rows = []
    for (source, target), method, truth in product(pairs, METHODS, TRUTHS):
        chosen = [
            row
            for row in scores
            if (row.source, row.target, row.method, row.truth) == (source, target, method, truth)
        ]
        if chosen:
            people = len({row.person for row in chosen})
            rows.append(_mean_row((source, target), method, truth, people, chosen))
    for method, truth in product(METHODS, TRUTHS):
        means = [
            row for row in rows if (row.method, row.truth) == (method, truth) and row.source != MEAN
        ]
        if means:
            people = len(
                {row.person for row in scores if (row.method, row.truth) == (method, truth)}
            )
            rows.append(_mean_row((MEAN, MEAN), method, truth, people, means))
    return tuple(rows)


def compare(
    scores: Sequence[ScoreRow],
    *,
    anatomy_of: Mapping[str, str],
    draws: int,
    generator: np.random.Generator,
    truth: Truth = "acquired",
) -> tuple[Comparison, ...]:
    """Contrast PRISM with the other methods, resampling anatomies with their people.

    Every anatomy is averaged over its people and pairs first, and one set of resamples serves all
    contrasts and metrics, so everything is paired.

    Args:
        scores: one row per person, pair, method and truth.
        anatomy_of: anatomy of each person; deformed copies of one head share one.
        draws: number of resamples.
        generator: source of randomness.
        truth: what the scores refer to.

    Returns:
        A comparison for every metric and contrast.
    """
    anatomies = sorted({anatomy_of[row.person] for row in scores})
    resamples = resample_people(len(anatomies), draws=draws, generator=generator)
    comparisons: list[Comparison] = []
    for metric in COMPARED_METRICS:
        means = {
            method: _average_by_anatomy(scores, anatomies, anatomy_of, (method, truth, metric))
            for method in METHODS
        }
        comparisons += [
            _compare_one(contrast, metric, truth, means, resamples) for contrast in CONTRASTS
        ]
    return tuple(comparisons)


def _compare_one(
    contrast: Contrast,
    metric: Metric,
    truth: Truth,
    means: Mapping[Method, PersonScores],
    resamples: Resamples,
) -> Comparison:
    match contrast:
        case "prism-none":
            interval = compute_difference(means["prism"], means["none"], resamples)
        case "prism-quantile":
            interval = compute_difference(means["prism"], means["quantile"], resamples)
        case "share":
            share = compute_share(means["prism"], means["quantile"], means["oracle"], resamples)
            return Comparison(
                contrast=contrast,
                metric=metric,
                truth=truth,
                people=resamples.shape[1],
                interval=share,
            )
    return Comparison(
        contrast=contrast, metric=metric, truth=truth, people=resamples.shape[1], interval=interval
    )


def _average_by_anatomy(
    scores: Sequence[ScoreRow],
    anatomies: Sequence[str],
    anatomy_of: Mapping[str, str],
    which: tuple[Method, Truth, Metric],
) -> PersonScores:
    method, truth, metric = which
    values: dict[str, list[float]] = {anatomy: [] for anatomy in anatomies}
    for row in scores:
        if row.method == method and row.truth == truth:
            values[anatomy_of[row.person]].append(getattr(row, metric))
    return np.array([np.mean(values[anatomy]) for anatomy in anatomies], dtype=np.float64)


def _mean_row(
    pair: tuple[str, str],
    method: Method,
    truth: Truth,
    people: int,
    rows: Sequence[ScoreRow] | Sequence[SummaryRow],
) -> SummaryRow:
    return SummaryRow(
        source=pair[0],
        target=pair[1],
        method=method,
        truth=truth,
        people=people,
        ssim=float(np.mean([row.ssim for row in rows])),
        psnr_db=float(np.mean([row.psnr_db for row in rows])),
        mae=float(np.mean([row.mae for row in rows])),
    )
