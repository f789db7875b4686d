"""A trusted site signs a card that it should not have made: the signature opens no other door."""

import hashlib
import json
import struct

import pytest

from prism_mri.card.read import read_card
from prism_mri.errors import FormatError, PrivacyError

MEAN, STD = "style_prior.mean", "style_prior.std"


def repack(forge, *, drop=(), add=None, rename=None) -> bytes:
    """Return a card with tensors dropped, added or renamed, digest and signature being right."""
    parts = {
        name: forge.data[slice(*entry["data_offsets"])] for name, entry in forge.header.items()
    }
    shapes = {name: (entry["dtype"], entry["shape"]) for name, entry in forge.header.items()}
    for name, (dtype, shape, raw) in (add or {}).items():
        shapes[name], parts[name] = (dtype, shape), raw
    for old, new in (rename or {}).items():
        shapes[new], parts[new] = shapes.pop(old), parts.pop(old)
    table, data = {}, b""
    for name in sorted(
        shapes.keys() - set(drop), key=lambda name: (shapes[name][0] != "F32", name)
    ):
        dtype, shape = shapes[name]
        offsets = [len(data), len(data) + len(parts[name])]
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += parts[name]
    digest = hashlib.sha256(data).hexdigest()
    metadata = forge.sign(json.dumps(forge.manifest | {"tensors_sha256": digest}), "guys")
    return forge.build(metadata, table, data)


def test_repacking_alone_changes_nothing(forge, read):
    # Without this, every refusal below could be the repacking's own mistake.
    assert read(repack(forge)).style_mean.tolist() == [0.25, -1.5]
    other = repack(forge, add={MEAN: ("F32", [2], struct.pack("<2f", 1, 2))})
    assert read(other).style_mean.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "name",
    ["anatomy_encoder.head.bias", "decoder.extra", "style_prior.images", "images", "decoder"],
)
def test_extra_tensor_is_refused(forge, read, name):
    with pytest.raises(FormatError, match=rf"tensor {name} .*not part of the card's networks"):
        read(repack(forge, add={name: ("F32", [1], bytes(4))}))


@pytest.mark.parametrize("name", [MEAN, "decoder.head.bias", "style_encoder.head.2.weight"])
def test_missing_tensor_is_refused(forge, read, name):
    with pytest.raises(FormatError, match=rf"tensor {name} .*is missing"):
        read(repack(forge, drop=[name]))


def test_renamed_tensor_is_refused(forge, read):
    with pytest.raises(FormatError, match=r"tensor decoder\.tail\.bias .*not part"):
        read(repack(forge, rename={"decoder.head.bias": "decoder.tail.bias"}))


