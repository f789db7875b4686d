"""Harmonizing files: names, geometry, sidecars, and what is refused before and after the work."""

import errno
import hashlib
import json
import logging
import os

import nibabel as nib
import numpy as np
import pytest
import torch

import prism_mri
from prism_mri.errors import BidsError, CompatibilityError, ImageError, InputError, PartialFailure
from prism_mri.harmonize import HarmonizeOptions, harmonize_inputs, harmonize_volume
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.volume import read_volume, write_volume


@pytest.fixture
def write(brain_with):
    """Write a brain; return where."""

    def run(path, *, sidecar=None, mask=None, **options):
        brain = brain_with(**options)
        data = brain.volume.data
        if mask is not None:
            write_volume(mask, brain.mask, brain.volume, dtype=np.uint8)
            data = np.where(brain.mask, data, 60).astype(np.float32)
        write_volume(path, data, brain.volume)
        if sidecar is not None:
            path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(sidecar))
        return path

    return run


@pytest.fixture
def harmonize(card, translator, tmp_path):
    """Harmonize into ``out``; return the written paths."""

    def run(*inputs, out=None, use=card, progress=None, **options):
        return harmonize_inputs(
            list(inputs),
            tmp_path / "out" if out is None else out,
            card=use,
            translator=translator,
            options=HarmonizeOptions(**options),
            **({} if progress is None else {"progress": progress}),
        )

    return run


def list_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read_sidecar(path):
    return json.loads(path.with_name(path.name.removesuffix(".nii.gz") + ".json").read_text())


