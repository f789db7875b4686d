"""Effects and volumes on numbers whose answers are known."""

import numpy as np
import pytest

from prism_mri.errors import InputError
from prism_mri.evaluate.bootstrap import compute_difference, resample_people, widen_for_few
from prism_mri.evaluate.paper.biology import (
    Volumes,
    apply_combat,
    compute_eta_squared,
    estimate_correlation,
    estimate_d,
    measure_effects,
    read_covariate,
)


def test_cohens_d_by_hand():
    """Means 2 and 5, both of variance 1: three pooled standard deviations."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = estimate_d(values, ["a", "a", "a", "b", "b", "b"], 0)
    assert found.estimate == pytest.approx(-3)
    assert found.low < -3 < found.high


def test_correlation_of_a_line_is_one_whoever_is_drawn():
    values = np.arange(8.0)
    found = estimate_correlation(values, 3 - 2 * values, 0)
    assert (found.estimate, found.low, found.high) == pytest.approx((-1, -1, -1))


def test_eta_squared_by_hand():
    assert compute_eta_squared(np.array([1.0, 1.0, 3.0, 3.0]), ["a", "a", "b", "b"]) == 1
    assert compute_eta_squared(np.array([1.0, 3.0, 1.0, 3.0]), ["a", "a", "b", "b"]) == 0
    assert compute_eta_squared(np.array([0.0, 2.0, 2.0, 4.0]), list("aabb")) == pytest.approx(0.5)


def test_combat_takes_sites_apart_and_nothing_else(capsys):
    generator = np.random.default_rng(0)
    people = generator.normal(0.3, 0.02, (40, 3))
    sites = ["a"] * 20 + ["b"] * 20
    moved = people + 0.1 * (np.array(sites) == "b")[:, None]
    found = apply_combat(moved, sites)
    assert compute_eta_squared(moved[:, 0], sites) > 0.8
    assert compute_eta_squared(found[:, 0], sites) < 0.05
    assert np.corrcoef(found[:20, 0], people[:20, 0])[0, 1] > 0.99
    assert capsys.readouterr().out == ""


def test_a_site_of_one_person_leaves_combat_nothing_to_learn():
    shares = np.random.default_rng(0).random((3, 3))
    assert (apply_combat(shares, ["a", "a", "b"]) == shares).all()


def make_volumes(count=6):
    shares = np.linspace(0.2, 0.4, count)[:, None] * np.ones(3)
    people = tuple(f"hh/{number}" for number in range(count))
    return Volumes(people, ("hh",) * count, {"none": shares}, shares)


def test_numbers_give_a_correlation_and_words_a_d():
    volumes = make_volumes()
    ages = {f"hh/{number}": str(60 + number) for number in range(6)}
    groups = {f"hh/{number}": "AD" if number > 2 else "CN" for number in range(6)}
    assert {row.measure for row in measure_effects(volumes, ages, 0)} == {"correlation"}
    rows = measure_effects(volumes, groups, 0)
    assert {row.measure for row in rows} == {"Cohen's d"}
    assert all(row.effect.estimate > 0 for row in rows)


def test_few_people_or_equal_values_are_left_out():
    same = {f"hh/{number}": "60" for number in range(6)}
    assert measure_effects(make_volumes(), same, 0) == []
    assert measure_effects(make_volumes(4), {f"hh/{n}": str(n) for n in range(4)}, 0) == []


def test_a_covariate_is_read_from_participants(tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tage\nsub-01\t63\nsub-02\tn/a\n")
    assert read_covariate({"hh": table}, "age") == {"hh/01": "63"}
    with pytest.raises(InputError, match=r"columns participant_id, age.*sex.*--covariate"):
        read_covariate({"hh": table}, "sex")
    with pytest.raises(InputError, match="cannot read"):
        read_covariate({"hh": tmp_path / "none.tsv"}, "age")


@pytest.mark.parametrize(
    "row", ["sub-01\tinf", "\t63", "sub-01\t63\nsub-01\t64"], ids=["infinite", "nameless", "twice"]
)
def test_a_value_that_cannot_be_used_is_refused_with_its_line(tmp_path, row):
    table = tmp_path / "participants.tsv"
    table.write_text(f"participant_id\tage\n{row}\n")
    with pytest.raises(InputError, match=r"participants.tsv, line [23]: participant"):
        read_covariate({"hh": table}, "age")


def test_equal_numbers_in_other_words_are_equal():
    same = {f"hh/{number}": "60" if number % 2 else "60.0" for number in range(6)}
    assert measure_effects(make_volumes(), same, 0) == []


def test_intervals_of_few_people_are_widened_to_cover_as_they_say():
    """Four people: a bootstrap alone misses the truth one time in five."""
    generator = np.random.default_rng(5)
    plain = wide = 0
    for _ in range(400):
        values = generator.normal(0.5, 1, 4)
        draws = resample_people(4, draws=400, generator=generator)
        interval = compute_difference(values, np.zeros(4), draws)
        corrected = widen_for_few(interval, 4)
        plain += interval.low <= 0.5 <= interval.high
        wide += corrected.low <= 0.5 <= corrected.high
    assert plain / 400 < 0.87
    assert 0.91 <= wide / 400 <= 0.99


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say():
    """Percentile intervals of 30 people: a little below 95 %."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        values = generator.normal(0.5, 1, 30)
        draws = resample_people(30, draws=500, generator=generator)
        interval = compute_difference(values, np.zeros(30), draws)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.89 <= hits / 300 <= 0.98
