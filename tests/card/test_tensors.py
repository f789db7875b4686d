"""Which tensors a card has, and their bytes."""

import pytest
import torch

from prism_mri.card.container import lay_out
from prism_mri.card.tensors import (
    check_values,
    decode_tensors,
    describe_tensors,
    encode_tensors,
    expect_card_tensors,
)
from prism_mri.errors import FormatError
from prism_mri.networks.registry import DecoderSpec, StyleEncoderSpec


def test_card_holds_style_encoder_decoder_and_prior_alone():
    table = expect_card_tensors(StyleEncoderSpec(width=4, style_dim=3), DecoderSpec(style_dim=3))
    assert {name.split(".")[0] for name in table} == {"style_encoder", "decoder", "style_prior"}
    assert table["style_prior.mean"].shape == table["style_prior.std"].shape == (3,)
    assert table["decoder.head.weight"].shape == (1, 16, 1, 1)
    assert {entry.dtype for entry in table.values()} == {"F32"}


def test_tensors_survive_encoding_bit_for_bit():
    tensors = {
        "a": torch.tensor([[1.0, -0.0], [1e-42, 3.4e38]]),
        "b": torch.tensor([0.1, 65504.0], dtype=torch.float16),
        "strided": torch.arange(12.0).reshape(3, 4).T,
    }
    table = describe_tensors(tensors, "model")
    decoded = decode_tensors(memoryview(encode_tensors(tensors, table)), table)
    for name, tensor in tensors.items():
        assert decoded[name].dtype == tensor.dtype
        assert torch.equal(decoded[name], tensor)
    assert torch.signbit(decoded["a"][0, 1])


def test_decoded_tensors_do_not_alias_the_file():
    table = lay_out({"a": ("F32", (1,))})
    content = bytearray(4)
    decoded = decode_tensors(memoryview(content), table)
    content[3] = 64
    assert decoded["a"].item() == 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_must_be_finite(value):
    with pytest.raises(FormatError, match=r"decoder\.w holds NaN or infinity"):
        check_values({"decoder.w": torch.tensor([1.0, value])}, "card")


@pytest.mark.parametrize("name", ["decoder.norm.running_var", "style_prior.std"])
def test_variances_must_not_be_negative(name):
    check_values({name: torch.tensor([0.0, 1.0])}, "card")
    with pytest.raises(FormatError, match="negative variance or spread"):
        check_values({name: torch.tensor([1.0, -1e-6])}, "card")


def test_other_types_are_named():
    with pytest.raises(FormatError, match=r"decoder\.w is torch\.int64, a card holds float32"):
        describe_tensors({"decoder.w": torch.tensor([1])}, "model")
