"""BIDS names, finding images, sidecars."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import prism_mri
from prism_mri.bids import (
    BidsName,
    check_modality,
    find_images,
    find_other_modality,
    harmonized_name,
    read_sidecar,
    write_dataset_description,
    write_json,
)
from prism_mri.config import MODALITIES
from prism_mri.errors import BidsError, InputError

LABELS = st.text("abcXYZ019", min_size=1, max_size=5)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(inputs: list[Path]) -> list[str]:
    return [image.path.name for image in find_images(inputs, "T2w")]


def test_a_name_is_taken_apart() -> None:
    name = BidsName.parse("sub-01_ses-a_acq-tse_run-2_T2w.nii.gz")
    assert dict(name.entities) == {"sub": "01", "ses": "a", "acq": "tse", "run": "2"}
    assert (name.suffix, name.extension) == ("T2w", ".nii.gz")


def test_entities_are_put_in_the_order_of_the_specification() -> None:
    name = BidsName.parse("sub-01_desc-clean_run-1_ses-2_acq-hh_T2w.nii")
    assert name.filename() == "sub-01_ses-2_acq-hh_run-1_desc-clean_T2w.nii"
    changed = name.with_entities(desc="harmonized", run=None)
    assert changed.filename() == "sub-01_ses-2_acq-hh_desc-harmonized_T2w.nii"


@given(
    labels=st.dictionaries(st.sampled_from(["ses", "acq", "run", "space", "desc"]), LABELS),
    subject=LABELS,
    suffix=st.sampled_from(["T2w", "mask", "dseg"]),
)
def test_building_and_parsing_are_inverse(
    labels: dict[str, str], subject: str, suffix: str
) -> None:
    name = BidsName({"sub": subject, **labels}, suffix, ".nii.gz")
    parsed = BidsName.parse(name.filename())
    assert dict(parsed.entities) == dict(name.entities)
    assert parsed.filename() == name.filename()


@pytest.mark.parametrize(
    "name",
    [
        *("scan.nii.gz", "sub-01.nii.gz", "ses-1_T2w.nii.gz", "sub-_T2w.nii.gz", "sub-1_T2w", ""),
        *("sub-1_sub-2_T2w.nii.gz", "sub-1_run_T2w.nii.gz", "sub-01_T2w brain.nii.gz"),
    ],
)
def test_other_names_are_not_bids(name: str) -> None:
    with pytest.raises(BidsError, match="is not a BIDS name; expected the form sub-"):
        BidsName.parse(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T2w.nii.gz", "sub-01_desc-harmonized_T2w.nii.gz"),
        ("sub-01_ses-b_run-1_T2w.nii", "sub-01_ses-b_run-1_desc-harmonized_T2w.nii"),
        ("sub-01_desc-prepared_T2w.nii.gz", "sub-01_desc-harmonized_T2w.nii.gz"),
        ("scan.nii.gz", "scan_desc-harmonized.nii.gz"),
        ("my.scan.nii", "my.scan_desc-harmonized.nii"),
    ],
)
def test_harmonized_name(name: str, expected: str) -> None:
    assert harmonized_name(Path("folder") / name) == expected


# --- finding --------------------------------------------------------------------------------------


def test_a_bids_dataset_gives_its_raw_images(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "dataset_description.json",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_desc-brain_mask.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_desc-clean_T2w.nii.gz",
        "derivatives/truth/sub-02/anat/sub-02_T2w.nii.gz",
        "sourcedata/sub-03/anat/sub-03_T2w.nii.gz",
        ".git/sub-04_T2w.nii.gz",
    )
    images = find_images([tmp_path], "T2w")
    assert [(image.subject, image.session) for image in images] == [("01", "b"), ("02", None)]
    assert images[0].relative.as_posix() == "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii"
    assert dict(images[0].entities) == {"sub": "01", "ses": "b"}
    assert images[0].is_bids


def test_a_prepared_dataset_gives_its_prepared_images(tmp_path: Path) -> None:
    names = ["sub-1/anat/sub-1_desc-prepared_T2w.nii.gz", "sub-1/anat/sub-1_desc-brain_mask.nii.gz"]
    touch(tmp_path, *names)
    with pytest.raises(InputError, match="no T2w image in"):
        find_images([tmp_path], "T2w")
    touch(tmp_path, "prepared.json")
    assert found([tmp_path]) == ["sub-1_desc-prepared_T2w.nii.gz"]


def test_a_plain_folder_gives_every_image_that_may_be_of_the_modality(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("a_T2W.nii.gz", "b.nii", "deep/er/c-t2.nii.gz"),
        *("a_FLAIR.nii.gz", "a_T1W.nii.gz", "a_T2W_brainmask.nii.gz", "b_mask.nii.gz"),
        *("b_seg.nii.gz", "a_T2W_desc-harmonized.nii.gz", "notes.txt", "b.nii.json"),
    )
    assert found([tmp_path]) == ["a_T2W.nii.gz", "b.nii", "c-t2.nii.gz"]
    assert [image.subject for image in find_images([tmp_path], "T2w")] == ["aT2W", "b", "ct2"]


def test_a_file_is_taken_as_given_and_once(tmp_path: Path) -> None:
    touch(tmp_path, "one.nii.gz", "odd_mask.nii.gz")
    inputs = [tmp_path / "odd_mask.nii.gz", tmp_path / "one.nii.gz", tmp_path / "one.nii.gz"]
    assert found(inputs) == ["odd_mask.nii.gz", "one.nii.gz"]


def test_plain_files_of_one_name_are_different_people(tmp_path: Path) -> None:
    touch(tmp_path, "p1/visit/t2.nii.gz", "p2/visit/t2.nii.gz", "other.nii.gz")
    subjects = [image.subject for image in find_images([tmp_path], "T2w")]
    assert subjects == ["other", "p1visitt2", "p2visitt2"]


def test_inputs_that_do_not_exist_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist: .*one, .*two\.nii"):
        find_images([tmp_path / "one", tmp_path, tmp_path / "two.nii"], "T2w")


# --- modality and sidecars ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sub-1_T1w.nii.gz", "T1w"),
        ("sub-1_FLAIR.nii.gz", "FLAIR"),
        ("scan_flair.nii", "FLAIR"),
        ("scan-MPRAGE.nii.gz", "T1w"),
    ],
)
def test_a_name_of_another_modality_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(BidsError, match=f"is named as {said}, expected T2w"):
        check_modality(tmp_path / name, "T2w")


@pytest.mark.parametrize(
    "sidecar",
    [
        None,
        {},
        {"Modality": "MR", "SeriesDescription": "t2_tse_tra"},
        {"ProtocolName": "PD_T2 dual echo"},
        {"SeriesDescription": "axial brain"},
    ],
)
@pytest.mark.parametrize("name", ["sub-1_T2w", "scan", "t1study"])
def test_an_image_that_may_be_right_is_accepted(
    tmp_path: Path, name: str, sidecar: dict[str, str] | None
) -> None:
    if sidecar is not None:
        write_json(tmp_path / f"{name}.json", sidecar)
    check_modality(tmp_path / f"{name}.nii.gz", "T2w")
    assert read_sidecar(tmp_path / f"{name}.nii.gz") == (sidecar or {})


@pytest.mark.parametrize(
    ("sidecar", "words"),
    [
        ({"SeriesDescription": "T1_MPRAGE_sag"}, "SeriesDescription 'T1_MPRAGE_sag', which is T1w"),
        ({"ProtocolName": "t2_tirm_FLAIR"}, "ProtocolName 't2_tirm_FLAIR', which is FLAIR"),
        ({"Modality": "CT"}, "says Modality 'CT', expected 'MR'"),
    ],
)
def test_a_sidecar_of_another_modality_is_refused(
    tmp_path: Path, sidecar: dict[str, str], words: str
) -> None:
    write_json(tmp_path / "sub-1_T2w.json", sidecar)
    with pytest.raises(BidsError, match=words):
        check_modality(tmp_path / "sub-1_T2w.nii.gz", "T2w")


@pytest.mark.parametrize(
    ("description", "modalities"),
    [
        ("t2_tse_tra", {"T2w"}),
        ("T1_MPRAGE_sag", {"T1w"}),
        ("Ax T1 FSE", {"T1w"}),
        ("PD_T2 dual echo", {"PDw", "T2w"}),
        ("Proton density tra", {"PDw"}),
        ("t2_tirm_FLAIR", {"FLAIR"}),
        ("t2_tirm_tra_dark-fluid", {"FLAIR"}),
        ("Sag CUBE T2FLAIR", {"FLAIR"}),
        ("Ax T1 FLAIR", {"T1w", "FLAIR"}),
        ("Axial T2 Star", set()),
        ("t2*_gre", set()),
        ("T2 start of protocol", {"T2w"}),
        ("dti_64dir", set()),
        ("brain", {"T1w", "T2w", "PDw", "FLAIR"}),
    ],
)
def test_what_a_description_may_mean(
    tmp_path: Path, description: str, modalities: set[str]
) -> None:
    write_json(tmp_path / "scan.json", {"SeriesDescription": description})
    image = tmp_path / "scan.nii.gz"
    assert {each for each in MODALITIES if not find_other_modality(image, each)} == modalities


@pytest.mark.parametrize("modality", MODALITIES)
def test_each_modality_is_found_by_its_name(tmp_path: Path, modality: str) -> None:
    touch(tmp_path / "bids", *(f"sub-1/anat/sub-1_{each}.nii.gz" for each in MODALITIES))
    plain = {"T1w": "t1", "T2w": "T2W", "PDw": "pd", "FLAIR": "flair"}
    touch(tmp_path / "plain", *(f"scan_{word}.nii.gz" for word in plain.values()))
    (image,) = find_images([tmp_path / "bids"], modality)
    assert image.path.name == f"sub-1_{modality}.nii.gz"
    (image,) = find_images([tmp_path / "plain"], modality)
    assert image.path.name == f"scan_{plain[modality]}.nii.gz"
    for other in set(MODALITIES) - {modality}:
        with pytest.raises(BidsError, match=f"named as {modality}, expected {other}"):
            check_modality(image.path, other)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "is not valid JSON"), (b"\xff\xfe", "is not valid JSON"), (b"[1]", "is a JSON list")],
)
def test_a_broken_sidecar_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "sub-1_T2w.json").write_bytes(content)
    with pytest.raises(BidsError, match=words):
        read_sidecar(tmp_path / "sub-1_T2w.nii.gz")


def test_json_is_sorted_and_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"b": 1, "a": "µ"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "µ",\n  "b": 1\n}\n'
    with pytest.raises(InputError, match="exists already"):
        write_json(path, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": float("nan")}, overwrite=True)
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == 1


def test_dataset_description(tmp_path: Path) -> None:
    write_dataset_description(tmp_path / "raw", "A", derivative=False)
    write_dataset_description(
        tmp_path / "new", "B", derivative=True, raw=tmp_path / "raw", description="did it"
    )
    raw = json.loads((tmp_path / "raw" / "dataset_description.json").read_text())
    new = json.loads((tmp_path / "new" / "dataset_description.json").read_text())
    assert raw["DatasetType"] == "raw"
    assert "DatasetLinks" not in raw
    assert new["DatasetType"] == "derivative"
    assert new["GeneratedBy"] == [
        {"Name": "prism-mri", "Version": prism_mri.__version__, "Description": "did it"}
    ]
    assert new["DatasetLinks"] == {"raw": (tmp_path / "raw").as_uri()}
