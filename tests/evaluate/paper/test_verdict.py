"""The verdict tells planted harm from none, on simulated images of two sites."""

import pytest

from prism_mri.evaluate.paper.checks import _build
from prism_mri.evaluate.paper.results import CheckRow
from prism_mri.evaluate.paper.verdict import OVERALL, judge
from prism_mri.evaluate.results import Interval


def find_verdict(results, method, site=OVERALL):
    (found,) = [one for one in results.verdicts if (one.method, one.site) == (method, site)]
    return found


def list_failed(results, method):
    return {row.check for row in results.checks if row.method == method and row.result == "bad"}


@pytest.mark.parametrize(
    ("method", "check"),
    [("invert", "order"), ("blur", "sharpness"), ("shift", "shift"), ("erase", "islands")],
)
def test_planted_harm_is_called_harmful_for_its_own_reason(judged, method, check):
    assert find_verdict(judged, method).judgement == "harmful"
    assert check in list_failed(judged, method)


def test_the_identity_has_no_effect(judged):
    for name in ("none", "keep"):
        assert find_verdict(judged, name).judgement == "no effect"
        assert find_verdict(judged, name, "adni").judgement == "no effect"


def test_prism_improves_these_sites_and_harms_nothing(judged):
    verdict = find_verdict(judged, "prism", "adni")
    assert list_failed(judged, "prism") == set()
    assert verdict.judgement == "improved"
    assert "intensity distance to the target changes by -" in verdict.reasons[0]


def test_only_sources_are_judged_and_overall(judged):
    assert {one.site for one in judged.verdicts} == {"adni", OVERALL}


def make_check(result, check="distance", site="hh"):
    return CheckRow(
        site=site,
        method="m",
        check=check,
        people=5,
        value=Interval(estimate=-0.1, low=-0.2, high=-0.05),
        limit="",
        result=result,
    )


@pytest.mark.parametrize(
    ("results", "judgement"),
    [
        (["good", "none"], "improved"),
        (["good", "bad"], "harmful"),
        (["none", "safe"], "no effect"),
        (["none", "unknown"], "no effect"),
        (["unknown", "unknown"], "undecided"),
    ],
)
def test_one_site_by_its_checks(results, judgement):
    first, overall = judge([make_check(one) for one in results], ["hh"], ["m"])
    assert first.judgement == overall.judgement == judgement


def test_an_improvement_names_the_looks_that_do_not_rule_harm_out():
    checks = [make_check("good"), make_check("none", "islands"), make_check("safe", "shift")]
    first, _ = judge(checks, ["hh"], ["m"])
    assert first.judgement == "improved"
    assert first.reasons[-1] == "too few people to rule out harm by islands"


@pytest.mark.parametrize(
    ("interval", "check", "result"),
    [
        ((0.7, 0.69, 0.71), "sharpness", "bad"),
        ((0.9, 0.89, 0.91), "sharpness", "safe"),
        ((0.76, 0.7, 0.8), "sharpness", "none"),
        ((0.1, 0.09, 0.11), "structure", "bad"),
        ((0.01, 0.0, 0.02), "structure", "safe"),
        ((-0.02, -0.021, -0.019), "distance", "good"),
        ((0.02, 0.019, 0.021), "distance", "bad"),
        ((0.0, 0.0, 0.0), "distance", "safe"),
        ((0.05, 0.049, 0.051), "dice", "good"),
        ((-0.05, -0.051, -0.049), "dice", "bad"),
        ((-0.005, -0.006, -0.004), "dice", "safe"),
        ((0.5, None, None), "islands", "unknown"),
    ],
)
def test_a_check_is_told_by_its_whole_interval(interval, check, result):
    estimate, low, high = interval
    value = Interval(estimate=estimate, low=low, high=high)
    assert _build(("hh", "m"), check, 30, value).result == result


def test_few_people_widen_an_interval_until_it_tells_nothing():
    value = Interval(estimate=-0.02, low=-0.03, high=-0.005)
    assert _build(("hh", "m"), "distance", 30, value).result == "good"
    assert _build(("hh", "m"), "distance", 3, value).result == "none"


def test_one_harmful_site_makes_the_whole_harmful():
    checks = [make_check("good", site="hh"), make_check("bad", site="iop")]
    *_, overall = judge(checks, ["hh", "iop"], ["m"])
    assert overall.judgement == "harmful"
    assert overall.reasons == ("harmful at iop",)