def test_a_plain_file_gets_a_volume_and_a_sidecar(harmonize, write, card, translator, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    (path,) = harmonize(scan)
    assert path == tmp_path / "out" / "scan_desc-harmonized.nii.gz"
    assert list_files(tmp_path / "out") == [
        "scan_desc-harmonized.json",
        "scan_desc-harmonized.nii.gz",
    ]
    volume = read_volume(scan)
    expected = harmonize_volume(volume, volume.data != 0, card, translator.networks.anatomy_encoder)
    np.testing.assert_array_equal(read_volume(path).data, expected.data)
    sidecar = read_sidecar(path)
    prism = sidecar["Prism"]
    assert sidecar["Sources"] == ["scan.nii.gz"]
    assert sidecar["SkullStripped"] is True
    assert sidecar["GeneratedBy"] == [{"Name": "prism-mri", "Version": prism_mri.__version__}]
    assert (prism["Site"], prism["CardDigest"], prism["CardSigner"]) == ("guys", "ef" * 32, None)
    assert prism["AnatomyDigest"] == translator.digest
    assert (prism["Style"], prism["Seed"]) == ("uniform", None)
    assert prism["StyleVector"] == [0.5, -1.0, 2.0]
    assert prism["TargetIntensityScale"] == 200.0
    assert prism["SourceIntensityScale"] == pytest.approx(expected.scale)
    assert prism["Warnings"] == list(expected.warnings)
    assert prism["Warnings"][0].startswith("the brain mask holds")
    assert prism["TorchVersion"] == torch.__version__
    assert prism["Notice"] == "For research, not for diagnosis."


def test_the_geometry_is_the_inputs(harmonize, write, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    image = nib.load(scan)
    turn = np.array([[0, -1, 0.05, 7], [1, 0, 0, -4], [0, -0.05, 4, 30], [0, 0, 0, 1.0]])
    turned = nib.Nifti1Image(np.asarray(image.dataobj)[:, ::-1], turn)
    turned.header.set_data_dtype(np.int16)
    turned.set_qform(turn, code=1, strip_shears=True)
    turned.set_sform(turn, code=2)
    turned.header.set_xyzt_units("mm", "sec")
    turned.header["descrip"] = b"Doe^Jane"
    nib.save(turned, tmp_path / "turned.nii")
    (path,) = harmonize(tmp_path / "turned.nii")
    assert path.name == "turned_desc-harmonized.nii"
    written = nib.load(path)
    before, after = nib.load(tmp_path / "turned.nii").header, written.header
    for field in ("dim", "pixdim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z"):
        np.testing.assert_array_equal(after[field], before[field], err_msg=field)
    assert after.get_xyzt_units() == ("mm", "sec")
    assert after.get_data_dtype() == np.float32
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    assert b"Doe" not in path.read_bytes()


def test_the_same_input_gives_the_same_bytes(harmonize, write, tmp_path):
    scan = write(tmp_path / "scan.nii.gz", spacing_mm=(0.8, 0.8, 4.0))
    for out in ("one", "two"):
        harmonize(scan, out=tmp_path / out)
    for name in list_files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_input_is_not_touched(harmonize, write, tmp_path):
    scan = write(tmp_path / "in" / "scan.nii.gz", sidecar={"EchoTime": 0.1})
    before = {path.name: path.read_bytes() for path in scan.parent.iterdir()}
    harmonize(scan, out=scan.parent)
    after = {path.name: path.read_bytes() for path in scan.parent.iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == 4


def test_a_bids_dataset_becomes_a_bids_derivative(harmonize, write, tmp_path):
    raw = tmp_path / "raw"
    (raw / "sub-01" / "anat").mkdir(parents=True)
    sidecar = {"EchoTime": 0.1, "PatientName": "Doe", "RepetitionTime": "long"}
    write(raw / "sub-01" / "anat" / "sub-01_acq-x_T2w.nii.gz", sidecar=sidecar)
    write(raw / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_run-1_T2w.nii.gz", seed=2)
    write(raw / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_T1w.nii.gz", seed=3)
    (raw / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.9.0"}')
    steps = []
    paths = harmonize(raw, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    assert list_files(tmp_path / "out") == [
        "dataset_description.json",
        "sub-01/anat/sub-01_acq-x_desc-harmonized_T2w.json",
        "sub-01/anat/sub-01_acq-x_desc-harmonized_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_desc-harmonized_T2w.json",
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_desc-harmonized_T2w.nii.gz",
    ]
    content = read_sidecar(paths[0])
    assert content["Sources"] == ["bids:raw:sub-01/anat/sub-01_acq-x_T2w.nii.gz"]
    assert content["SourceEchoTime"] == 0.1
    assert "Doe" not in json.dumps(content)
    assert "SourceRepetitionTime" not in content
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert (description["Name"], description["DatasetType"]) == ("Harmonized to guys", "derivative")
    assert description["DatasetLinks"] == {"raw": raw.as_uri()}


def test_a_prepared_dataset_can_be_harmonized(harmonize, write, tmp_path, card):
    for person in (1, 2):
        name = f"sub-0{person}"
        write(tmp_path / "raw" / name / "anat" / f"{name}_T2w.nii.gz", seed=person)
    prepare_site([tmp_path / "raw"], tmp_path / "p", site="hh", contract=card.manifest.contract)
    paths = harmonize(tmp_path / "p")
    assert [path.name for path in paths] == [
        f"sub-0{person}_desc-harmonized_T2w.nii.gz" for person in (1, 2)
    ]


def test_results_in_the_input_folder_are_not_harmonized_again(harmonize, write, tmp_path):
    write(tmp_path / "in" / "a.nii.gz")
    harmonize(tmp_path / "in", out=tmp_path / "in" / "out")
    write(tmp_path / "in" / "b.nii.gz")
    paths = harmonize(tmp_path / "in", out=tmp_path / "in" / "out", overwrite=True)
    assert [path.name for path in paths] == [
        "a_desc-harmonized.nii.gz",
        "b_desc-harmonized.nii.gz",
    ]


def test_a_sample_is_named_with_its_seed_and_repeats(harmonize, write, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    digests = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        (path,) = harmonize(scan, out=tmp_path / out, style="sample", seed=seed)
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        prism = read_sidecar(path)["Prism"]
        assert (prism["Style"], prism["Seed"]) == ("sample", seed)
    assert digests[0] == digests[1] != digests[2]


def test_every_image_of_a_run_gets_a_sample_of_its_own(harmonize, write, tmp_path):
    scans = [write(tmp_path / "in" / name) for name in ("a.nii.gz", "b.nii.gz")]
    both = harmonize(*scans, out=tmp_path / "both", style="sample")
    (alone,) = harmonize(scans[1], out=tmp_path / "alone", style="sample")
    first, second, again = (read_sidecar(path)["Prism"]["StyleVector"] for path in (*both, alone))
    assert first != second == again


def test_sidecar_fields_that_are_no_finite_numbers_are_left_out(harmonize, write, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    scan.with_name("scan.json").write_text(
        '{"EchoTime": NaN, "RepetitionTime": true, "SliceThickness": 5, "PatientName": "secret"}'
    )
    (path,) = harmonize(scan)
    sidecar = read_sidecar(path)
    assert sidecar["SourceSliceThickness"] == 5
    assert not {"SourceEchoTime", "SourceRepetitionTime"} & set(sidecar)
    assert "secret" not in json.dumps(sidecar)


def test_a_bad_mask_pattern_is_refused_before_any_image(harmonize, write, tmp_path):
    scans = [write(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")]
    with pytest.raises(InputError, match="foo"):
        harmonize(*scans, brain_mask="{foo}.nii.gz")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(harmonize, write, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match="is a file"):
        harmonize(scan, out=scan)


def test_warnings_are_logged_without_naming_anybody(harmonize, write, tmp_path, caplog):
    scan = write(tmp_path / "secret-name.nii.gz")
    with caplog.at_level(logging.INFO):
        (path,) = harmonize(scan)
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [
        f"image 1 of 1: {warning}" for warning in read_sidecar(path)["Prism"]["Warnings"]
    ]
    assert "secret" not in caplog.text
    assert str(tmp_path) not in caplog.text


@pytest.mark.parametrize("outside", ["zero", "keep"])
def test_outside_a_given_mask_stands_zero_or_the_rescaled_source(
    harmonize, write, tmp_path, outside
):
    scan = write(tmp_path / "scan.nii.gz", mask=tmp_path / "mask.nii.gz")
    (path,) = harmonize(scan, brain_mask=str(tmp_path / "mask.nii.gz"), outside=outside)
    inside = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj) > 0
    data, content = read_volume(path).data, read_sidecar(path)
    (stripped,) = harmonize(write(tmp_path / "stripped.nii.gz"))
    np.testing.assert_array_equal(data[inside], read_volume(stripped).data[inside])
    scale = content["Prism"]["SourceIntensityScale"]
    expected = 0 if outside == "zero" else 60 * 200.0 / scale
    np.testing.assert_allclose(data[~inside], expected, rtol=1e-5)
    assert content["SkullStripped"] is (outside == "zero")
    assert (content["Prism"]["BrainMask"], content["Prism"]["Outside"]) == ("given", outside)


def test_every_image_finds_its_mask_by_a_pattern(harmonize, write, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        write(tmp_path / f"{name}.nii.gz", seed=seed, mask=tmp_path / "masks" / f"{name}_m.nii.gz")
    pattern = str(tmp_path / "masks" / "{stem}_m.nii.gz")
    paths = harmonize(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", brain_mask=pattern)
    for path, name in zip(paths, "ab", strict=True):
        mask = np.asarray(nib.load(tmp_path / "masks" / f"{name}_m.nii.gz").dataobj) > 0
        assert ((read_volume(path).data > 0) == mask).all()


def test_an_image_with_background_and_no_mask_is_refused_by_name(harmonize, write, tmp_path):
    scan = write(tmp_path / "scan.nii.gz", mask=tmp_path / "mask.nii.gz")
    with pytest.raises(ImageError, match=r"scan\.nii\.gz: the image is not stripped.*--brain-mask"):
        harmonize(scan)
    assert not (tmp_path / "out").exists()


# --- refusals -------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unless_asked(harmonize, write, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    (path,) = harmonize(scan)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"exists already: pass --overwrite or choose another"):
        harmonize(scan, style="sample")
    path.unlink()
    with pytest.raises(InputError, match="exists already"):
        harmonize(scan, style="sample")
    assert not path.exists()
    harmonize(scan, overwrite=True)
    assert path.read_bytes() == before
    harmonize(scan, overwrite=True, style="image")
    assert path.read_bytes() != before
    assert read_sidecar(path)["Prism"]["Style"] == "image"


def test_a_dataset_is_not_harmonized_into_itself(harmonize, write, tmp_path):
    raw = tmp_path / "raw"
    write(raw / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    (raw / "dataset_description.json").write_text('{"Name": "mine"}')
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"raw is the dataset to harmonize: choose another"):
            harmonize(raw, out=raw, overwrite=overwrite)
    assert list_files(raw) == ["dataset_description.json", "sub-01/anat/sub-01_T2w.nii.gz"]


def test_a_description_that_stands_is_not_replaced_unless_asked(harmonize, write, tmp_path):
    write(tmp_path / "raw" / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    description = tmp_path / "out" / "dataset_description.json"
    description.parent.mkdir()
    description.write_text('{"Name": "other"}')
    harmonize(tmp_path / "raw")
    assert description.read_text() == '{"Name": "other"}'
    harmonize(tmp_path / "raw", overwrite=True)
    assert json.loads(description.read_text())["Name"] == "Harmonized to guys"


def test_two_inputs_for_one_output_are_refused(harmonize, write, tmp_path):
    first, second = (write(tmp_path / name / "scan.nii.gz") for name in "ab")
    with pytest.raises(InputError, match=r"several inputs would be written to .*one at a time"):
        harmonize(first, second)
    assert not (tmp_path / "out").exists()


def test_a_card_of_another_anatomy_space_is_refused_before_any_work(
    harmonize, write, card_with, tmp_path
):
    scan = write(tmp_path / "scan.nii.gz")
    with pytest.raises(
        CompatibilityError, match=r"card of guys is for anatomy encoder 000000000000…"
    ):
        harmonize(scan, use=card_with(anatomy_digest="0" * 64))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "sidecar"),
    [
        ("sub-01_T1w.nii.gz", None),
        ("scan.nii.gz", {"SeriesDescription": "MPRAGE sag"}),
        ("scan.nii.gz", {"Modality": "CT"}),
    ],
)
def test_another_modality_is_refused(harmonize, write, tmp_path, name, sidecar):
    scan = write(tmp_path / name, sidecar=sidecar)
    with pytest.raises(BidsError, match=rf"{name}.*; give"):
        harmonize(scan)
    assert not (tmp_path / "out").exists()


# --- failures on the way --------------------------------------------------------------------------


def spoil(path):
    path.write_bytes(path.read_bytes()[:-200])
    return path


def test_one_bad_input_of_two_leaves_the_other_written(harmonize, write, tmp_path):
    good, bad = (write(tmp_path / f"{name}.nii.gz") for name in ("good", "bad"))
    with pytest.raises(PartialFailure) as caught:
        harmonize(spoil(bad), good)
    assert caught.value.done == 1
    (failure,) = caught.value.failures
    assert failure.startswith(f"{bad} is cut short or damaged")
    assert str(caught.value) == "1 of 2 inputs failed"
    assert list_files(tmp_path / "out") == [
        "good_desc-harmonized.json",
        "good_desc-harmonized.nii.gz",
    ]


def test_what_was_written_beside_a_failure_is_described_too(harmonize, write, tmp_path):
    anat = [tmp_path / "raw" / f"sub-0{n}" / "anat" / f"sub-0{n}_T2w.nii.gz" for n in (1, 2)]
    spoil(write(anat[0]))
    write(anat[1])
    with pytest.raises(PartialFailure):
        harmonize(tmp_path / "raw")
    assert (tmp_path / "out" / "dataset_description.json").is_file()


def test_all_bad_inputs_are_named_and_nothing_is_written(harmonize, write, tmp_path):
    first, second = (spoil(write(tmp_path / f"{name}.nii.gz")) for name in "ab")
    with pytest.raises(InputError, match="all 2 inputs failed") as caught:
        harmonize(first, second)
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_failure_that_names_no_file_is_given_its_name(harmonize, write, tmp_path):
    wide = write(tmp_path / "wide.nii.gz", spacing_mm=(2.5, 2.5, 4.0))
    with pytest.raises(ImageError, match=r"wide\.nii\.gz: the brain is .* mm wide"):
        harmonize(wide)
    with pytest.raises(PartialFailure) as caught:
        harmonize(wide, write(tmp_path / "good.nii.gz"))
    assert caught.value.failures[0].startswith(f"{wide}: the brain is")


def fill_disk_at(monkeypatch, number):
    """Let the n-th file written from now on meet a full disk."""
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_leaves_nothing_half_written(harmonize, write, tmp_path, monkeypatch, number):
    scan = write(tmp_path / "scan.nii.gz")
    fill_disk_at(monkeypatch, number)
    with pytest.raises(InputError, match=r"cannot write .*scan_desc-harmonized.*the disk is full"):
        harmonize(scan)
    assert list_files(tmp_path / "out") == []


def test_a_disk_that_fills_between_two_images_keeps_the_first(
    harmonize, write, tmp_path, monkeypatch
):
    first, second = write(tmp_path / "a.nii.gz"), write(tmp_path / "b.nii.gz")
    fill_disk_at(monkeypatch, 3)
    with pytest.raises(PartialFailure, match="1 of 2 inputs failed"):
        harmonize(first, second)
    assert list_files(tmp_path / "out") == ["a_desc-harmonized.json", "a_desc-harmonized.nii.gz"]


def test_an_interruption_leaves_whole_files_alone(harmonize, write, tmp_path, monkeypatch):
    scans = [write(tmp_path / f"{name}.nii.gz") for name in "ab"]

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harmonize(*scans, progress=interrupt)
    assert list_files(tmp_path / "out") == ["a_desc-harmonized.json", "a_desc-harmonized.nii.gz"]
