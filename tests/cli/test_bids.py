"""The BIDS App end to end: whole, shared, killed and resumed, refused."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from prism_mri.app import crew
from prism_mri.app.person import Person
from prism_mri.volume import read_volume, write_volume

PEOPLE = {"01": ("a", "b"), "02": ("a",), "03": ("a",)}


def name_of(person, session):
    return f"sub-{person}/ses-{session}/anat/sub-{person}_ses-{session}"


def list_results(people=PEOPLE):
    return [
        f"{name_of(person, session)}_desc-harmonized_T2w.nii.gz"
        for person in people
        for session in PEOPLE[person]
    ]


def take_stock(folder):
    """Return every file below a folder, and its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def dataset(write, tmp_path):
    """A stripped dataset of three people, the first with two sessions."""
    raw = tmp_path / "raw"
    for seed, (person, sessions) in enumerate(PEOPLE.items()):
        for shift, session in enumerate(sessions):
            write(raw / f"{name_of(person, session)}_T2w.nii.gz", seed=10 * seed + shift)
    (raw / "README").write_text("Simulated brains.")
    description = {"Name": "raw", "BIDSVersion": "1.9.0"}
    (raw / "dataset_description.json").write_text(json.dumps(description))
    return raw


@pytest.fixture
def card(card_folder):
    return ("--card", card_folder / "guys.prism", "--trust", card_folder / "trust")


@pytest.fixture
def participants(command, dataset, card, tmp_path):
    """Run the participant level without a validator."""

    def run(*words, out="out"):
        where = (dataset, tmp_path / out, "participant")
        return command("bids", *where, *card, "--skip-bids-validation", *words)

    return run


@pytest.fixture
def start(dataset, card, tmp_path):
    """Start the participant level as a process of its own; none outlives its test."""
    started = []

    def run(*words, out="out"):
        where = [dataset, tmp_path / out, "participant", *card, "--skip-bids-validation", *words]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "prism_mri", "bids", *map(str, where)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def undisturbed(participants, tmp_path):
    """What a whole run leaves."""
    assert participants(out="whole").code == 0
    return take_stock(tmp_path / "whole")


# --- the results ----------------------------------------------------------------------------------


def test_a_dataset_becomes_a_derivative(participants, dataset, tmp_path):
    result = participants()
    out = tmp_path / "out"
    assert result.code == 0
    assert result.out.splitlines() == [str(out / name) for name in list_results()]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "prism-mri"
    assert description["DatasetLinks"] == {"raw": dataset.as_uri()}
    first, second = (
        json.loads((out / name.replace(".nii.gz", ".json")).read_text())
        for name in list_results(["01"])
    )
    assert first["Sources"] == [f"bids:raw:{name_of('01', 'a')}_T2w.nii.gz"]
    assert first["SkullStripped"] is True
    assert first["Prism"]["StyleVector"] == second["Prism"]["StyleVector"]
    assert len(first["Prism"]["SourceDigest"]) == 64
    assert first["Prism"]["BrainMaskDigest"] is None


def test_it_writes_what_harmonize_writes(command, participants, dataset, card, tmp_path):
    participants()
    with crew._one_thread():  # N4 sums in another order where it has more
        command("harmonize", dataset, *card, "--out", tmp_path / "same")
    ours = take_stock(tmp_path / "out")
    results = {name: ours[name] for name in ours if not name.startswith(".prism-work")}
    assert results == take_stock(tmp_path / "same")


def test_heads_need_their_masks_where_nothing_is_extracted(
    command, participants, dataset, tmp_path
):
    for session in PEOPLE["01"]:
        path = dataset / f"{name_of('01', session)}_T2w.nii.gz"
        volume = read_volume(path)
        brain = volume.data > 0
        mask = tmp_path / "masks" / f"{path.name.removesuffix('.nii.gz')}_mask.nii.gz"
        write_volume(mask, brain, volume, dtype=np.uint8)
        head = np.where(brain, volume.data, np.float32(60))
        write_volume(path, head, volume, overwrite=True)
    failed = participants("--participant-label", "01", "--brain-extraction", "none")
    assert failed.code == 1
    assert failed.err.count("the image is not stripped") == 2
    assert not (tmp_path / "out" / "sub-01").exists()
    pattern = str(tmp_path / "masks" / "{stem}_mask.nii.gz")
    result = participants("--participant-label", "01", "--brain-mask", pattern)
    assert result.code == 0
    for name, session in zip(list_results(["01"]), PEOPLE["01"], strict=True):
        mask = read_volume(tmp_path / "masks" / f"sub-01_ses-{session}_T2w_mask.nii.gz").data
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / name).data > 0, mask > 0)
        sidecar = json.loads((tmp_path / "out" / name.replace(".nii.gz", ".json")).read_text())
        assert len(sidecar["Prism"]["BrainMaskDigest"]) == 64


