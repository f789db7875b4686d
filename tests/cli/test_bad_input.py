"""Bad input: exit code 1, one line that names file and remedy, and nothing written."""

import errno
import gzip
import os
import re

import nibabel as nib
import numpy as np
import pytest

from prism_mri.volume import Volume, write_volume


@pytest.fixture
def harmonize(refused, card_folder, out):
    """Harmonize with a sound card; must be refused."""
    card = card_folder / "guys.prism"

    def run(*words):
        return refused(
            "harmonize", *words, "--card", card, "--trust", card_folder / "trust", "--out", out
        )

    return run


@pytest.fixture
def prepare(refused, out):
    """Prepare a site; must be refused."""
    return lambda *words: refused("prepare", *words, out / "site", "--site", "guys")


# --- images ---------------------------------------------------------------------------------------


def change(path, data=None, affine=None):
    """Store other data in an image."""
    image = nib.load(path)
    data = np.asarray(image.dataobj) if data is None else data(np.asarray(image.dataobj))
    nib.save(nib.Nifti1Image(data.astype(np.float32), image.affine), path)


def put_nan(data):
    data = data.copy()
    data[20, 20, 5] = np.nan
    return data


IMAGES = {
    "missing": (lambda path: path.unlink(), "does not exist", "check the path"),
    "not-nifti": (
        lambda path: path.write_bytes(gzip.compress(b"name,age\n" * 99)),
        "not a NIfTI image",
        "convert it",
    ),
    "not-gzip": (
        lambda path: path.write_text("name,age\n" * 99),
        "not a NIfTI image",
        "convert it",
    ),
    "truncated-gzip": (
        lambda path: path.write_bytes(path.read_bytes()[:-3000]),
        "cut short or damaged",
        "copy or export it again",
    ),
    "cut-checksum": (
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        "cut short or damaged",
        "copy or export it again",
    ),
    "4-d": (
        lambda path: change(path, lambda data: np.stack([data, data], axis=3)),
        "4-D",
        "give one 3-D volume",
    ),
    "empty": (lambda path: path.write_bytes(b""), "empty file of 0 bytes", "export it again"),
    "all-zero": (lambda path: change(path, lambda data: data * 0), "all zero", "export it again"),
    "nan": (lambda path: change(path, put_nan), "1 voxels that are NaN", "replace them"),
    "constant": (
        lambda path: change(path, lambda data: data * 0 + 7),
        "constant, 7 everywhere",
        "export it again",
    ),
    "modality-in-sidecar": (
        lambda path: path.with_name("scan.json").write_text('{"SeriesDescription": "T1 MPRAGE"}'),
        "which is T1w, expected T2w",
        "give T2w images or correct the sidecar",
    ),
    "broken-sidecar": (
        lambda path: path.with_name("scan.json").write_text("{"),
        "not valid JSON",
        "correct or remove it",
    ),
    "scalp": (
        lambda path: change(path, lambda data: data + 60),
        "not stripped",
        "--brain-mask",
    ),
    "brain-of-one-value": (
        lambda path: change(path, lambda data: (data > 0) * 5),
        "the brain is constant, 5 everywhere",
        "check image and mask",
    ),
}


@pytest.mark.parametrize("case", IMAGES)
@pytest.mark.parametrize("name", ["harmonize", "prepare"])
def test_a_bad_image_is_refused(scan, request, name, case):
    spoil, fault, remedy = IMAGES[case]
    spoil(scan)
    line = request.getfixturevalue(name)(scan, "--brain-extraction", "none")
    assert str(scan) in line or str(scan.with_name("scan.json")) in line
    assert fault in line
    assert remedy in line


def test_a_folder_without_images_is_refused(harmonize, tmp_path):
    (tmp_path / "empty").mkdir()
    line = harmonize(tmp_path / "empty")
    assert re.search(r"no T2w image in .*/empty; give NIfTI files", line)


def test_zero_slices_left(scan, prepare):
    change(scan, lambda data: data * (np.hypot(*np.indices((40, 44))[:, :, :, None] - 20) < 5))
    line = prepare(scan)
    assert re.search(
        rf"{scan}: no slice has 2000 mm² of brain, the largest has \d+ mm²; check the brain mask",
        line,
    )


