"""Which images a run is about."""

import json
import logging

import pytest

from prism_mri.app.choose import Choice, choose_images
from prism_mri.errors import BidsError, InputError


@pytest.fixture
def dataset(tmp_path):
    """A dataset of three people; the third has only T1w. Files are empty: names are what counts."""
    for name in (
        "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
        "derivatives/other/sub-04/anat/sub-04_T2w.nii.gz",
        "scan.nii.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def choose(dataset, *participants, sessions=(), filter_file=None):
    found = choose_images(dataset, "T2w", Choice(participants, sessions, filter_file))
    return [f"{image.subject}{image.session}" for image in found]


def test_without_labels_everybody_with_the_modality_is_taken(dataset):
    assert choose(dataset) == ["01a", "01b", "02a"]


@pytest.mark.parametrize("label", ["01", "sub-01"])
def test_labels_may_have_their_prefix(dataset, label):
    assert choose(dataset, label) == ["01a", "01b"]
    assert choose(dataset, label, sessions=["ses-b"]) == ["01b"]


def test_a_person_without_a_chosen_session_is_passed_over_without_a_name(dataset, caplog):
    with caplog.at_level(logging.INFO):
        assert choose(dataset, "01", "02", sessions=["b"]) == ["01b"]
    assert caplog.messages == ["1 participants have no image that was asked for"]


def test_unknown_labels_are_named_all_at_once(dataset):
    with pytest.raises(InputError) as caught:
        choose(dataset, "01", "03", "sub-9")
    assert str(caught.value) == (
        f"--participant-label 03, 9: no T2w image of that label in {dataset}; there are 01, 02"
    )
    with pytest.raises(InputError, match=r"--session-label z: .*; there are a$"):
        choose(dataset, "02", sessions=["z"])


def test_of_many_labels_only_some_are_shown(dataset):
    for number in range(10, 30):
        path = dataset / f"sub-{number}" / "anat" / f"sub-{number}_T2w.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()
    with pytest.raises(InputError, match=r"there are 01, 02, 10, .*, 17 and 12 more$"):
        choose(dataset, "99")


def test_a_filter_that_leaves_nothing_is_said(dataset, tmp_path):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"T2w": {"session": "b"}}))
    assert choose(dataset, filter_file=path) == ["01b"]
    with pytest.raises(InputError, match="is left to harmonize: check --participant-label"):
        choose(dataset, "02", filter_file=path)


def test_what_is_no_dataset_is_refused(dataset, tmp_path):
    with pytest.raises(BidsError, match="is no folder"):
        choose(tmp_path / "none")
    with pytest.raises(BidsError, match="is no BIDS dataset"):
        choose(dataset / "sub-01" / "ses-a")
