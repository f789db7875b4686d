"""Layouts are recognized by names, and each finds its images; the paper's counts stand beside."""

import logging

import pytest

from prism_mri.errors import ConfigError, InputError
from prism_mri.layouts import compare_counts, find_layout_images, recognize_layout

ADNI = "ADNI/002_S_0295/Axial_T2_FSE/2012-05-10_08_51_45.0/I303066/scan.nii"
IXI = "IXI012-HH-1211-T2.nii.gz"


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        ([], "files"),
        ([IXI], "ixi"),
        ([f"T2/{IXI}", "T2/IXI012-HH-1211-T2_brain.nii.gz", "m/brain_mask.nii.gz"], "ixi"),
        ([IXI, "p13-T2.nii.gz"], "files"),  # nothing of a mixed folder is left out unasked
        (["IXI012_t2.nii.gz"], "files"),
        ([ADNI], "adni"),
        ([ADNI, "other.nii.gz"], "adni"),
        ([IXI, "prepared.json"], "files"),
        ([IXI, "dataset_description.json"], "files"),
        (["sub-01/anat/sub-01_T2w.nii.gz"], "files"),
    ],
)
def test_recognizing(touch, names, layout) -> None:
    folder = touch(*names)
    assert recognize_layout([folder]) == layout
    assert recognize_layout([folder / "none", folder]) == layout


def test_a_single_file_is_a_file(touch) -> None:
    assert recognize_layout([touch(IXI) / IXI]) == "files"


def test_every_layout_finds_its_images(touch) -> None:
    folder = touch(f"ixi/{IXI}", ADNI, "bids/sub-01/anat/sub-01_T2w.nii.gz", "bids/x.nii.gz")
    found = {
        layout: [image.subject for image in find_layout_images([folder / below], "T2w", **options)]
        for layout, below in (("ixi", "ixi"), ("adni", "ADNI"), ("bids", "bids"), ("files", "bids"))
        for options in [{"layout": layout, "site": "hh"}]
    }
    assert found == {
        "ixi": ["IXI012"],
        "adni": ["002S0295"],
        "bids": ["01"],
        "files": ["01", "x"],
    }


def test_bids_means_bids(touch, caplog: pytest.LogCaptureFixture) -> None:
    folder = touch("plain/x.nii.gz", "bids/sub-01/anat/sub-01_T2w.nii.gz", "bids/x.nii.gz")
    touch("odd/dataset_description.json", "odd/x.nii.gz")
    find_layout_images([folder / "bids"], "T2w", layout="bids", site="a")
    assert "images passed over, since they have no BIDS names: 1 of 2" in caplog.text
    with pytest.raises(InputError, match="plain is no BIDS dataset: it has neither"):
        find_layout_images([folder / "bids", folder / "plain"], "T2w", layout="bids", site="a")
    with pytest.raises(InputError, match=r"no T2w image with a BIDS name in .*odd; rename"):
        find_layout_images([folder / "odd"], "T2w", layout="bids", site="a")


@pytest.mark.parametrize("layout", ["ixi", "adni"])
def test_one_folder_at_a_time(touch, layout) -> None:
    with pytest.raises(ConfigError, match=f"layout {layout} is one folder, got 2 inputs; give the"):
        find_layout_images([touch(IXI, ADNI)] * 2, "T2w", layout=layout, site="hh")


def test_the_papers_counts_stand_beside(touch, caplog: pytest.LogCaptureFixture) -> None:
    folder = touch(f"ixi/{IXI}", ADNI)
    with caplog.at_level(logging.INFO):
        find_layout_images([folder / "ixi"], "T2w", layout="ixi", site="HH")
        find_layout_images([folder], "T2w", layout="adni", site="mine")
    messages = [record.getMessage() for record in caplog.records]
    assert "hh: 1 person (paper: 185)" in messages
    assert messages[-1] == "adni: 1 person (paper: 77)"


def test_comparing_counts() -> None:
    assert compare_counts({"guys": 12, "hh": 185, "adni": 0, "iop": 1}) == (
        "guys: 12 people (paper: 319)",
        "hh: 185 people (paper: 185)",
        "adni: 0 people (paper: 77)",
        "iop: 1 person (not in the paper)",
    )