def test_labels_and_filter_choose(participants, tmp_path):
    chosen = tmp_path / "filter.json"
    chosen.write_text('{"T2w": {"session": "b"}}')
    words = ("--participant-label", "sub-01", "02", "--bids-filter-file", chosen)
    result = participants(*words)
    assert result.out.splitlines() == [str(tmp_path / "out" / list_results(["01"])[1])]
    assert "1 participants have no image that was asked for" in result.err


@pytest.mark.skipif(shutil.which("bids-validator-deno") is None, reason="no validator on the PATH")
def test_the_validator_accepts_input_and_output(command, dataset, card, tmp_path):
    out = tmp_path / "out"
    assert command("bids", dataset, out, "participant", *card).code == 0
    assert command("bids", dataset, out, "group").code == 0
    done = subprocess.run(
        [shutil.which("bids-validator-deno"), "--json", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    (dataset / "sub-01" / "wrong.txt").write_text("no such name in BIDS")
    refused = command("bids", dataset, tmp_path / "other", "participant", *card)
    assert refused.code == 1
    assert "is not valid BIDS (NOT_INCLUDED)" in refused.err


# --- sharing and resuming -------------------------------------------------------------------------


def test_several_processes_write_the_same_bytes(participants, undisturbed, tmp_path):
    result = participants("--n-procs", "2", out="two")
    assert result.code == 0
    assert result.out.splitlines() == [str(tmp_path / "two" / name) for name in list_results()]
    assert take_stock(tmp_path / "two") == undisturbed


def test_runs_on_the_same_and_other_labels_share_a_folder(start, undisturbed, tmp_path):
    chosen = (("01", "02", "03"), ("03", "02"))
    runs = [start("--participant-label", *labels) for labels in chosen]
    ends = [(*run.communicate(timeout=300), run.returncode) for run in runs]
    for labels, (out, err, code) in zip(chosen, ends, strict=True):
        assert code == 0, err
        wanted = list_results(sorted(labels))
        assert out.splitlines() == [str(tmp_path / "out" / name) for name in wanted]
    assert take_stock(tmp_path / "out") == undisturbed
    # Every image was harmonized once, and taken up by whoever else was asked for it.
    done = [int(line.split()[0]) for _, err, _ in ends for line in find_done(err)]
    assert sum(done) == 4 + 2 - 4


def find_done(err):
    return [line for line in err.splitlines() if line.endswith("images were done already")]


@pytest.mark.parametrize("n_procs", ["1", "2"])
def test_a_killed_run_goes_on_where_it_was(start, participants, undisturbed, tmp_path, n_procs):
    chance = random.Random()  # noqa: S311 - the outcome must not depend on when
    for standing in sorted(chance.sample(range(4), 2)):
        run = start("--n-procs", n_procs)
        wait_for(run, tmp_path / "out", standing)
        time.sleep(chance.uniform(0, 0.6))
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=120)
    before = find_times(tmp_path / "out")
    result = participants("--n-procs", n_procs)
    assert result.code == 0, result.err
    assert take_stock(tmp_path / "out") == undisturbed
    after = find_times(tmp_path / "out")
    # A process of the killed run may have finished one more before it noticed.
    assert before.items() <= after.items()


def wait_for(run, out, standing):
    """Wait until this many volumes stand, or the run ends."""
    end = time.monotonic() + 300
    while run.poll() is None and len(find_times(out)) < standing:
        assert time.monotonic() < end
        time.sleep(0.02)


def find_times(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("sub-*/*/anat/sub-*.nii.gz")}


def test_what_a_writer_left_is_cleared_away(participants, undisturbed, tmp_path):
    participants()
    volume = tmp_path / "out" / list_results()[0]
    volume.unlink()
    (volume.parent / f".{volume.name}.0a1b2c3d.part").write_bytes(b"half")
    result = participants()
    assert result.code == 0
    assert "3 images were done already" in result.err
    assert take_stock(tmp_path / "out") == undisturbed


def test_a_process_that_dies_is_told():
    people = [
        Person(label, (f"sub-{label}/anat/sub-{label}_T2w.nii.gz",)) for label in ("01", "02")
    ]
    with ProcessPoolExecutor(1, get_context("spawn"), os._exit, (1,)) as executor:
        told = dict(crew._share_out(executor, people, wait=False))
    for person in people:
        (failure,) = told[person].failures
        assert failure.startswith(f"{person.images[0]}: not harmonized, since a process ended")


def test_a_terminated_run_ends_its_processes(start, tmp_path):
    run = start("--n-procs", "2")
    wait_for(run, tmp_path / "out", 1)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=120)
    assert (run.returncode, err.splitlines()[-1]) == (130, "prism-mri: interrupted")
    assert "Traceback" not in err
    assert not list((tmp_path / "out").rglob("*.part"))


