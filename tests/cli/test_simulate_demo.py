"""simulate and demo on the command line: what they pass on and print."""

from pathlib import Path

import pytest

from prism_mri.demo import plan_demo
from prism_mri.simulate.cohort import CohortPlan


@pytest.fixture
def seen(monkeypatch):
    """Replace everything that computes; return what it was called with."""
    calls = {}

    def simulate_cohort(plan, out, *, progress):
        progress(1, 1)
        calls.update(plan=plan, out=out)

    def run_study(plan, out, *, translator, stage, say):
        with stage("simulate", "scan") as progress:
            progress(1, 2)
            progress(2, 2)
        say("train guys: epoch 1/1")
        calls.update(plan=plan, out=out, translator=translator)
        return "results"

    monkeypatch.setattr("prism_mri.simulate.cohort.simulate_cohort", simulate_cohort)
    monkeypatch.setattr("prism_mri.demo.run_study", run_study)
    monkeypatch.setattr("prism_mri.models.translator.read_translator", lambda: "shipped")
    monkeypatch.setattr("prism_mri.evaluate.table.format_table", lambda found: f"{found}: table\n")
    return calls


def test_simulate_passes_everything_on_and_prints_the_folder(command, seen):
    words = "simulate out --sites hh iop --subjects 3 --travelling 1 --unseen 2 --seed 9"
    words += " --modality FLAIR --lesions 8.5 --atrophy 0.1 --slice-spacing 6"
    result = command(*words.split(), "--anatomies", "heads", "--whole-head")
    assert (result.code, result.out) == (0, "out\n")
    assert "simulate: 1 of 1 scans, 0 s left" in result.err
    assert seen["out"] == Path("out")
    assert seen["plan"] == CohortPlan(
        sites=("hh", "iop"),
        subjects=3,
        travelling=1,
        unseen=2,
        seed=9,
        anatomies=Path("heads"),
        slice_spacing_mm=6.0,
        whole_head=True,
        modality="FLAIR",
        lesions_ml=8.5,
        atrophy=0.1,
    )


def test_simulate_by_default_does_what_the_plan_does(command, seen):
    assert command("simulate", "out").code == 0
    assert seen["plan"] == CohortPlan()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--lesions", "80", "lesions must be 0 to 50 ml on average, got 80"),
        ("--atrophy", "2", "atrophy must be 0 to 0.3 of the cortex on average, got 2"),
        ("--atrophy", "nan", "on average, got nan"),
    ],
)
def test_simulate_refuses_amounts_out_of_range_in_one_line(command, tmp_path, option, value, said):
    result = command("simulate", tmp_path / "out", option, value)
    assert (result.code, result.out) == (1, "")
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_simulate_refuses_other_modalities(command, tmp_path):
    result = command("simulate", tmp_path / "out", "--modality", "bold")
    assert result.code == 2
    assert "invalid choice: 'bold'" in result.err


@pytest.mark.parametrize("quick", [True, False])
def test_demo_prints_the_table_and_where_the_report_is(command, seen, tmp_path, quick):
    (tmp_path / "guys.prism").write_bytes(b"")
    options = ["--quick"] if quick else []
    result = command("demo", "--out", tmp_path, "--seed", 4, *options)
    assert (result.code, result.out) == (0, f"{tmp_path / 'report.html'}\n")
    assert seen["plan"] == plan_demo(quick=quick, seed=4)
    assert (seen["out"], seen["translator"]) == (tmp_path, "shipped")
    for line in ("train guys: epoch 1/1", "results: table", str(tmp_path / "guys.prism")):
        assert line in result.err
    assert "simulate: 2 of 2 scans, 0 s left" in result.err


def test_the_demo_is_three_sites_whose_cards_obey_the_ten_person_rule():
    for quick in (True, False):
        plan = plan_demo(quick=quick)
        assert plan.cohort.sites == ("guys", "hh", "adni")
        # The quick demo's people are too few for a card that may travel, and its cards say so.
        assert (plan.cohort.subjects, plan.local_only) == ((4, True) if quick else (10, False))
        assert plan.cohort.anatomies is None
        assert plan.harmonize_to == "guys"
    assert plan_demo(quick=False, seed=3).cohort.seed == 3