def test_tensors_cannot_trade_names_behind_the_digest(forge, read):
    """Names are not among the digested bytes: the order that the format demands fixes them."""
    forge.header[MEAN], forge.header[STD] = forge.header[STD], forge.header[MEAN]
    with pytest.raises(FormatError, match=r"style_prior\.mean lies at byte \d+, expected \d+"):
        read(forge.build(tensors=forge.header))


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("F32", [1, 2], 8), ("F32", [3], 12), ("F16", [2], 4), ("F32", [], 4)],
)
def test_other_shapes_and_types_are_refused(forge, read, dtype, shape, size):
    with pytest.raises(FormatError, match=rf"tensor {MEAN} is {dtype} .* has F32 \(2,\)"):
        read(repack(forge, add={MEAN: (dtype, shape, bytes(size))}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [MEAN, "decoder.head.bias"])
def test_numbers_that_are_none_are_refused(forge, read, name, value):
    shape = forge.header[name]["shape"]
    raw = struct.pack("<f", value) * shape[0]
    with pytest.raises(FormatError, match=rf"tensor {name} holds NaN or infinity"):
        read(repack(forge, add={name: ("F32", shape, raw)}))


@pytest.mark.parametrize("name", [STD, "decoder.bottom.norm.running_var"])
def test_negative_variance_would_give_nan_and_is_refused(forge, read, name):
    shape = forge.header[name]["shape"]
    with pytest.raises(FormatError, match="negative variance or spread"):
        read(repack(forge, add={name: ("F32", shape, struct.pack("<f", -1.0) * shape[0])}))


@pytest.mark.parametrize("version", [0, 2, 4, 10**6, "1", None, True, 1.0, [1]])
def test_unknown_version_has_its_own_message(forge, read, version):
    with pytest.raises(FormatError, match=r"unknown schema version .*this program reads 3"):
        read(forge.change(schema_version=version))


def test_version_is_told_before_fields_that_only_it_knows(forge, read):
    with pytest.raises(FormatError, match="unknown schema version 4"):
        read(forge.change(schema_version=4, adapters={"rank": 4}))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"site": "../../etc/passwd"}, "site"),
        ({"site": "guys/../hh"}, "site"),
        ({"site": "guys\n"}, "site"),
        ({"site": "Guy's"}, "site"),
        ({"site": "x" * 33}, "site"),
        ({"site": ""}, "site"),
        ({"site": "\x1b[2Jguys"}, "site"),
        ({"decoder": {"name": "os.system"}}, "decoder: Input tag"),
        ({"decoder": {"name": "prism_mri.networks.decoder.Decoder"}}, "decoder: Input tag"),
        ({"decoder": {"name": "decoder-film-2", "width": 4}}, "decoder: Input tag"),
        (
            {"decoder": {"name": "decoder-film-1", "width": 10**9, "style_dim": 2}},
            "decoder-film-1.width",
        ),
        (
            {"decoder": {"name": "decoder-film-1", "width": 4.5, "style_dim": 2}},
            "decoder-film-1.width",
        ),
        (
            {"decoder": {"name": "decoder-film-1", "width": True, "style_dim": 2}},
            "decoder-film-1.width",
        ),
        (
            {"decoder": {"name": "decoder-film-1", "width": -4, "style_dim": 2}},
            "decoder-film-1.width",
        ),
        ({"decoder": {"name": "decoder-film-1", "code": "print()"}}, "decoder-film-1.code"),
        ({"style_encoder": {"name": "style-tissue-1", "width": 10**30}}, "style-tissue-1.width"),
        (
            {"decoder": {"width": 4, "free_channels": 1, "style_dim": 2}},
            "decoder: Unable to extract",
        ),
        (
            {"style_encoder": {"name": "style-tissue-1", "width": 4, "style_dim": 3}},
            "decoder takes 2",
        ),
        ({"anatomy_encoder": {"name": "anatomy-unet-1", "free_channels": 5}}, "decoder takes 1"),
        ({"kind": "pickle"}, "kind"),
        ({"kind": "style"}, "builds on shipped networks"),
        ({"kind": "adapter", "base_digest": "ab" * 32}, "privacy statement"),
        ({"base_digest": "0"}, "base_digest"),
        ({"recipe": "pickle"}, "recipe"),
        ({"recipe": "paper"}, "does not train anatomy-unet-1"),
        ({"decoder": {"name": "decoder-unet-1", "width": 4}}, "recipe anchored does not train"),
        ({"decoder": {"name": "decoder-unet-1", "width": 41}}, "width"),
        ({"style_encoder": {"name": "style-conv-1"}}, "recipe anchored does not train"),
        ({"format": "something else"}, "format"),
        ({"modality": "T1w"}, "modality"),
        ({"people": 0}, "people"),
        ({"people": -12}, "people"),
        ({"people": "12"}, "people"),
        ({"people": 1e3}, "people"),
        ({"local_only": "false"}, "local_only"),
        ({"local_only": 0}, "local_only"),
        ({"intensity_scale": -1.0}, "intensity_scale"),
        ({"intensity_scale": 0}, "intensity_scale"),
        ({"anatomy_digest": "AB" * 32}, "anatomy_digest"),
        ({"anatomy_digest": "ab"}, "anatomy_digest"),
        ({"tensors_sha256": ""}, "tensors_sha256"),
        ({"privacy": "sub-01 was scanned on Monday"}, "privacy"),
        ({"created_by": "prism-mri 1 /home/someone"}, "created_by"),
        ({"subjects": ["sub-01"]}, "subjects"),
        ({"path": "/data/sub-01"}, "path"),
        ({"a\x1b[31mb": 1}, "Extra inputs"),
    ],
)
def test_manifest_takes_nothing_but_its_own_fields(forge, read, fields, complaint):
    with pytest.raises(FormatError, match="manifest refused") as caught:
        read(forge.change(**fields))
    assert complaint in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"versions": {"torch": "see /data/sub-01"}},
        {"versions": {"sub-01 had a tumour": "1"}},
        {"versions": {f"package{i}": "1" for i in range(17)}},
        {"seed": 10**40},
        {"validation_ssim": 1.5},
        {"subjects": 1},
    ],
)
def test_training_summary_has_no_room_for_people(forge, read, change):
    with pytest.raises(FormatError, match="manifest refused"):
        read(forge.change(training=forge.manifest["training"] | change))


