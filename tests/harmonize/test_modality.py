"""A card is for one modality: what name, sidecar and image say, and how to go on in spite of it."""

import itertools
import json
import logging

import numpy as np
import pytest
import torch

from prism_mri.config import MODALITIES, PreprocessingContract
from prism_mri.errors import BidsError, CompatibilityError, PartialFailure
from prism_mri.harmonize import HarmonizeOptions, harmonize_inputs
from prism_mri.volume import read_volume, write_volume

WRONG = [(image, card) for image, card in itertools.permutations(MODALITIES, 2)]


@pytest.fixture
def card_for(card_with, card):
    """Make a card of a modality, whose contract is that of the small one otherwise."""

    def make(modality, **changes):
        intensity = PreprocessingContract.for_modality(modality)
        contract = intensity.model_copy(
            update={"shape": card.manifest.contract.shape, "min_brain_area_mm2": 150.0}
        )
        return card_with(modality=modality, contract=contract, **changes)

    return make


@pytest.fixture
def write(brain_with, tmp_path):
    """Write a brain of a modality; return where."""

    def run(modality, name="scan.nii.gz", sidecar=None):
        brain = brain_with(modality=modality)
        path = tmp_path / "in" / name
        write_volume(path, brain.volume.data, brain.volume)
        if sidecar is not None:
            path.with_name(name.removesuffix(".nii.gz") + ".json").write_text(json.dumps(sidecar))
        return path

    return run


@pytest.fixture
def harmonize(translator, tmp_path):
    """Harmonize into ``out``; return the written paths."""

    def run(inputs, card, **options):
        return harmonize_inputs(
            inputs,
            tmp_path / "out",
            card=card,
            translator=translator,
            options=HarmonizeOptions(**options),
        )

    return run


def read_prism(path):
    return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())["Prism"]


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_image_of_the_cards_modality_is_harmonized(harmonize, write, card_for, modality):
    (path,) = harmonize([write(modality)], card_for(modality))
    prism = read_prism(path)
    assert (prism["Modality"], prism["AnyModality"]) == (modality, False)
    assert not any(line.startswith("tissues are not") for line in prism["Warnings"])


@pytest.mark.parametrize(("image", "modality"), WRONG)
def test_an_image_of_another_modality_is_refused_before_anything_is_written(
    harmonize, write, card_for, tmp_path, image, modality
):
    with pytest.raises(CompatibilityError) as caught:
        harmonize([write(image)], card_for(modality))
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'in' / 'scan.nii.gz'}: tissues are not in the order of")
    assert f"it looks like {image}: give {modality} images, or pass --any-modality" in line
    assert "\n" not in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("image", "modality"), WRONG)
def test_any_modality_makes_a_warning_of_it(harmonize, write, card_for, image, modality):
    (path,) = harmonize([write(image)], card_for(modality), any_modality=True)
    prism = read_prism(path)
    assert prism["AnyModality"] is True
    (line,) = (line for line in prism["Warnings"] if line.startswith("tissues are not"))
    assert f"order of {modality}" in line
    assert read_volume(path).data.max() > 0


@pytest.mark.parametrize(
    ("name", "sidecar", "said"),
    [
        ("sub-01_T1w.nii.gz", None, "is named as T1w"),
        ("scan_pd.nii.gz", None, "is named as PDw"),
        ("scan.nii.gz", {"SeriesDescription": "t2_tirm_tra_dark-fluid"}, "which is FLAIR"),
        ("scan.nii.gz", {"Modality": "CT"}, "says Modality 'CT'"),
    ],
)
def test_name_and_sidecar_are_overridden_too(
    harmonize, write, card, tmp_path, caplog, name, sidecar, said
):
    scan = write("T2w", name, sidecar)
    with pytest.raises(BidsError, match=rf"{said}.*, or pass --any-modality") as caught:
        harmonize([scan], card)
    assert str(caught.value).count(str(scan)) == 1
    assert not (tmp_path / "out").exists()
    with caplog.at_level(logging.WARNING):
        (path,) = harmonize([scan], card, any_modality=True)
    assert read_prism(path)["Warnings"][0] == "name or sidecar say that it is no T2w image"
    assert "image 1 of 1: name or sidecar say that it is no T2w image" in caplog.messages
    assert "scan" not in caplog.text


def test_a_broken_sidecar_is_refused_all_the_same(harmonize, write, card):
    scan = write("T2w")
    scan.with_name("scan.json").write_text("{")
    with pytest.raises(BidsError, match="is not valid JSON"):
        harmonize([scan], card, any_modality=True)


def test_one_image_of_another_modality_among_several_is_left_out(harmonize, write, card, tmp_path):
    scans = [write("T2w", "a.nii.gz"), write("T1w", "b.nii.gz")]
    with pytest.raises(PartialFailure) as caught:
        harmonize(scans, card)
    (failure,) = caught.value.failures
    assert failure.startswith(f"{scans[1]}: tissues are not in the order of T2w")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_desc-harmonized.json",
        "a_desc-harmonized.nii.gz",
    ]


def test_a_modality_that_is_asked_for_must_be_the_cards(
    harmonize, write, card, brain_with, tmp_path
):
    for modality in ("T1w", "T2w"):
        write(modality, f"sub-01/anat/sub-01_{modality}.nii.gz")
    folder = tmp_path / "in"
    with pytest.raises(CompatibilityError, match=r"for T2w, images .* T1w: take .*--any-modality"):
        harmonize([folder], card, modality="T1w")
    assert not (tmp_path / "out").exists()
    (path,) = harmonize([folder], card, modality="T1w", any_modality=True)
    assert path.name == "sub-01_desc-harmonized_T1w.nii.gz"
    assert "card of guys is for T2w, images or model are T1w" in read_prism(path)["Warnings"][0]
    (path,) = harmonize([folder], card, overwrite=True)
    assert path.name == "sub-01_desc-harmonized_T2w.nii.gz"


def test_a_result_with_inverted_contrast_is_warned_of(
    write, card_for, translator, tmp_path, monkeypatch
):
    levels = {"right": (0.9, 0.4, 0.25), "inverted": (0.25, 0.4, 0.9)}
    scan, card = write("T2w"), card_for("T2w")
    for name, tissues in levels.items():
        weights = torch.tensor(tissues)[:, None, None]

        def draw(_, anatomy, *, weights=weights):
            return (anatomy[:, :3] * weights).sum(1, keepdim=True)

        monkeypatch.setattr(type(card.decoder), "forward", lambda *args, d=draw: d(*args[:2]))
        (path,) = harmonize_inputs([scan], tmp_path / name, card=card, translator=translator)
        found = [line for line in read_prism(path)["Warnings"] if "broken or inverted" in line]
        assert len(found) == (name == "inverted")
    assert found[0].startswith(
        "the result's contrast is broken or inverted: tissues are not in the order of T2w "
    )
    assert found[0].endswith("it looks like T1w; do not use it")
    assert np.isfinite(read_volume(path).data).all()
