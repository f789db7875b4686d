"""A head with skull goes through prepare and harmonize without any option for masks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.preprocessing import bet
from prism_mri.volume import Volume, read_mask, read_volume, write_volume

SHAPE, SPACING = (64, 76, 28), (3.0, 3.0, 6.0)


@pytest.fixture
def head(tmp_path, monkeypatch):
    """Write a T2w head; return its path and its brain."""
    pytest.importorskip(bet.PACKAGE)
    quick = replace(bet.SETTINGS["T2w"], first_steps=100, steps=60)
    monkeypatch.setitem(bet.SETTINGS, "T2w", quick)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    axes = [
        (np.arange(n) - (n - 1) / 2) * step / half
        for n, step, half in zip(SHAPE, SPACING, (65, 80, 58), strict=True)
    ]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    rings = [radius < 0.6, radius < 0.93, radius < 1, radius < 1.1, radius < 1.2]
    image = ndimage.gaussian_filter(np.select(rings, [300.0, 400, 800, 40, 450], 5), 0.4)
    noise = np.random.default_rng(2).normal(0, 15, SHAPE)
    data = np.abs(image + noise).astype(np.float32)
    path = tmp_path / "sub-01_T2w.nii.gz"
    write_volume(path, data, Volume(data, np.diag([*SPACING, 1.0])))
    return path, radius < 1


def compute_dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_harmonize(head, card_folder, tmp_path, command):
    path, brain = head
    out = tmp_path / "out"
    options = ["--card", str(card_folder / "guys.prism"), "--trust", str(card_folder / "trust")]
    plain = ["--bias-correction", "none", "--denoising", "none", "--any-modality"]
    done = command("harmonize", path, "--out", out, *options, *plain)
    # The package prints its progress; stdout is for scripts.
    assert (done.code, done.out) == (0, f"{out}/sub-01_desc-harmonized_T2w.nii.gz\n")
    sidecar = json.loads((out / "sub-01_desc-harmonized_T2w.json").read_text())
    assert sidecar["Prism"]["BrainMask"] == "brainextractor 0.3.0"
    mask = read_mask(out / "sub-01_desc-brain_mask.nii.gz", read_volume(path))
    assert compute_dice(mask, brain) > 0.7  # after so few steps; test_bet.py asks for more
    assert not read_volume(out / "sub-01_desc-harmonized_T2w.nii.gz").data[~mask].any()


def test_prepare(head, tmp_path, command):
    path, brain = head
    out = tmp_path / "prepared"
    assert command("prepare", path, out, "--site", "guys").code == 0
    (image,) = json.loads((out / "prepared.json").read_text())["images"]
    assert image["mask_source"] == "brainextractor 0.3.0"
    prepared = read_volume(out / image["image"])
    mask = read_mask(out / image["mask"], prepared)
    share = mask.sum() * np.prod(prepared.spacing_mm) / (brain.sum() * np.prod(SPACING))
    assert 0.5 < share < 1.1


def test_none_refuses_it(head, tmp_path, command):
    words = ["prepare", head[0], tmp_path / "out", "--site", "guys"]
    done = command(*words, "--brain-extraction", "none")
    assert done.code == 1
    assert "or strip the skull first" in done.err
    assert not (tmp_path / "out").exists()