@pytest.mark.parametrize("field", ["people", "site", "local_only", "anatomy_digest", "training"])
def test_fields_cannot_be_left_out(forge, read, field):
    del forge.manifest[field]
    with pytest.raises(FormatError, match=rf"manifest refused \({field}: Field required"):
        read(forge.with_manifest(forge.manifest))


@pytest.mark.parametrize(("part", "field"), [("contract", "spacing_mm"), ("decoder", "width")])
def test_no_field_is_filled_with_a_default(forge, read, part, field):
    del forge.manifest[part][field]
    with pytest.raises(FormatError, match="the manifest leaves out fields"):
        read(forge.with_manifest(forge.manifest))


@pytest.mark.parametrize("scale", ["1e999", "NaN", "-Infinity"])
def test_infinite_numbers_do_not_pass_as_json(forge, read, scale):
    stored = json.dumps(forge.manifest).replace("812.5", scale)
    assert scale in stored
    with pytest.raises(FormatError):
        read(forge.with_manifest(stored))


def test_key_that_stands_twice_in_the_manifest_is_refused(forge, read):
    stored = json.dumps(forge.manifest)[:-1] + ',"people":5000}'
    with pytest.raises(FormatError, match=r"manifest .*key 'people' stands twice"):
        read(forge.with_manifest(stored))


@pytest.mark.parametrize("stored", ["", "[]", "null", "{", "\u0000", "[" * 60_000])
def test_manifest_that_is_no_object_is_refused(forge, read, stored):
    with pytest.raises(FormatError, match="the manifest is"):
        read(forge.with_manifest(stored))


def test_widest_registered_networks_are_not_built_for_a_small_file(forge, read, monkeypatch):
    """The registered maximum is refused by the tensor table, before a weight is allocated."""
    import prism_mri.card.read as reading

    def explode(_spec):
        raise AssertionError("a network was built")

    monkeypatch.setattr(reading, "build_decoder", explode)
    monkeypatch.setattr(reading, "build_style_encoder", explode)
    wide = forge.manifest["decoder"] | {"width": 64}
    with pytest.raises(FormatError, match="the registered network has"):
        read(forge.change(decoder=wide))


@pytest.mark.parametrize("people", [1, 9])
def test_few_people_are_refused_unless_marked(forge, read, people):
    with pytest.raises(PrivacyError, match=f"trained on {people} people, fewer than 10"):
        read(forge.change(people=people))
    assert read(forge.change(people=people, local_only=True)).manifest.local_only is True


def test_unsigned_cards_pass_the_same_checks(forge, tmp_path):
    path = tmp_path / "card.prism"
    for content, error in (
        (forge.with_manifest(forge.manifest | {"people": 9}, signer=None), PrivacyError),
        (forge.with_manifest(forge.manifest | {"site": "../x"}, signer=None), FormatError),
        (
            forge.with_manifest(forge.manifest | {"tensors_sha256": "0" * 64}, signer=None),
            FormatError,
        ),
    ):
        path.write_bytes(content)
        with pytest.raises(error):
            read_card(path, allow_unsigned=True)
