"""ADNI: folders, descriptions, sessions, echoes, what is strange."""

import logging
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_mri.errors import BidsError, InputError
from prism_mri.layouts import AdniPlace, find_adni
from prism_mri.layouts.adni import find_adni_modalities

DAY = "2012-05-10_08_51_45.0"
LATER = "2013-05-21_09_00_00.0"
FSE = "Axial_PD_T2_FSE"


def place(subject: str, description: str = FSE, date: str = DAY, image: str = "I303066") -> str:
    return f"ADNI/{subject}/{description}/{date}/{image}/ADNI_{subject}_MR_{image}.nii"


@given(
    subject=st.from_regex(r"[0-9]{3}_S_[0-9]{4,5}", fullmatch=True),
    description=st.from_regex(r"[A-Za-z0-9_+-]{1,30}", fullmatch=True),
    date=st.from_regex(r"20[0-9]{2}-[01][0-9]-[0-3][0-9](_[0-5][0-9]){3}\.0", fullmatch=True),
    image=st.from_regex(r"[IS][0-9]{1,8}", fullmatch=True),
    above=st.sampled_from(["", "ADNI", "data/ADNI"]),
)
def test_building_and_parsing_are_inverse(
    subject: str, description: str, date: str, image: str, above: str
) -> None:
    where = AdniPlace(subject, description, date, image)
    assert AdniPlace.parse(PurePath(above) / where.folder() / "scan.nii") == where
    assert where.label.isalnum()
    assert where.label == subject.replace("_", "")
    assert where.session == date[:4] + date[5:7] + date[8:10]


@pytest.mark.parametrize(
    "path",
    [
        *("scan.nii", f"002_S_0295/{FSE}/{DAY}/scan.nii", f"{FSE}/{DAY}/I303066/scan.nii"),
        *(f"02_S_0295/{FSE}/{DAY}/I1/scan.nii", f"002_S_0295/{FSE}/2012-05-10/I1/scan.nii"),
        *(f"002_S_0295/{FSE}/{DAY}/303066/scan.nii", f"002_S_0295/{FSE}/{DAY}/I1/more/scan.nii"),
    ],
)
def test_other_places_are_refused(path: str) -> None:
    with pytest.raises(BidsError, match="does not lie as ADNI's files do; expected 002_S_0295/"):
        AdniPlace.parse(PurePath(path))


@pytest.mark.parametrize(
    ("description", "modalities"),
    [
        ("Axial_PD_T2_FSE", {"PDw", "T2w"}),
        ("Axial_PD-T2_TSE", {"PDw", "T2w"}),
        ("Double_TSE", {"PDw", "T2w"}),
        ("dual_echo_axial", {"PDw", "T2w"}),
        ("Axial_T2_TSE_with_Fat_Sat", {"T2w"}),
        ("Axial_PD", {"PDw"}),
        ("Axial_T2-FLAIR", {"FLAIR"}),
        ("Sagittal_3D_FLAIR", {"FLAIR"}),
        ("MPRAGE", {"T1w"}),
        ("MP-RAGE_REPEAT", {"T1w"}),
        ("MPR__GradWarp__B1_Correction__N3__Scaled", {"T1w"}),
        ("Accelerated_SAG_IR-SPGR", {"T1w"}),
        *((name, set()) for name in ("Axial_T2_Star", "Axial_T2_STAR", "Axial_T2star", "T2_GRE")),
        *((name, set()) for name in ("HighResHippocampus", "T2_High_Res_Hippo", "T2_map")),
        *((name, set()) for name in ("Axial_DTI_T2", "3_Plane_Localizer", "T1_FLAIR", "Resting")),
    ],
)
def test_what_a_description_says(description: str, modalities: set[str]) -> None:
    assert find_adni_modalities(description) == modalities


