"""What a manifest may say."""

import json

import pytest

from prism_mri.card.limits import MIN_PEOPLE
from prism_mri.card.manifest import (
    PRIVACY_STATEMENTS,
    build_manifest,
    check_people,
    encode_manifest,
    parse_manifest,
)
from prism_mri.errors import PrivacyError
from prism_mri.models.site_model import read_model


@pytest.fixture
def manifest(make_model):
    description, _ = read_model(make_model())
    return build_manifest(
        description,
        kind="full",
        tensors_sha256="0" * 64,
        local_only=False,
        version="0.1.0",
        source="model",
    )


def test_manifest_holds_these_fields_and_no_others(manifest):
    stored = json.loads(encode_manifest(manifest))
    assert sorted(stored) == [
        "anatomy_digest", "anatomy_encoder", "base_digest", "contract", "created_by",
        "decoder", "format", "guarantee", "intensity_scale", "kind", "local_only", "modality",
        "people", "privacy", "recipe", "schema_version", "site", "style_encoder", "tensors_sha256",
        "training",
    ]  # fmt: skip
    assert (stored["people"], stored["recipe"]) == (12, "anchored")
    assert stored["intensity_scale"] == 812.5
    assert stored["created_by"] == "prism-mri 0.1.0"
    assert stored["decoder"] == {
        "name": "decoder-film-1", "width": 4, "free_channels": 1, "style_dim": 2,
    }  # fmt: skip
    assert stored["privacy"] == PRIVACY_STATEMENTS["full"]


def test_stored_bytes_parse_back_to_the_same_manifest(manifest):
    stored = encode_manifest(manifest)
    assert parse_manifest(stored, "card") == manifest
    assert encode_manifest(parse_manifest(stored, "card")) == stored


@pytest.mark.parametrize(
    "versions", [{"torch": "/data/sub-01"}, {"sub 01": "1.0"}, {f"p{i}": "1" for i in range(17)}]
)
def test_versions_have_no_room_for_free_text(make_model, versions):
    description, _ = read_model(make_model())
    training = description.training.model_copy(update={"versions": versions})
    changed = description.model_copy(update={"training": training})
    with pytest.raises(PrivacyError, match="does not fit into a card"):
        build_manifest(
            changed,
            kind="full",
            tensors_sha256="0" * 64,
            local_only=False,
            version="0.1.0",
            source="model",
        )


def test_ten_person_rule_stands_at_ten():
    assert MIN_PEOPLE == 10
    check_people(people=10, local_only=False, source="model")
    check_people(people=1, local_only=True, source="model")
    with pytest.raises(
        PrivacyError, match=r"model: trained on 9 people, fewer than 10.*--local-only"
    ):
        check_people(people=9, local_only=False, source="model")
