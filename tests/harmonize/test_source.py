"""Cards of recipe ``paper`` and whose anatomy encoder goes with them."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import torch

from prism_mri.card import CardManifest
from prism_mri.errors import CompatibilityError
from prism_mri.harmonize import HarmonizeOptions, harmonize_inputs, harmonize_volume
from prism_mri.harmonize.source import check_source, read_source_anatomy
from prism_mri.models.site_model import ModelDescription, TrainingSummary, write_model
from prism_mri.models.translator import compute_digest
from prism_mri.networks.conditional_decoder import ConditionalDecoder
from prism_mri.networks.conv_style import ConvStyleEncoder
from prism_mri.networks.level_anatomy import LevelAnatomyEncoder
from prism_mri.networks.registry import (
    ConditionalDecoderSpec,
    ConvStyleEncoderSpec,
    LevelAnatomyEncoderSpec,
)
from prism_mri.volume import read_volume, write_volume

SPECS = {
    "recipe": "paper",
    "anatomy_encoder": LevelAnatomyEncoderSpec(width=4),
    "style_encoder": ConvStyleEncoderSpec(width=4),
    "decoder": ConditionalDecoderSpec(width=4),
}
INDEPENDENT = "this site's anatomy encoder and that of guys were trained independently"


@pytest.fixture
def make_model(card, tmp_path):
    """Write a model of recipe ``paper`` with random weights; return its folder and encoder."""

    def make(seed, **changes):
        torch.manual_seed(seed)
        encoder = LevelAnatomyEncoder(width=4).eval()
        tensors = {f"anatomy_encoder.{k}": v for k, v in encoder.state_dict().items()}
        description = ModelDescription(
            **SPECS,
            **{
                "site": "adni",
                "contract": card.manifest.contract,
                "anatomy_digest": compute_digest(encoder.state_dict()),
                "people": 12,
                "images": 12,
                "slices": 40,
                "intensity_scale": 100.0,
                "training": TrainingSummary(
                    seed=0, epochs=1, steps=1, best_epoch=1, validation_ssim=0.5, versions={}
                ),
            }
            | changes,
        )
        write_model(tmp_path / f"model-{seed}", description, tensors)
        return tmp_path / f"model-{seed}", encoder

    return make


@pytest.fixture
def paper_card(card):
    """Make a card of recipe ``paper`` that was trained with a given encoder."""

    def make(encoder):
        torch.manual_seed(1)
        digest = compute_digest(encoder.state_dict())
        manifest = CardManifest(**(dict(card.manifest) | SPECS | {"anatomy_digest": digest}))
        return dataclasses.replace(
            card,
            manifest=manifest,
            style_encoder=ConvStyleEncoder(width=4).eval(),
            decoder=ConditionalDecoder(width=4).eval(),
            style_mean=torch.zeros(2),
            style_std=torch.ones(2),
        )

    return make


@pytest.fixture
def scan(brain, tmp_path):
    write_volume(tmp_path / "scan.nii.gz", brain.volume.data, brain.volume)
    return tmp_path / "scan.nii.gz"


def read_prism(path):
    return json.loads(path.with_name("scan_desc-harmonized.json").read_text())["Prism"]


def test_without_a_model_it_is_the_translators(translator):
    source = read_source_anatomy(None, translator)
    assert source.encoder is translator.networks.anatomy_encoder
    assert (source.digest, source.recipe, source.contract) == (translator.digest, "anchored", None)


def test_a_paper_card_without_a_model_is_refused(
    make_model, paper_card, translator, scan, tmp_path
):
    card = paper_card(make_model(0)[1])
    with pytest.raises(CompatibilityError, match=r"recipe paper, .* model with --model") as error:
        harmonize_inputs([scan], tmp_path / "out", card=card, translator=translator)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_paper_model_reads_the_images_with_its_own_encoder(
    make_model, paper_card, translator, scan, tmp_path, caplog
):
    own, encoder = make_model(0)
    card = paper_card(make_model(5)[1])
    with caplog.at_level(logging.WARNING):
        (path,) = harmonize_inputs(
            [scan], tmp_path / "out", card=card, translator=translator, model=own
        )
    volume = read_volume(scan)
    expected = harmonize_volume(
        volume,
        volume.data != 0,
        card,
        encoder,
        tissue_encoder=translator.networks.anatomy_encoder,
    )
    np.testing.assert_array_equal(read_volume(path).data, expected.data)
    prism = read_prism(path)
    assert prism["Recipe"] == "paper"
    assert prism["AnatomyDigest"] == compute_digest(encoder.state_dict())
    assert prism["Warnings"][0].startswith(INDEPENDENT)
    assert prism["Warnings"][1:] == list(expected.warnings)
    assert sum(message.startswith(INDEPENDENT) for message in caplog.messages) == 1


def test_tissues_are_checked_by_the_translators_encoder_alone(
    make_model, paper_card, translator, brain
):
    _, encoder = make_model(0)
    card = paper_card(encoder)
    bare = harmonize_volume(brain.volume, brain.mask, card, encoder)
    assert bare.other_modality is None
    assert not any("order" in line for line in bare.warnings)
    # The small random decoder draws one level for all tissues, which is no T2w image.
    checked = harmonize_volume(
        brain.volume,
        brain.mask,
        card,
        encoder,
        tissue_encoder=translator.networks.anatomy_encoder,
    )
    assert checked.other_modality is None
    assert any("broken or inverted" in line for line in checked.warnings)
    assert not any("explain the image poorly" in line for line in checked.warnings)


def test_the_cards_own_site_is_not_warned_of_independent_encoders(
    make_model, paper_card, translator
):
    folder, encoder = make_model(0)
    source = read_source_anatomy(folder, translator)
    assert check_source(paper_card(encoder), source, "T2w", any_modality=False) == ()
    (line,) = check_source(paper_card(make_model(5)[1]), source, "T2w", any_modality=False)
    assert line.startswith(INDEPENDENT)


def test_a_paper_model_for_an_anchored_card_is_refused(make_model, card, translator):
    source = read_source_anatomy(make_model(0)[0], translator)
    with pytest.raises(CompatibilityError, match="card of guys of recipe anchored: leave --model"):
        check_source(card, source, "T2w", any_modality=True)


def test_another_anatomy_space_is_refused_whatever_the_option(card_with, translator):
    source = read_source_anatomy(None, translator)
    for any_modality in (False, True):
        with pytest.raises(CompatibilityError, match="card of guys is for anatomy encoder 0000"):
            check_source(
                card_with(anatomy_digest="0" * 64), source, "T1w", any_modality=any_modality
            )


def test_a_model_of_another_modality_is_refused_unless_asked_for(
    make_model, paper_card, translator, card, scan, tmp_path
):
    contract = card.manifest.contract.model_copy(
        update={"modality": "T1w", "intensity_reference": "upper_quartile"}
    )
    folder, encoder = make_model(0, modality="T1w", contract=contract)
    with pytest.raises(CompatibilityError, match="is for T2w, images or model are T1w: take a"):
        harmonize_inputs(
            [scan],
            tmp_path / "out",
            card=paper_card(encoder),
            translator=translator,
            model=folder,
        )
    assert not (tmp_path / "out").exists()
    (path,) = harmonize_inputs(
        [scan],
        tmp_path / "out",
        card=paper_card(encoder),
        translator=translator,
        model=folder,
        options=HarmonizeOptions(any_modality=True),
    )
    assert read_prism(path)["Warnings"][0] == "card of guys is for T2w, images or model are T1w"


def test_a_model_of_another_preparation_is_refused(make_model, paper_card, translator, card):
    contract = card.manifest.contract.model_copy(update={"spacing_mm": 2.0})
    folder, encoder = make_model(0, contract=contract)
    source = read_source_anatomy(folder, translator)
    for any_modality in (False, True):
        with pytest.raises(CompatibilityError, match="images prepared otherwise than"):
            check_source(paper_card(encoder), source, "T2w", any_modality=any_modality)
