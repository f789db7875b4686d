"""Heads are extracted on the way, the sidecar says by what, and the mask lies beside the result."""

import json

import numpy as np
import pytest

from prism_mri.errors import ImageError, InputError
from prism_mri.harmonize import HarmonizeOptions, harmonize_inputs
from prism_mri.preprocessing import brain_extraction
from prism_mri.volume import read_mask, read_volume, write_volume


@pytest.fixture
def head(brain_with, tmp_path):
    """Write a head with its brain mask elsewhere; return both paths."""
    brain = brain_with()
    scan, mask = tmp_path / "sub-01_T2w.nii.gz", tmp_path / "given.nii.gz"
    write_volume(scan, np.where(brain.mask, brain.volume.data, 60).astype(np.float32), brain.volume)
    write_volume(mask, brain.mask, brain.volume, dtype=np.uint8)
    return scan, mask


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program on PATH that runs a line of shell."""

    def install(line):
        path = tmp_path / "bin" / "mri_synthstrip"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
        monkeypatch.delenv("FREESURFER_HOME", raising=False)

    return install


@pytest.fixture
def harmonize(card, translator, tmp_path):
    def run(scan, out="out", **options):
        return harmonize_inputs(
            [scan],
            tmp_path / out,
            card=card,
            translator=translator,
            options=HarmonizeOptions(**options),
        )

    return run


def read_prism(path):
    text = path.with_name(path.name.replace(".nii.gz", ".json")).read_text()
    return json.loads(text)["Prism"]


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_mask_is_written_and_the_result_is_that_of_the_same_mask_given(
    harmonize, head, program, tmp_path
):
    scan, mask = head
    program(f'cp {mask} "$4"')
    (path,) = harmonize(scan, extraction="auto")
    assert list_names(tmp_path / "out") == [
        "sub-01_desc-brain_mask.json",
        "sub-01_desc-brain_mask.nii.gz",
        "sub-01_desc-harmonized_T2w.json",
        "sub-01_desc-harmonized_T2w.nii.gz",
    ]
    prism = read_prism(path)
    source = "SynthStrip (version unknown)"
    assert (prism["BrainMask"], prism["BrainExtraction"]) == (source, "auto")
    volume = read_volume(scan)
    written = read_mask(tmp_path / "out" / "sub-01_desc-brain_mask.nii.gz", volume)
    assert np.array_equal(written, read_mask(mask, volume))
    sidecar = json.loads((tmp_path / "out" / "sub-01_desc-brain_mask.json").read_text())
    assert sidecar == {"Type": "Brain", "MaskSource": source, "Sources": ["sub-01_T2w.nii.gz"]}

    (given,) = harmonize(scan, "given", brain_mask=str(mask), extraction="auto")
    assert read_prism(given)["BrainMask"] == "given"
    assert "sub-01_desc-brain_mask.nii.gz" not in list_names(tmp_path / "given")
    assert given.read_bytes() == path.read_bytes()


def test_a_stripped_image_has_no_mask_written(harmonize, brain_with, program, tmp_path):
    program("exit 9")
    brain = brain_with()
    write_volume(tmp_path / "scan.nii.gz", brain.volume.data, brain.volume)
    (path,) = harmonize(tmp_path / "scan.nii.gz", extraction="auto")
    assert read_prism(path)["BrainMask"] == "nonzero voxels"
    assert len(list_names(tmp_path / "out")) == 2


def test_outside_keep_keeps_the_scalp_of_an_extracted_head(harmonize, head, program):
    scan, mask = head
    program(f'cp {mask} "$4"')
    (path,) = harmonize(scan, extraction="auto", outside="keep")
    outside = ~read_mask(mask, read_volume(scan))
    assert (read_volume(path).data[outside] > 0).all()


def test_a_mask_that_stands_there_is_not_replaced(harmonize, head, program, tmp_path):
    scan, mask = head
    program(f'cp {mask} "$4"')
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "sub-01_desc-brain_mask.nii.gz"
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"desc-brain_mask\.nii\.gz exists already.*--overwrite"):
        harmonize(scan, extraction="auto")
    assert (list_names(tmp_path / "out"), mine.read_bytes()) == ([mine.name], b"mine")


def test_a_failure_leaves_nothing(harmonize, head, program, tmp_path):
    program("echo out of memory >&2; exit 137")
    with pytest.raises(InputError, match=r"exit code 137: out of memory; give a mask"):
        harmonize(head[0], extraction="auto")
    assert list((tmp_path / "out").glob("*")) == []
    with pytest.raises(ImageError, match="--brain-extraction auto"):
        harmonize(head[0], extraction="none")


def test_the_package_is_asked_with_the_modality_of_the_card(
    harmonize, head, brain_with, tmp_path, monkeypatch
):
    asked = []

    def fake(volume, modality):
        asked.append(modality)
        return read_mask(head[1], volume)

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(brain_extraction, "extract_by_bet", fake)
    monkeypatch.setattr(brain_extraction, "describe_bet", lambda: "brainextractor 9")
    (path,) = harmonize(head[0], extraction="auto")
    assert (asked, read_prism(path)["BrainMask"]) == (["T2w"], "brainextractor 9")
