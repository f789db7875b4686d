"""Means and contrasts from single scores."""

import numpy as np
import pytest

from prism_mri.evaluate.results import MEAN, ScoreRow
from prism_mri.evaluate.summary import compare, summarize

OFFSETS = {"none": 0.0, "quantile": 0.1, "prism": 0.25, "oracle": 0.3}


def make_row(person, pair, method, ssim, *, truth="acquired"):
    return ScoreRow(
        person=person,
        source=pair[0],
        target=pair[1],
        method=method,
        truth=truth,
        ssim=ssim,
        psnr_db=100 * ssim,
        mae=1 - ssim,
        slices=7,
    )


def make_scores():
    bases = {"p": 0.2, "q": 0.4, "r": 0.6}
    pairs = {("a", "b"): 0.0, ("b", "a"): 0.05}
    return [
        make_row(person, pair, method, base + shift + offset)
        for person, base in bases.items()
        for pair, shift in pairs.items()
        for method, offset in OFFSETS.items()
    ]


def find(rows, source, method):
    (row,) = [row for row in rows if (row.source, row.method) == (source, method)]
    return row


def test_means_over_people_and_over_pairs():
    rows = summarize(make_scores())
    assert find(rows, "a", "prism").ssim == pytest.approx(0.4 + 0.25)
    assert find(rows, "b", "prism").psnr_db == pytest.approx(100 * (0.45 + 0.25))
    assert find(rows, MEAN, "none").mae == pytest.approx(1 - 0.425)
    assert {row.people for row in rows} == {3}
    assert len(rows) == 3 * 4


def test_pairs_count_the_same_however_many_people_they_have():
    scores = [
        make_row("p", ("a", "b"), "none", 0.2),
        make_row("q", ("a", "b"), "none", 0.4),
        make_row("p", ("b", "a"), "none", 0.9),
    ]
    assert find(summarize(scores), MEAN, "none").ssim == pytest.approx((0.3 + 0.9) / 2)


def test_contrasts_are_paired_by_person():
    people = {name: name for name in "pqr"}
    comparisons = compare(
        make_scores(), anatomy_of=people, draws=200, generator=np.random.default_rng(0)
    )
    found = {(one.contrast, one.metric): one for one in comparisons}
    assert len(found) == 6
    difference = found["prism-quantile", "ssim"]
    assert difference.people == 3
    # People differ by 0.4 and pairs by 0.05, the methods by 0.15 for all: nothing is unsure.
    assert difference.interval.estimate == pytest.approx(0.15)
    assert difference.interval.low == pytest.approx(0.15)
    assert found["share", "psnr_db"].interval.estimate == pytest.approx(0.75)


def test_copies_are_averaged_before_resampling():
    comparisons = compare(
        make_scores(),
        anatomy_of={"p": "one", "q": "one", "r": "two"},
        draws=100,
        generator=np.random.default_rng(0),
    )
    assert {one.people for one in comparisons} == {2}


def test_other_truths_do_not_leak_in():
    extra = [
        make_row(person, ("a", "b"), method, 0.0, truth="clean")
        for person in "pqr"
        for method in ("none", "quantile", "prism")
    ]
    people = {name: name for name in "pqr"}
    first, second = (
        compare(scores, anatomy_of=people, draws=50, generator=np.random.default_rng(0))
        for scores in (make_scores(), make_scores() + extra)
    )
    assert first == second
