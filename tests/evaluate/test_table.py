"""The verdict in words and the table."""

import pytest

from prism_mri.config import PreprocessingContract
from prism_mri.evaluate.results import (
    MEAN,
    Comparison,
    EvaluationSettings,
    Interval,
    SummaryRow,
    TravellingResults,
)
from prism_mri.evaluate.table import describe_verdict, format_interval, format_table


def make_results(ssim, psnr, share=None, **changes):
    """Return results whose contrasts of PRISM with quantile matching are the intervals given."""
    intervals = {("prism-quantile", "ssim"): ssim, ("prism-quantile", "psnr_db"): psnr}
    if share is not None:
        intervals["share", "ssim"] = share
    values = {
        "dataset": "travelling",
        "anatomy": "label-maps",
        "people": ("a", "b", "c", "d"),
        "anatomies": 4,
        "sites": ("guys", "hh"),
        "unseen": (),
        "pairs": (("guys", "hh"), ("hh", "guys")),
        "settings": EvaluationSettings(
            seed=0,
            bootstrap_draws=2000,
            data_range=1.0,
            ssim_sigma_pixels=1.5,
            contract=PreprocessingContract(),
        ),
        "comparisons": tuple(
            Comparison(
                contrast=contrast, metric=metric, truth="acquired", people=4, interval=interval
            )
            for (contrast, metric), interval in intervals.items()
        ),
        "versions": {},
    }
    empty = ("cards", "scores", "summary", "reconstructions", "styles", "style_axes", "panels")
    return TravellingResults(**dict.fromkeys((*empty, "warnings"), ()) | values | changes)


def span(estimate, low, high):
    return Interval(estimate=estimate, low=low, high=high)


@pytest.mark.parametrize(
    ("ssim", "psnr", "verdict"),
    [
        (span(0.03, 0.02, 0.04), span(2, 1, 3), "PRISM beats quantile matching on the mean"),
        (
            span(0.03, -0.01, 0.04),
            span(2, 1, 3),
            "PRISM is above quantile matching on the mean, but not beyond doubt",
        ),
        (
            Interval(estimate=0.03),
            Interval(estimate=2.0),
            "PRISM is above quantile matching on the mean, but not beyond doubt",
        ),
        (
            span(0.03, 0.02, 0.04),
            span(-2, -3, -1),
            "PRISM does not beat quantile matching on every score",
        ),
        (
            span(-0.01, -0.03, 0.01),
            span(-2, -3, -1),
            "PRISM does not beat quantile matching on the mean",
        ),
        (
            span(-0.02, -0.03, -0.01),
            span(-2, -3, -1),
            "PRISM is worse than quantile matching on the mean",
        ),
    ],
)
def test_the_verdict_says_no_more_than_the_intervals(ssim, psnr, verdict):
    assert describe_verdict(make_results(ssim, psnr)).startswith(verdict + ": SSIM ")


def test_the_verdict_states_numbers_scope_and_share():
    results = make_results(span(0.0314, 0.02, 0.04), span(2.5, 1, 3), span(0.724, 0.6, 0.8))
    assert describe_verdict(results) == (
        "PRISM beats quantile matching on the mean: SSIM +0.031 (95 % +0.020 to +0.040), "
        "PSNR +2.50 dB (95 % +1.00 to +3.00); 2 ordered pairs, 4 label-map people, against the "
        "truth as acquired. Of the distance from quantile matching to the oracle it covers "
        "72 % (95 % 60 to 80) in SSIM."
    )


def test_a_share_below_nothing_is_left_to_the_table():
    results = make_results(span(-1, -2, -0.5), span(-1, -2, -0.5), span(-3.2, -4, -2))
    assert "covers" not in describe_verdict(results)


def test_copies_and_template_people_are_called_what_they_are():
    results = make_results(span(1, 1, 1), span(1, 1, 1), anatomies=1, anatomy="deformed-template")
    assert "4 deformed-template people of 1 anatomies" not in describe_verdict(results)
    assert "4 deformed-template people of 1 anatomy," in describe_verdict(results)


def test_an_interval_that_is_not_there_is_not_made_up():
    assert format_interval(Interval(estimate=-0.5), digits=2) == "−0.50 (no interval)"


def test_the_table_has_a_line_a_pair_and_the_mean():
    rows = tuple(
        SummaryRow(
            source=source,
            target=target,
            method=method,
            truth=truth,
            people=4,
            ssim=ssim,
            psnr_db=100 * ssim,
            mae=0.1,
        )
        for source, target, method, truth, ssim in (
            ("guys", "hh", "none", "acquired", 0.25),
            ("guys", "hh", "none", "clean", 0.75),
            (MEAN, MEAN, "prism", "acquired", 0.5),
        )
    )
    results = make_results(span(1, 1, 1), span(1, 1, 1), summary=rows, unseen=("hh",))
    lines = format_table(results).splitlines()
    assert "| guys → hh | 0.250 / 25.0 | – | – | – |" in lines
    assert "| hh (unseen) → guys | – | – | – | – |" in lines
    assert lines[-1] == "| mean of pairs | – | – | 0.500 / 50.0 | – |"