TREE = (
    place("002_S_0295"),
    place("002_S_0295", "Axial_T2-FLAIR", image="I303067"),
    place("002_S_0295", "Axial_T2_Star", "2010-01-01_00_00_00.0", "I303068"),
    place("002_S_0413", "Axial_T2_FSE", LATER, "I303070"),
    place("002_S_0413", "Axial_T2_FSE", DAY, "I303071"),
    place("002_S_0413", "MPRAGE", DAY, "I303072"),
)


@pytest.mark.parametrize(
    ("modality", "people"),
    [
        ("T2w", [("002S0295", "20120510", "I303066"), ("002S0413", "20120510", "I303071")]),
        ("FLAIR", [("002S0295", "20120510", "I303067")]),
        ("T1w", [("002S0413", "20120510", "I303072")]),
    ],
)
@pytest.mark.parametrize("below", ["", "ADNI"])
def test_the_earliest_scan_of_the_modality_counts(touch, modality, people, below) -> None:
    folder = touch(*TREE) / below
    images = find_adni(folder, modality)
    assert [(each.subject, each.session, each.path.parent.name) for each in images] == people
    assert all(dict(each.entities) == {"sub": each.subject, "ses": each.session} for each in images)
    assert all(folder / each.relative == each.path for each in images)


def test_one_persons_folder_is_enough(touch) -> None:
    (image,) = find_adni(touch(*TREE) / "ADNI/002_S_0413", "T2w")
    assert image.subject == "002S0413"


def test_scans_left_out_are_counted_without_names(touch, caplog: pytest.LogCaptureFixture) -> None:
    folder = touch(*TREE, place("002_S_0295", date=LATER, image="I9"), "ADNI/stray/scan.nii")
    with caplog.at_level(logging.INFO):
        find_adni(folder, "T2w")
    assert [record.getMessage() for record in caplog.records] == [
        "NIfTI files passed over, since they do not lie as ADNI's do: 1 of 8 (-v lists them)",
        "further scans of the same people, left out: 2",
    ]


@pytest.mark.parametrize(("images", "kept"), [(("I20", "I3"), "I3"), (("S9", "I8"), "I8")])
def test_of_one_moment_the_lowest_number_counts(touch, images, kept) -> None:
    folder = touch(*(place("002_S_0295", image=image) for image in images))
    assert find_adni(folder, "T2w")[0].path.parent.name == kept


def test_two_echoes_are_told_apart(touch) -> None:
    stem = f"ADNI/002_S_0295/{FSE}/{DAY}/I1/scan"
    folder = touch(f"{stem}_e1.nii.gz", f"{stem}_e2.nii.gz", f"{stem}_e2_mask.nii.gz")
    assert find_adni(folder, "T2w")[0].path.name == "scan_e2.nii.gz"
    assert find_adni(folder, "PDw")[0].path.name == "scan_e1.nii.gz"


def test_a_file_of_both_without_an_echo_is_t2(touch) -> None:
    folder = touch(place("002_S_0295"))
    assert len(find_adni(folder, "T2w")) == 1
    with pytest.raises(InputError, match="no PDw image in"):
        find_adni(folder, "PDw")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], r"holds no NIfTI image, expected files such as 002_S_0295/.*; found nothing"),
        (["ADNI/002_S_0295/x.dcm"], r"found \.dcm \(1\); unpack archives, and convert DICOM"),
        (["a/scan.nii", "b.nii.gz"],
         r"none of 2 NIfTI files in .* lies as ADNI's do, such as a/scan\.nii; expected 002_S_02"),
        ([place("002_S_0295", "Axial_T2_Star"), place("002_S_0413", "MPRAGE")],
         r"no T2w image in .* but Axial_T2_Star \(1\), MPRAGE \(1\); choose another --modality"),
        ([place("002_S_0295"), place("002_S_0295") + ".gz"],
         r"people with several files of one image in .*: 1, .*I303066\.nii and .*\.gz; keep the"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(touch, names, words) -> None:
    folder = touch(*names)
    with pytest.raises(InputError, match=words) as caught:
        find_adni(folder, "T2w")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
