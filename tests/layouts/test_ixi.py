"""IXI: names, sites, kinds of image, what is strange."""

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_mri.errors import BidsError, ConfigError, InputError
from prism_mri.layouts import IxiName, find_ixi

NAMES = (
    *("IXI013-HH-1212-T2.nii.gz", "IXI012-HH-1211-T2.nii.gz", "IXI012-HH-1211-T1.nii.gz"),
    *("IXI012-HH-1211-PD.nii.gz", "IXI002-Guys-0828-T2.nii.gz", "IXI035-IOP-0873-T2.nii"),
    *("IXI002-Guys-0828-DTI-03.nii.gz", "IXI002-Guys-0828-MRA.nii.gz"),
)


@given(
    subject=st.from_regex(r"IXI[0-9]{3,4}", fullmatch=True),
    site=st.sampled_from(["Guys", "HH", "IOP", "hh"]),
    scan=st.from_regex(r"[0-9]{4}", fullmatch=True),
    kind=st.sampled_from(["T1", "T2", "PD", "MRA", "DTI-00", "DTI-15", "t2"]),
    extension=st.sampled_from([".nii.gz", ".nii"]),
)
def test_building_and_parsing_are_inverse(
    subject: str, site: str, scan: str, kind: str, extension: str
) -> None:
    name = IxiName(subject, site, scan, kind, extension)
    assert IxiName.parse(name.filename()) == name


@given(st.text())
def test_a_name_is_refused_or_comes_back(text: str) -> None:
    try:
        parsed = IxiName.parse(text)
    except BidsError:
        return
    assert parsed.filename() == text


@pytest.mark.parametrize(
    "name",
    [
        *("IXI012-HH-1211.nii.gz", "IXI012-HH-T2.nii.gz", "IXI12-HH-1211-T2.nii.gz", ""),
        *("IXI012-HH-1211-T2_brain.nii.gz", "IXI012-HH-1211-T2.nii.gz.part", "IXI012-HH-1211-T2"),
        *("012-HH-1211-T2.nii.gz", "IXI012-HH-1211-T3.nii.gz", "IXI012-HH-1211-T2.nii.gz\n"),
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(
        BidsError, match="is not a name of IXI; expected the form IXI012-HH-1211-T2"
    ):
        IxiName.parse(name)


@pytest.mark.parametrize(
    ("site", "modality", "subjects"),
    [
        ("hh", "T2w", ["IXI012", "IXI013"]),
        ("HH", "T2w", ["IXI012", "IXI013"]),
        ("guys", "T2w", ["IXI002"]),
        ("Iop", "T2w", ["IXI035"]),
        ("hh", "T1w", ["IXI012"]),
        ("hh", "PDw", ["IXI012"]),
        (None, "T2w", ["IXI002", "IXI012", "IXI013", "IXI035"]),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_site_and_modality_choose(touch, site, modality, subjects, nested) -> None:
    folder = touch(*(f"IXI-{name.split('-')[3][:2]}/{name}" if nested else name for name in NAMES))
    images = find_ixi(folder, site, modality)
    assert [image.subject for image in images] == subjects
    assert {image.session for image in images} == {None}
    assert all(dict(image.entities) == {"sub": image.subject} for image in images)
    assert all(folder / image.relative == image.path for image in images)


def test_masks_and_hidden_files_are_no_images(touch, caplog: pytest.LogCaptureFixture) -> None:
    folder = touch(
        *NAMES,
        *("IXI012-HH-1211-T2_mask.nii.gz", "._IXI012-HH-1211-T2.nii.gz", "IXI.xls"),
        ".trash/IXI099-HH-1211-T2.nii.gz",
    )
    assert [image.subject for image in find_ixi(folder, "hh", "T2w")] == ["IXI012", "IXI013"]
    assert caplog.text == ""


def test_strange_names_are_counted_and_only_debug_lists_them(
    touch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = touch(*NAMES, "IXI012-HH-1211-T2_brain.nii.gz", "IXI014-HH-T2.nii.gz")
    with caplog.at_level(logging.DEBUG):
        find_ixi(folder, "hh", "T2w")
    above = [record for record in caplog.records if record.levelno > logging.DEBUG]
    (line,) = (record.getMessage() for record in above)
    assert "since they are not named as IXI's: 2 of 10 (-v lists them)" in line
    assert "IXI0" not in line
    assert "IXI014-HH-T2.nii.gz" in caplog.text


@pytest.mark.parametrize(
    ("names", "site", "modality", "words"),
    [
        ([], "hh", "T2w", "holds no NIfTI image, expected files such as IXI012-HH-1211-T2.nii.gz; "
         "found nothing; unpack archives"),
        (["a.tar", "b.tar", "x.txt"], "hh", "T2w", r"found \.tar \(2\), \.txt \(1\); unpack"),
        (["012_t2.nii.gz", "b.nii"], "hh", "T2w",
         r"none of 2 NIfTI files in .* is named as IXI's are, such as 012_t2\.nii\.gz; expected"),
        (NAMES, "ucl", "T2w",
         r"no image of site ucl in .*, but of .*hh \(4\).*; pass one of them as --site"),
        (NAMES, "guys", "T1w",
         r"no T1w image \(-T1\) of site guys in .*, but .*MRA \(1\).*; choose another --modality"),
        (["a/IXI012-HH-1211-T2.nii.gz", "b/IXI012-HH-1211-T2.nii.gz"], "hh", "T2w",
         r"people with several .*: 1, a/IXI012.* and b/IXI012.*; keep one of each"),
        (["IXI012-HH-1211-T2.nii.gz", "IXI012-HH-1211-T2.nii"], "hh", "T2w", "keep one of each"),
        (["IXI012-HH-1211-T2.nii.gz", "IXI012-HH-1299-T2.nii.gz"], "hh", "T2w", "keep one of each"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(touch, names, site, modality, words) -> None:
    folder = touch(*names)
    with pytest.raises(InputError, match=words) as caught:
        find_ixi(folder, site, modality)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_clashes_are_counted_and_some_are_named(touch) -> None:
    names = [f"{half}/IXI{number:03d}-HH-1211-T2.nii.gz" for half in "ab" for number in range(7)]
    with pytest.raises(
        InputError, match=r"people with several images of one modality in .*: 7, a/IXI000"
    ) as caught:
        find_ixi(touch(*names), "hh", "T2w")
    assert str(caught.value).endswith("; and 2 more; keep one of each")


def test_ixi_has_no_flair(touch) -> None:
    with pytest.raises(ConfigError, match=r"IXI has no FLAIR .* choose --modality T1w, T2w, PDw"):
        find_ixi(touch(*NAMES), "hh", "FLAIR")


def test_no_folder(touch) -> None:
    folder = touch("scan.nii.gz")
    with pytest.raises(InputError, match="none does not exist; give the folder that holds"):
        find_ixi(folder / "none", "hh", "T2w")
    with pytest.raises(InputError, match=r"scan\.nii\.gz is not a folder; give the folder"):
        find_ixi(folder / "scan.nii.gz", "hh", "T2w")


def test_a_subfolder_that_cannot_be_read_is_not_passed_over(touch, monkeypatch) -> None:
    folder = touch(*NAMES, "closed/IXI099-HH-1211-T2.nii.gz")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="closed: Permission denied; change its permissions"):
        find_ixi(folder, "hh", "T2w")
