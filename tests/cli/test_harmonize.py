"""Which images and models ``prism-mri harmonize`` takes for a card."""

import json

import pytest

T1W = (200, 500, 700)


@pytest.fixture
def t1w(write, tmp_path):
    """A brain with the contrast of T1w and a name that says nothing."""
    return write(tmp_path / "t1w" / "scan.nii.gz", levels=T1W)


@pytest.fixture
def card(card_folder):
    return ("--card", card_folder / "guys.prism", "--trust", card_folder / "trust")


def read_warnings(out):
    return json.loads((out / "scan_desc-harmonized.json").read_text())["Prism"]["Warnings"]


def test_an_image_of_another_modality_is_refused_by_its_tissues(refused, card, t1w, out):
    line = refused("harmonize", t1w, *card, "--out", out)
    assert line.startswith(f"{t1w}: tissues are not in the order of T2w (CSF ")
    assert line.endswith("give T2w images, or pass --any-modality")


def test_an_image_of_another_modality_is_refused_by_its_name(refused, card, t1w, out):
    named = t1w.rename(t1w.with_name("scan_T1w.nii.gz"))
    line = refused("harmonize", named, *card, "--out", out)
    assert f"{named} is named as T1w, expected T2w" in line
    assert line.endswith("or pass --any-modality")


def test_any_modality_harmonizes_it_with_a_warning(command, card, t1w, out):
    result = command("harmonize", t1w, *card, "--out", out, "--any-modality")
    assert (result.code, result.out) == (0, f"{out / 'scan_desc-harmonized.nii.gz'}\n")
    (line,) = (line for line in read_warnings(out) if line.startswith("tissues are not"))
    assert f"image 1 of 1: {line}" in result.err


def test_images_declared_of_another_modality_than_the_cards_are_refused(refused, card, scan, out):
    line = refused("harmonize", scan, *card, "--out", out, "--modality", "FLAIR")
    assert line == (
        "card of guys is for T2w, images or model are FLAIR: take a card of that modality, or "
        "pass --any-modality"
    )


def test_images_declared_of_the_cards_modality_are_taken(command, card, scan, out):
    result = command("harmonize", scan, *card, "--out", out, "--modality", "T2w")
    assert result.code == 0
    assert not any(line.startswith("tissues are not") for line in read_warnings(out))


def test_an_anchored_model_of_this_translator_changes_nothing(
    command, card_folder, card, scan, out
):
    command("harmonize", scan, *card, "--out", out / "without")
    result = command("harmonize", scan, *card, "--out", out, "--model", card_folder / "model")
    assert result.code == 0
    name = "scan_desc-harmonized.nii.gz"
    assert (out / name).read_bytes() == (out / "without" / name).read_bytes()
