"""Programs on PATH are taken in order, on a copy without names, and their failures are one line."""

import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from prism_mri.errors import ImageError, InputError, NotStrippedError
from prism_mri.preprocessing import brain_extraction, extraction_programs
from prism_mri.preprocessing.brain_extraction import get_brain_mask
from prism_mri.preprocessing.extraction_programs import PROGRAMS
from prism_mri.volume import Volume, read_volume, write_volume

SHAPE = (40, 44, 20)
AFFINE = np.array([[-4.0, 0, 0, 80], [0, 4.0, 0, -90], [0, 0, 6.0, -60], [0, 0, 0, 1]])


def make_ball(radius: float = 0.8) -> np.ndarray:
    axes = [(np.arange(n) - (n - 1) / 2) / (0.5 * n) for n in SHAPE]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.asarray(np.sqrt(sum(axis**2 for axis in grid)) <= radius)


@pytest.fixture
def head() -> Volume:
    """Brain in air that is not zero."""
    noise = np.random.default_rng(0).uniform(200, 400, SHAPE)
    return Volume(np.where(make_ball(), noise, 10).astype(np.float32), AFFINE)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH beside the system's own, empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    for variable in ("FREESURFER_HOME", "FSLDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return folder


def install(folder: Path, name: str, script: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def write_mask_file(tmp_path: Path, head: Volume, radius: float) -> Path:
    mask = tmp_path / f"mask-{radius}.nii.gz"
    write_volume(mask, make_ball(radius), head, dtype=np.uint8)
    return mask


SCRIPTS = {
    "mri_synthstrip": 'test "$1" = -i && test "$3" = -m && cp {mask} "$4"',
    "synthstrip": 'test "$1" = -i && test "$3" = -m && cp {mask} "$4"',
    "hd-bet": 'test "$3" = -o && cp {mask} "${{4%.nii.gz}}_bet.nii.gz"',
    "bet": 'test "$FSLOUTPUTTYPE" = NIFTI_GZ && cp {mask} "$2_mask.nii.gz"',
}


def test_the_first_program_of_the_order_is_taken(path: Path, tmp_path: Path, head: Volume) -> None:
    sources = {
        "mri_synthstrip": "SynthStrip (version unknown)",
        "synthstrip": "SynthStrip (version unknown)",
        "hd-bet": "HD-BET (version unknown)",
        "bet": "FSL BET (version unknown)",
    }
    assert [name for program in PROGRAMS for name in program.executables] == list(sources)
    for number, (name, script) in enumerate(SCRIPTS.items()):
        mask = write_mask_file(tmp_path, head, 0.5 + 0.1 * number)
        install(path, name, script.format(mask=mask))
    for number, (name, source) in enumerate(sources.items()):
        found = get_brain_mask(head, extraction="auto")
        assert (found.source, found.is_extracted) == (source, True)
        assert np.array_equal(found.mask, make_ball(0.5 + 0.1 * number))
        assert get_brain_mask(head, extraction="bet").source == sources["bet"]
        if name != "bet":
            (path / name).unlink()


def test_versions_are_read_beside_the_program(path: Path, tmp_path: Path, head: Volume) -> None:
    mask = write_mask_file(tmp_path, head, 0.6)
    install(path, "bet", SCRIPTS["bet"].format(mask=mask))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "fslversion").write_text("6.0.7.9\nmore\n")
    assert get_brain_mask(head, extraction="auto").source == "FSL BET 6.0.7.9"
    install(path, "mri_synthstrip", SCRIPTS["mri_synthstrip"].format(mask=mask))
    (tmp_path / "build-stamp.txt").write_text("freesurfer-7.4.1\n")
    assert get_brain_mask(head, extraction="auto").source == "SynthStrip freesurfer-7.4.1"


