"""A sound card, who may have signed it, and whom it fits."""

import hashlib

import pytest
import torch

from prism_mri.card.publish import publish_card
from prism_mri.card.read import check_compatible, decode_card, read_card
from prism_mri.card.sign import compute_fingerprint
from prism_mri.errors import CompatibilityError, InputError, SignatureError
from prism_mri.models.site_model import read_model
from prism_mri.networks.registry import build_decoder


@pytest.fixture
def unsigned(make_model, tmp_path):
    path = tmp_path / "unsigned.prism"
    publish_card(make_model(), path, private_key=None)
    return path


def test_card_holds_exactly_the_model(make_model, card_path, trust):
    description, tensors = read_model(make_model())
    card = read_card(card_path, trust=trust)
    assert torch.equal(card.style_mean, tensors["style_prior.mean"])
    assert torch.equal(card.style_std, tensors["style_prior.std"])
    for prefix, network in (("style_encoder.", card.style_encoder), ("decoder.", card.decoder)):
        for name, value in network.state_dict().items():
            assert torch.equal(value, tensors[prefix + name])
    assert card.manifest.site == "guys"
    assert card.manifest.training == description.training
    assert card.manifest.contract == description.contract


def test_networks_are_frozen_and_decode_as_the_model_does(make_model, card_path, trust):
    description, tensors = read_model(make_model())
    card = read_card(card_path, trust=trust)
    own = build_decoder(description.decoder)
    own.load_state_dict(
        {name[8:]: value for name, value in tensors.items() if name.startswith("decoder.")}
    )
    anatomy = torch.rand(1, 4, 20, 24, generator=torch.Generator().manual_seed(0))
    style = torch.tensor([[0.3, -0.2]])
    torch.testing.assert_close(card.decoder(anatomy, style), own.eval()(anatomy, style))
    assert not card.decoder.training
    assert not card.style_encoder.training
    assert not any(parameter.requires_grad for parameter in card.decoder.parameters())


def test_digest_is_that_of_the_file(card_path, trust):
    digest = hashlib.sha256(card_path.read_bytes()).hexdigest()
    assert read_card(card_path, trust=trust).digest == digest


def test_reading_leaves_the_random_state_alone(card_path, trust):
    before = torch.get_rng_state()
    read_card(card_path, trust=trust)
    assert torch.equal(torch.get_rng_state(), before)


def test_trusted_signer_is_named(card_path, trust, forge):
    import base64

    card = read_card(card_path, trust=trust)
    public_key = base64.b64decode(forge.metadata["prism_public_key"])
    assert card.signer == compute_fingerprint(public_key)
    assert card.signed_by.trusted_as == "guys-public.pem"


def test_signed_card_without_trust_folder_needs_consent(card_path):
    with pytest.raises(SignatureError, match="no key is trusted: give --trust"):
        read_card(card_path)
    card = read_card(card_path, allow_unsigned=True)
    assert card.signer is not None
    assert card.signed_by.trusted_as is None


def test_unsigned_card_needs_consent(unsigned, trust):
    for options in ({}, {"trust": trust}):
        with pytest.raises(SignatureError, match=r"the card is not signed.*--allow-unsigned"):
            read_card(unsigned, **options)
    assert read_card(unsigned, allow_unsigned=True).signer is None
    assert read_card(unsigned, allow_unsigned=True, trust=trust).signer is None


def test_bytes_can_be_read_without_a_file(card_path, trust):
    card = decode_card(card_path.read_bytes(), source="received", trust=trust)
    assert card.manifest.site == "guys"


def test_local_only_card_is_read_at_home(make_model, keys, trust, tmp_path):
    path = tmp_path / "one.prism"
    publish_card(make_model(people=1), path, private_key=keys / "guys-private.pem", local_only=True)
    assert read_card(path, trust=trust).manifest.people == 1


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.prism"):
        with pytest.raises(InputError, match="does not exist or is no file"):
            read_card(path)


def test_card_fits_its_anatomy_encoder_and_modality(card_path, trust):
    card = read_card(card_path, trust=trust)
    check_compatible(card, "ab" * 32, "T2w")
    with pytest.raises(
        CompatibilityError, match="card of guys is for anatomy encoder abababababab…, in use is cd"
    ):
        check_compatible(card, "cd" * 32, "T2w")
    with pytest.raises(CompatibilityError, match="card of guys is for T2w, the images are T1w"):
        check_compatible(card, "ab" * 32, "T1w")


def test_paper_card_is_for_no_other_sites_anatomy_encoder_and_so_for_any(
    make_model, paper_parts, tmp_path
):
    publish_card(make_model(**paper_parts), tmp_path / "guys.prism", private_key=None)
    card = read_card(tmp_path / "guys.prism", allow_unsigned=True)
    check_compatible(card, "cd" * 32, "T2w")
    with pytest.raises(CompatibilityError, match="card of guys is for T2w, the images are T1w"):
        check_compatible(card, "cd" * 32, "T1w")
