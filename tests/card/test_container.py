"""The shell of a card: layout, canonical bytes, and a parse that lets no byte go unexplained."""

import json

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_mri.card.container import (
    TensorEntry,
    encode_container,
    lay_out,
    parse_container,
)
from prism_mri.errors import FormatError


def test_layout_is_wide_types_first_then_names_without_gaps():
    table = lay_out({"b": ("F16", (3,)), "c": ("F32", (2, 2)), "a": ("F32", ())})
    assert list(table.items()) == [
        ("a", TensorEntry("F32", (), 0, 4)),
        ("c", TensorEntry("F32", (2, 2), 4, 20)),
        ("b", TensorEntry("F16", (3,), 20, 26)),
    ]


def test_container_is_what_the_safetensors_library_writes_and_reads():
    tensors = {
        "decoder.b": torch.arange(6.0).reshape(2, 3),
        "decoder.a": torch.tensor([1.0, 2.0], dtype=torch.float16),
        "x": torch.tensor([-1.0]),
    }
    table = lay_out({"decoder.b": ("F32", (2, 3)), "decoder.a": ("F16", (2,)), "x": ("F32", (1,))})
    data = b"".join(tensors[name].numpy().tobytes() for name in table)
    content = encode_container({"prism_manifest": "{}"}, table, data)
    # One metadata key: with more, the library's order is random.
    assert content == safetensors.torch.save(tensors, metadata={"prism_manifest": "{}"})
    loaded = safetensors.torch.load(content)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_what_was_encoded_is_parsed_back():
    table = lay_out({"a": ("F32", (1,)), "b": ("F32", (2, 0))})
    container = parse_container(
        encode_container({"prism_manifest": '{"ü":1}'}, table, b"\0\0\x80?"), "card"
    )
    assert container.tensors == table
    assert container.manifest == '{"ü":1}'.encode()
    assert bytes(container.data) == b"\0\0\x80?"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_by_name(content):
    with pytest.raises(FormatError):
        parse_container(content, "card")


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["dtype", "shape", "data_offsets", "prism_manifest", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_in_the_header_is_refused_by_name(stored):
    header = json.dumps({"__metadata__": {"prism_manifest": "{}"}, "decoder.x": stored}).encode()
    with pytest.raises(FormatError):
        parse_container(len(header).to_bytes(8, "little") + header + b"12345", "card")