# --- what is refused, and what goes wrong ---------------------------------------------------------


@pytest.mark.parametrize("n_procs", ["1", "2"])
def test_one_bad_subject_does_not_stop_the_others(participants, dataset, tmp_path, n_procs):
    bad = dataset / f"{name_of('02', 'a')}_T2w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-200])
    result = participants("--n-procs", n_procs)
    assert result.code == 3
    (failure,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
    assert failure.startswith(f"failed: {bad} is cut short or damaged")
    assert "1 of 4 inputs failed" in result.err
    assert result.out.splitlines() == [
        str(tmp_path / "out" / name) for name in list_results(["01", "03"])
    ]


def test_a_result_of_other_settings_is_replaced_only_when_asked(participants, tmp_path):
    words = ("--participant-label", "02")
    assert participants(*words, "--denoising", "none").code == 0
    volume = tmp_path / "out" / list_results(["02"])[0]
    before = volume.read_bytes()
    result = participants()
    assert result.code == 3
    assert f"{volume} was made with another Denoising: pass --overwrite or choose" in result.err
    assert volume.read_bytes() == before
    assert participants("--overwrite").code == 0
    assert participants().code == 0
    assert volume.read_bytes() != before


def test_a_changed_input_and_a_strangers_volume_are_no_results(participants, write, dataset, out):
    words = ("--participant-label", "03")
    participants(*words)
    write(dataset / f"{name_of('03', 'a')}_T2w.nii.gz".replace("_T2w", "_acq-x_T2w"), seed=9)
    shutil.move(
        dataset / f"{name_of('03', 'a')}_acq-x_T2w.nii.gz",
        dataset / f"{name_of('03', 'a')}_T2w.nii.gz",
    )
    assert "was made with another SourceDigest" in participants(*words).err
    volume = out / list_results(["03"])[0]
    volume.with_name(volume.name.replace(".nii.gz", ".json")).unlink()
    assert f"{volume} stands without its sidecar" in participants(*words).err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--participant-label", "77"), "--participant-label 77: no T2w image of that label in "),
        (("--session-label", "z"), "--session-label z: no T2w image of that label in "),
        (("--brain-mask", "{foo}.nii.gz"), "has unknown placeholders ['foo']"),
        (("--bids-filter-file", "none.json"), "cannot read --bids-filter-file none.json"),
        (("--modality", "T1w"), "card of guys is for T2w, images or model are T1w"),
    ],
)
def test_what_cannot_be_right_is_one_line_and_writes_nothing(
    refused, dataset, card, out, words, line
):
    where = ("bids", dataset, out, "participant", *card, "--skip-bids-validation")
    assert line in refused(*where, *words)


def test_another_folders_description_is_refused(refused, dataset, card, out):
    where = ("bids", dataset, out, "participant", *card, "--skip-bids-validation")
    path = out / "dataset_description.json"
    path.write_text('{"Name": "mine", "DatasetType": "derivative"}')
    assert "is no output of prism-mri" in refused(*where)
    ours = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "prism-mri"}]}
    path.write_text(json.dumps({"Name": "Harmonized to hh", **ours}))
    assert "says 'Harmonized to hh', the card is of guys" in refused(*where)
    path.write_text("{")
    assert "is not valid JSON" in refused(*where)


def test_a_dataset_is_no_output(refused, dataset, card):
    line = refused("bids", dataset, dataset, "participant", *card, "--skip-bids-validation")
    assert "is the dataset to harmonize" in line


def test_a_work_folder_that_cannot_be_used_is_one_line(refused, dataset, card, out):
    words = ("--skip-bids-validation", "--work-dir", out / "mine.txt")
    line = refused("bids", dataset, out, "participant", *card, *words)
    assert line.startswith(f"cannot lock {out / 'mine.txt' / 'claims' / 'sub-01.lock'}")


def test_the_participant_level_needs_a_card(command, dataset, out):
    result = command("bids", dataset, out, "participant")
    assert result.code == 2
    assert "the participant level needs --card SITE.prism" in result.err


def test_nobody_is_named_in_what_is_logged(participants):
    err = participants().err
    assert "participant 1 of 3, image 2: " in err
    assert "sub-" not in err


# --- the group level ------------------------------------------------------------------------------


def test_the_group_level_tells_of_all(command, participants, dataset, tmp_path):
    participants()
    out = tmp_path / "out"
    result = command("bids", dataset, out, "group")
    table, page = out / "group_harmonized.tsv", out / "group_harmonized.html"
    assert (result.code, result.out) == (0, f"{table}\n{page}\n")
    assert table.read_text().count("\n") == 5
    assert "sub-03_ses-a_desc-harmonized_T2w.nii.gz" in page.read_text()


def test_the_group_level_needs_results(refused, dataset, out):
    assert "no harmonized image of that choice" in refused("bids", dataset, out, "group")
