"""What a person reads about a card."""

import pytest

from prism_mri.card.manifest import PRIVACY_STATEMENTS
from prism_mri.card.publish import publish_card
from prism_mri.card.summary import inspect_card
from prism_mri.config import PreprocessingContract
from prism_mri.errors import SignatureError


def facts_of(summary) -> dict[str, str]:
    lines = str(summary).split("\n\n")[0].splitlines()
    return dict(line.split("  ", 1) for line in lines)


def test_every_fact_is_stated(card_path, trust):
    summary = inspect_card(card_path, trust)
    facts = {label: value.strip() for label, value in facts_of(summary).items()}
    assert facts["site"] == "guys"
    assert facts["modality"] == "T2w"
    assert facts["kind"] == "full"
    assert facts["people"] == "12"
    assert facts["local-only"] == "no"
    assert facts["networks"] == "style-tissue-1, decoder-film-1"
    assert facts["bytes"] == f"{card_path.stat().st_size:,}"
    assert facts["digest"] == summary.card.digest
    assert facts["signer"] == f"{summary.card.signer} (trusted: guys-public.pem)"
    assert facts["recipe"] == "anchored"
    assert facts["anatomy encoder"] == f"{'ab' * 32} (the translator's, common to all sites)"
    assert facts["validation SSIM"] == (
        "0.9375 (reconstruction, people held out; inside the brain)"
    )
    assert facts["contract"] == "version 1: 256 × 256 pixels of 1 mm in plane"
    contract = PreprocessingContract()
    assert facts["intensity"] == (
        f"{contract.intensity_reference.replace('_', ' ')} of the brain = "
        f"{contract.intensity_value}; 1.0 = 812.5 units of the site"
    )
    assert facts["training"] == "seed 7, 4 epochs, 100 steps, best epoch 3"
    assert facts["versions"] == "prism-mri 0.1.0, torch 2.13.0+cpu"
    assert str(summary).endswith(
        f"\n\n{PRIVACY_STATEMENTS['full']}\nFor research, not for diagnosis."
    )


def test_numbers_are_those_of_both_networks_and_the_styles(card_path, trust):
    summary = inspect_card(card_path, trust)
    networks = (summary.card.style_encoder, summary.card.decoder)
    counted = 4 + sum(v.numel() for network in networks for v in network.state_dict().values())
    # Width 4, style of 2: convolutions 36 + 288 + 1152,
    # normalization 2 (4 + 8 + 16), head (93 + 1) 64 + (64 + 1) 4.
    assert sum(v.numel() for v in summary.card.style_encoder.parameters()) == 7808
    assert summary.numbers == counted
    assert f"{counted:,}" in str(summary)


def test_signer_is_shown_as_what_it_is(card_path, make_model, tmp_path, trust):
    assert "not compared with any trusted key" in facts_of(inspect_card(card_path))["signer"]
    unsigned = tmp_path / "unsigned.prism"
    publish_card(make_model(people=3), unsigned, private_key=None, local_only=True)
    facts = facts_of(inspect_card(unsigned))
    assert "not signed" in facts["signer"]
    assert "must not leave the site" in facts["local-only"]
    with pytest.raises(SignatureError, match="not signed"):
        inspect_card(unsigned, trust)


def test_paper_card_says_that_its_anatomy_is_its_own(make_model, paper_parts, tmp_path):
    publish_card(make_model(**paper_parts), tmp_path / "guys.prism", private_key=None)
    facts = facts_of(inspect_card(tmp_path / "guys.prism"))
    assert facts["recipe"].strip() == "paper"
    assert facts["networks"].strip() == "style-conv-1, decoder-unet-1"
    assert "ab" * 32 in facts["anatomy encoder"]
    assert facts["anatomy encoder"].endswith("(the site's own, which no other site has)")
    assert facts["validation SSIM"].endswith("whole slices)")