def test_a_brain_wider_than_the_grid(scan, harmonize):
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), np.diag([9, 9, 6, 1.0])), scan)
    line = harmonize(scan, "--brain-mask", scan)
    assert re.search(rf"{scan}: the brain is \d+ mm wide .*the grid 256 mm; check the mask", line)


# --- masks ----------------------------------------------------------------------------------------


def write_mask(path, shape=(40, 44, 10), *, value=1, shift=0.0):
    affine = np.diag([3.0, 3.0, 6.0, 1.0])
    affine[0, 3] = shift
    data = np.full(shape, value, np.float32)
    write_volume(path, data, Volume(data, affine))
    return path


@pytest.mark.parametrize(
    ("options", "fault", "remedy"),
    [
        ({"shape": (40, 44, 9)}, r"has shape \(40, 44, 9\), its image \(40, 44, 10\)", "resample"),
        ({"shift": 5.0}, "lies 5 mm off its image", "resample it onto the image"),
        ({"value": 0}, "is empty: no voxel is above 0.5", "give a mask of the brain"),
    ],
)
@pytest.mark.parametrize("name", ["harmonize", "prepare"])
def test_a_mask_that_does_not_fit(scan, tmp_path, request, name, options, fault, remedy):
    mask = write_mask(tmp_path / "mask.nii.gz", **options)
    line = request.getfixturevalue(name)(scan, "--brain-mask", mask)
    assert str(mask) in line
    assert re.search(f"{fault}.*{remedy}", line)


@pytest.mark.parametrize("name", ["harmonize", "prepare"])
def test_a_mask_that_is_missing_or_asked_for_wrongly(scan, tmp_path, request, name):
    run = request.getfixturevalue(name)
    line = run(scan, "--brain-mask", tmp_path / "none.nii.gz")
    assert f"{tmp_path / 'none.nii.gz'} does not exist; check the path" in line
    assert "unknown placeholders ['who']; use {dir}" in run(scan, "--brain-mask", "{who}.nii.gz")
    assert "asks for a session, but" in run(scan, "--brain-mask", "{dir}/{ses}.nii.gz")


# --- output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "call", "words"),
    [
        (errno.ENOSPC, "fsync", "the disk is full; free some space or choose another disk"),
        (errno.EACCES, "replace", "no permission; choose another output folder"),
        (errno.EROFS, "replace", "read-only; choose another output folder"),
    ],
)
@pytest.mark.parametrize("name", ["harmonize", "prepare"])
def test_an_output_that_cannot_be_written(scan, request, monkeypatch, name, number, call, words):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    run = request.getfixturevalue(name)
    monkeypatch.setattr(os, call, fail)
    line = run(scan)
    assert re.search(rf"cannot write .*/out/?.*: .*{words}", line)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", ["harmonize", "prepare"])
def test_an_output_folder_without_write_permission(scan, out, request, name):
    out.chmod(0o500)
    try:
        line = request.getfixturevalue(name)(scan)
    finally:
        out.chmod(0o700)
    assert str(out) in line
    assert "no permission; choose another output folder" in line


def test_an_output_folder_that_is_a_file(scan, refused, card_folder, out):
    card = ("--card", card_folder / "guys.prism", "--trust", card_folder / "trust")
    line = refused("harmonize", scan, *card, "--out", out / "mine.txt")
    assert str(out / "mine.txt") in line
    line = refused("prepare", scan, out / "mine.txt", "--site", "guys")
    assert f"{out / 'mine.txt'} exists already" in line


def test_an_output_that_exists_is_kept(scan, harmonize, prepare, out):
    (out / "scan_desc-harmonized.nii.gz").write_bytes(b"earlier")
    line = harmonize(scan)
    assert f"{out / 'scan_desc-harmonized.nii.gz'} exists already: pass --overwrite" in line
    (out / "site").mkdir()
    assert f"{out / 'site'} exists already; pass --overwrite or choose another" in prepare(scan)
    line = prepare(scan, "--overwrite")
    assert "is no prepared dataset" in line
    assert "choose another folder" in line


