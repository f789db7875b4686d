"""From a trained model to a card, or nothing."""

import json
import re

import pytest
import torch

from prism_mri.card.publish import publish_card
from prism_mri.card.read import read_card
from prism_mri.errors import FormatError, InputError, PrivacyError
from prism_mri.models.site_model import read_model, write_model


def test_same_model_and_key_give_the_same_bytes(make_model, keys, tmp_path):
    key = keys / "guys-private.pem"
    digests = [
        publish_card(make_model(), tmp_path / name, private_key=key)
        for name in ("a.prism", "b.prism")
    ]
    assert (tmp_path / "a.prism").read_bytes() == (tmp_path / "b.prism").read_bytes()
    assert digests[0] == digests[1]


def test_file_holds_three_metadata_keys_and_whitelisted_tensors(card_path):
    content = card_path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.pop("__metadata__")
    assert list(metadata) == ["prism_manifest", "prism_public_key", "prism_signature"]
    allowed = re.compile(r"(style_encoder|decoder)\.[a-z0-9_.]+|style_prior\.(mean|std)")
    assert all(allowed.fullmatch(name) for name in header)
    assert [entry["dtype"] for entry in header.values()] == ["F32"] * len(header)


def test_nothing_of_the_machine_enters(make_model, keys, tmp_path):
    model = make_model()
    out = tmp_path / "sub-01_private_name.prism"
    publish_card(model, out, private_key=keys / "guys-private.pem")
    content = out.read_bytes()
    for text in (
        str(tmp_path),
        str(model),
        model.name,
        "sub-01",
        "private_name",
        "anatomy_encoder.",
    ):
        assert text.encode() not in content


@pytest.mark.parametrize("name", ["anatomy_encoders.x", "optimizer.state", "images"])
def test_tensors_that_must_stay_are_refused_and_nothing_is_written(make_model, tmp_path, name):
    model = make_model(tensors={name: torch.ones(2)})
    with pytest.raises(PrivacyError, match=rf"tensor {re.escape(name)} .*must not leave the site"):
        publish_card(model, tmp_path / "card.prism", private_key=None)
    assert list(tmp_path.iterdir()) == []


def test_paper_model_is_published_without_its_anatomy_encoder(make_model, paper_parts, tmp_path):
    model, out = make_model(**paper_parts), tmp_path / "guys.prism"
    _, tensors = read_model(model)
    own = {name for name in tensors if name.startswith("anatomy_encoder.")}
    assert len(own) > 50
    publish_card(model, out, private_key=None)
    content = out.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header.keys() == (tensors.keys() - own) | {"__metadata__"}
    for name in own:
        raw = tensors[name].numpy().tobytes()
        assert len(raw) < 16 or raw not in content, name
    card = read_card(out, allow_unsigned=True)
    assert (card.manifest.recipe, card.manifest.anatomy_digest) == ("paper", "ab" * 32)
    anatomy = torch.rand(1, 1, 20, 16, generator=torch.Generator().manual_seed(0))
    image = card.decoder(anatomy, torch.tensor([[0.3, -1.0]]))
    assert image.isfinite().all()
    assert not torch.equal(image, card.decoder(anatomy, torch.tensor([[3.0, -1.0]])))


@pytest.mark.parametrize("name", ["projector.layers.0.weight", "anatomy_encoders.x", "images"])
def test_paper_model_keeps_nothing_else_back(make_model, paper_parts, tmp_path, name):
    model = make_model(tensors={name: torch.ones(2)}, **paper_parts)
    with pytest.raises(PrivacyError, match=rf"tensor {re.escape(name)} .*must not leave the site"):
        publish_card(model, tmp_path / "card.prism", private_key=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"style_prior.std": None}, "style_prior.std .*is missing"),
        ({"style_prior.mean": torch.zeros(3)}, r"style_prior.mean is F32 \(3,\)"),
        ({"style_prior.mean": torch.zeros(2, dtype=torch.float64)}, "is torch.float64"),
        ({"style_prior.mean": torch.zeros(2, dtype=torch.float16)}, "is F16"),
        ({"style_prior.mean": torch.tensor([0.0, float("nan")])}, "NaN"),
        ({"style_prior.std": torch.tensor([1.0, -1.0])}, "negative"),
    ],
)
def test_models_that_no_card_could_be_made_of_are_refused(make_model, tmp_path, tensors, message):
    model = make_model(tensors=tensors)
    with pytest.raises(FormatError, match=message) as caught:
        publish_card(model, tmp_path / "card.prism", private_key=None)
    assert str(caught.value).startswith(f"{model}: ")
    assert list(tmp_path.iterdir()) == []


def test_nine_people_need_local_only_and_are_marked(make_model, tmp_path):
    model, out = make_model(people=9), tmp_path / "card.prism"
    with pytest.raises(PrivacyError, match=rf"^{model}: trained on 9 people, fewer than 10"):
        publish_card(model, out, private_key=None)
    assert not out.exists()
    publish_card(model, out, private_key=None, local_only=True)
    assert read_card(out, allow_unsigned=True).manifest.local_only is True


def test_ten_people_are_enough_and_not_marked(make_model, tmp_path):
    publish_card(make_model(people=10), tmp_path / "card.prism", private_key=None)
    card = read_card(tmp_path / "card.prism", allow_unsigned=True)
    assert (card.manifest.people, card.manifest.local_only) == (10, False)


def test_existing_card_is_replaced_only_on_demand(make_model, tmp_path):
    out = tmp_path / "card.prism"
    out.write_text("old")
    with pytest.raises(InputError, match=r"exists.*--overwrite"):
        publish_card(make_model(), out, private_key=None)
    assert out.read_text() == "old"
    with pytest.raises(InputError, match="is not a site card and is not replaced"):
        publish_card(make_model(), out, private_key=None, overwrite=True)
    assert out.read_text() == "old"
    out.unlink()
    digest = publish_card(make_model(), out, private_key=None)
    assert publish_card(make_model(), out, private_key=None, overwrite=True) == digest
    assert read_card(out, allow_unsigned=True).digest == digest


def test_training_that_was_cut_short_is_not_published(make_model, tmp_path):
    model = make_model()
    description, tensors = read_model(model)
    write_model(model, description.model_copy(update={"complete": False}), tensors)
    with pytest.raises(InputError, match=r"cut short.*--resume"):
        publish_card(model, tmp_path / "card.prism", private_key=None)
    assert not (tmp_path / "card.prism").exists()


def test_unsigned_card_is_warned_about(make_model, tmp_path, caplog):
    publish_card(make_model(), tmp_path / "card.prism", private_key=None)
    assert "not signed" in caplog.text


def test_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a trained model"):
        publish_card(tmp_path, tmp_path / "card.prism", private_key=None)