def test_the_program_sees_no_name_and_leaves_nothing(
    path: Path, tmp_path: Path, head: Volume
) -> None:
    write_volume(tmp_path / "sub-doe_T2w.nii.gz", head.data, head)
    volume = read_volume(tmp_path / "sub-doe_T2w.nii.gz")
    volume.header["descrip"] = b"Doe^Jane"
    mask = write_mask_file(tmp_path, head, 0.6)
    keep = tmp_path / "seen.nii.gz"
    install(path, "mri_synthstrip", f'echo "$@" > {tmp_path}/args; cp "$2" {keep}; cp {mask} "$4"')
    before = {*tmp_path.iterdir()}
    get_brain_mask(volume, extraction="auto")
    assert {*tmp_path.iterdir()} - before == {keep, tmp_path / "args"}
    assert "doe" not in (tmp_path / "args").read_text()
    seen = read_volume(keep)
    assert np.array_equal(seen.data, volume.data)
    assert bytes(seen.header["descrip"]).strip(b"\0") == b""


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (
            "echo first >&2; echo 'no licence file' >&2; echo >&2; exit 3",
            r"failed with exit code 3: no licence file; give a mask",
        ),
        ("exit 1", r"failed with exit code 1: no message; give a mask"),
        ("exit 0", r"ended without a mask; give a mask with --brain-mask"),
        ('echo text > "$4"', r"left a mask that cannot be used: brain_mask\.nii\.gz is .*; give"),
        ("kill -9 $$", r"failed with exit code -9"),
    ],
)
def test_a_failure_is_one_line(
    path: Path, tmp_path: Path, head: Volume, script: str, fault: str
) -> None:
    program = install(path, "mri_synthstrip", script)
    with pytest.raises(InputError, match=fault) as caught:
        get_brain_mask(head, extraction="auto")
    text = str(caught.value)
    assert text.startswith(f"SynthStrip ({program}) ")
    assert "--brain-extraction" in text
    assert "\n" not in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["bin"]


def test_a_program_that_hangs_is_stopped(
    path: Path, tmp_path: Path, head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction_programs, "TIMEOUT_SECONDS", 0.2)
    install(path, "bet", "exec sleep 20")
    with pytest.raises(InputError, match=r"FSL BET .* was stopped after 0\.2 seconds; give a mask"):
        get_brain_mask(head, extraction="bet")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bin"]


def test_a_program_that_cannot_start(path: Path, head: Volume) -> None:
    program = path / "bet"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(InputError, match=r"FSL BET .* cannot be started: No such file"):
        get_brain_mask(head, extraction="bet")


def test_a_mask_of_another_grid_is_refused(path: Path, tmp_path: Path, head: Volume) -> None:
    other = Volume(head.data[:-1], head.affine)
    write_volume(tmp_path / "other.nii.gz", make_ball()[:-1], other, dtype=np.uint8)
    install(path, "bet", f'cp {tmp_path}/other.nii.gz "$2_mask.nii.gz"')
    with pytest.raises(InputError, match=r"cannot be used: brain_mask.nii.gz has shape"):
        get_brain_mask(head, extraction="bet")


def test_nothing_runs_for_a_given_mask_or_a_stripped_image(path: Path, head: Volume) -> None:
    for name in SCRIPTS:
        install(path, name, "exit 9")
    given = get_brain_mask(head, make_ball(0.7), extraction="auto")
    assert (given.source, given.is_extracted) == ("given", False)
    assert np.array_equal(given.mask, make_ball(0.7))
    stripped = Volume(np.where(make_ball(), head.data, np.float32(0)), AFFINE)
    found = get_brain_mask(stripped, extraction="auto")
    assert (found.source, found.is_extracted) == ("nonzero voxels", False)
    assert np.array_equal(found.mask, make_ball())
    assert found.warnings == ()
    with pytest.raises(ImageError, match="mask is empty"):
        get_brain_mask(head, np.zeros(SHAPE, bool), extraction="auto")


def test_none_refuses_a_head_and_names_the_option(path: Path, head: Volume) -> None:
    install(path, "bet", "exit 9")
    with pytest.raises(NotStrippedError, match=r"--brain-mask, .* --brain-extraction auto"):
        get_brain_mask(head, extraction="none")


def test_without_any_program_the_package_is_asked_for(
    path: Path, head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prism_mri.preprocessing.bet.PACKAGE", "no-such-package")
    for extraction in ("auto", "bet"):
        with pytest.raises(InputError, match=r"pip install 'prism-mri\[bet\]', or give a mask"):
            get_brain_mask(head, extraction=extraction)


def test_without_any_program_the_package_is_taken_for_the_modality(
    path: Path, head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fake(volume: Volume, modality: str) -> np.ndarray:
        asked.append(modality)
        return make_ball()

    monkeypatch.setattr(brain_extraction, "extract_by_bet", fake)
    monkeypatch.setattr(brain_extraction, "describe_bet", lambda: "brainextractor 9")
    found = get_brain_mask(head, extraction="auto", modality="FLAIR")
    assert (found.source, asked) == ("brainextractor 9", ["FLAIR"])