def list_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_one_bad_of_two_exits_with_3_and_writes_the_other(
    command, scan, write, card_folder, out, tmp_path
):
    bad = write(tmp_path / "in" / "bad.nii.gz", seed=1)
    bad.write_bytes(bad.read_bytes()[:-100])
    result = command(
        *("harmonize", scan.parent, "--card", card_folder / "guys.prism", "--allow-unsigned"),
        *("--out", out),
    )
    assert result.code == 3
    failed = [line for line in result.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    assert str(bad) in failed[0]
    assert "cut short or damaged; copy or export it again" in failed[0]
    assert result.err.splitlines()[-1] == "prism-mri: 1 of 2 inputs failed"
    assert list_files(out) == [
        "mine.txt",
        "scan_desc-harmonized.json",
        "scan_desc-harmonized.nii.gz",
    ]


def test_one_bad_of_two_prepares_nothing(command, scan, write, out, tmp_path):
    bad = write(tmp_path / "in" / "bad.nii.gz", seed=1)
    bad.write_bytes(bad.read_bytes()[:-100])
    result = command("prepare", scan.parent, out / "site", "--site", "guys")
    assert result.code == 1
    assert f"{bad} is cut short or damaged" in result.err
    assert list_files(out) == ["mine.txt"]


# --- the other commands ---------------------------------------------------------------------------


def test_train_refuses_what_is_not_prepared(refused, tmp_path, out):
    line = refused("train", tmp_path, "--out", out / "model")
    assert f"{tmp_path} is no prepared dataset" in line
    assert "prism-mri prepare" in line
    line = refused("train", tmp_path, "--out", out / "model", "--epochs", -1)
    assert "--epochs must be 0 to 10000 with recipe anchored, got -1" in line
    line = refused("train", tmp_path, "--out", out / "model", "--epochs", 0, "--recipe", "paper")
    assert "--epochs must be 1 to 10000 with recipe paper, got 0" in line
    config = tmp_path / "recipe.toml"
    config.write_text("epochs = -1\nspeed = 3\n")
    line = refused("train", tmp_path, "--out", out / "model", "--config", config)
    assert line.startswith(f"{config}: ")
    assert "epochs: Input should be greater than or equal to 0" in line
    assert "speed: Extra inputs are not permitted" in line


def test_prepare_refuses_impossible_settings(refused, scan, out):
    line = refused("prepare", scan, out / "site", "--site", "Guy's")
    assert 'site name "Guy\'s" is not valid; use 1 to 32 lower-case letters' in line
    line = refused("prepare", scan, out / "s", "--site", "guys", "--validation-fraction", "1.5")
    assert "validation fraction 1.5 is out of range; choose above 0, below 1" in line


def test_publish_and_keygen_refuse(refused, card_folder, tmp_path, out):
    line = refused("publish", tmp_path, "--out", out / "x.prism")
    assert f"{tmp_path} is not a trained model" in line
    assert "prism-mri train" in line
    model = card_folder / "model"
    line = refused("publish", model, "--out", out / "x.prism", "--key", tmp_path / "none.pem")
    assert str(tmp_path / "none.pem") in line
    (out / "guys-private.pem").write_text("mine")
    assert str(out / "guys-private.pem") in refused("keygen", out / "guys")


def test_simulate_and_demo_refuse(refused, out):
    line = refused("simulate", out / "new", "--sites", "nowhere")
    assert "unknown site protocol 'nowhere': choose from guys, hh, iop, adni" in line
    line = refused("simulate", out)
    assert f"{out} exists already: choose another folder or remove it" in line
    line = refused("simulate", out / "new", "--subjects", 0)
    assert "need at least 1 subject" in line
    line = refused("simulate", out / "new", "--anatomies", out)
    assert f"no NIfTI label maps in {out}" in line
    assert f"{out} exists already: remove it or choose" in refused("demo", "--out", out)


def test_evaluate_and_report_refuse(refused, card_folder, out, tmp_path):
    line = refused("report", tmp_path, "--out", out / "report.html")
    assert f"cannot read {tmp_path / 'results.json'}" in line
    assert "prism-mri evaluate" in line
    words = ("evaluate", "travelling", tmp_path, "--card", card_folder / "guys.prism")
    options = ("--prepared", tmp_path, "--out", out / "results", "--allow-unsigned")
    assert f"{tmp_path} is no prepared dataset" in refused(*words, *options)
