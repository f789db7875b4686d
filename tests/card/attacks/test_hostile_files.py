"""Files made to exhaust, confuse or take over whoever reads them; none gets past the shell."""

import gzip
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from prism_mri.card.limits import MAX_CARD_BYTES, MAX_HEADER_BYTES
from prism_mri.card.read import read_card
from prism_mri.errors import FormatError, InputError


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def as_pickle(marker: Path) -> bytes:
    return pickle.dumps({"decoder.head.weight": Payload(marker)})


def as_torch_checkpoint(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"decoder.head.weight": Payload(marker)}, stream)
    return stream.getvalue()


def as_object_array(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def as_zip(marker: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../../evil.prism", as_pickle(marker))
    return stream.getvalue()


def as_header_of_pickle(marker: Path) -> bytes:
    content = as_pickle(marker)
    return len(content).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "disguise", [as_pickle, as_torch_checkpoint, as_object_array, as_zip, as_header_of_pickle]
)
def test_code_in_disguise_is_refused_and_never_run(read, tmp_path, disguise):
    marker = tmp_path / "code-ran"
    content = disguise(marker)
    with pytest.raises(FormatError):
        read(content, trust=None, allow_unsigned=True)
    assert not marker.exists()


def test_the_payload_would_run_if_it_were_unpickled(tmp_path):
    """The marker above proves something only if the payload works."""
    pickle.loads(as_pickle(tmp_path / "code-ran"))
    assert (tmp_path / "code-ran").exists()


def test_pickle_as_tensor_data_stays_data(forge, read, tmp_path):
    payload = as_pickle(tmp_path / "code-ran")
    with pytest.raises(FormatError, match="the tensors were altered"):
        read(forge.build(data=payload + forge.data[len(payload) :]))
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 500, 0.3, 0.9, -1])
def test_truncated_card_is_refused(forge, read, kept):
    size = len(forge.content)
    stop = int(kept * size) if isinstance(kept, float) else kept % size
    with pytest.raises(FormatError, match=r"truncated|no site card"):
        read(forge.content[:stop])


@pytest.mark.parametrize("extra", [b"\0", b"PK\x05\x06" + bytes(18), bytes(1000)])
def test_trailing_bytes_are_refused(forge, read, extra):
    with pytest.raises(FormatError, match="has trailing bytes"):
        read(forge.content + extra)


@pytest.mark.parametrize("length", [0, 1, MAX_HEADER_BYTES + 1, 2**32, 2**63, 2**64 - 1])
def test_header_length_is_limited_before_anything_is_parsed(forge, read, length):
    with pytest.raises(FormatError, match=f"header of {length} bytes, allowed are 2 to 1048576"):
        read(length.to_bytes(8, "little") + forge.content[8:])


def test_header_over_the_limit_is_refused_though_it_is_there(forge, read):
    padded = forge.content[8 : 8 + int.from_bytes(forge.content[:8], "little")]
    padded += b" " * (MAX_HEADER_BYTES + 1 - len(padded))
    with pytest.raises(FormatError, match="header of 1048577 bytes"):
        read(len(padded).to_bytes(8, "little") + padded + forge.data)


def test_file_over_the_limit_is_refused_without_being_read_whole(tmp_path):
    path = tmp_path / "huge.prism"
    path.touch()
    os.truncate(path, 2**40)  # sparse: a terabyte in name alone
    with pytest.raises(FormatError, match=f"larger than the {MAX_CARD_BYTES} bytes"):
        read_card(path, allow_unsigned=True)


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.prism")
    with pytest.raises(InputError, match="is no file"):
        read_card(tmp_path / "pipe.prism", allow_unsigned=True)


def test_manifest_over_the_limit_is_refused(forge, read):
    with pytest.raises(FormatError, match="manifest of 65537 bytes, allowed are 65536"):
        read(forge.with_manifest(json.dumps(forge.manifest).ljust(65_537)))


def test_thousands_of_tensors_are_refused(forge, read):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    with pytest.raises(FormatError, match="allowed are 4096"):
        read(forge.build(tensors={f"t{i}": entry for i in range(5000)}))


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"x" * 100), b"\x89PNG\r\n\x1a\n" + bytes(100), b"GIF89a", b"\0" * 400, b"{}"],
)
def test_other_files_are_no_site_card(read, content):
    with pytest.raises(FormatError, match="no site card"):
        read(content)


def test_weights_without_a_manifest_are_no_site_card(make_model):
    with pytest.raises(FormatError, match="no prism_manifest in it"):
        read_card(make_model() / "best.safetensors", allow_unsigned=True)


@pytest.mark.parametrize(
    "metadata", [{"source": "/data/sub-01"}, {"__proto__": "x"}, {"\x1b[2J": ""}]
)
def test_other_metadata_keys_are_refused(forge, read, metadata):
    with pytest.raises(FormatError, match="does not belong in a site card") as caught:
        read(forge.build(forge.metadata | metadata))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [1, None, ["x"], {"a": "b"}])
def test_metadata_is_text(forge, read, value):
    with pytest.raises(FormatError, match="does not belong in a site card"):
        read(forge.build(forge.metadata | {"prism_manifest": value}))


def test_manifest_of_half_a_character_is_refused(forge, read):
    with pytest.raises(FormatError, match="the manifest is not valid text"):
        read(forge.build(forge.metadata | {"prism_manifest": "\ud800"}))


def test_key_that_stands_twice_in_the_header_is_refused(forge, read):
    header = json.dumps({"__metadata__": forge.metadata} | forge.header, separators=(",", ":"))
    entry = json.dumps(forge.header["decoder.head.bias"])
    twice = header[:-1] + f',"decoder.head.bias":{entry}}}'
    with pytest.raises(FormatError, match=r"header .*key 'decoder\.head\.bias' stands twice"):
        read(forge.wrap(twice, forge.data))


def test_second_metadata_is_refused(forge, read):
    header = json.dumps({"__metadata__": forge.metadata} | forge.header)
    twice = header[:-1] + ',"__metadata__":{"prism_manifest":"{}"}}'
    with pytest.raises(FormatError, match="key '__metadata__' stands twice"):
        read(forge.wrap(twice, forge.data))


def test_header_that_exhausts_the_stack_is_refused(read):
    with pytest.raises(FormatError, match="nested too deeply"):
        read(len(b"[" * 500_000).to_bytes(8, "little") + b"[" * 500_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_offsets": [0, 4]}, "begins at byte|other bytes|overlap"),
        ({"data_offsets": [-4, 0]}, "impossible shape or offsets"),
        ({"data_offsets": [4, 0]}, "other bytes than its shape needs"),
        ({"data_offsets": [0, 2**62]}, "impossible shape or offsets"),
        ({"data_offsets": [0.0, 4.0]}, "impossible shape or offsets"),
        ({"data_offsets": [False, True]}, "impossible shape or offsets"),
        ({"data_offsets": "0,4"}, "impossible shape or offsets"),
        ({"data_offsets": [0, 4, 8]}, "impossible shape or offsets"),
        ({"shape": [2**40, 2**40]}, "impossible shape or offsets"),
        ({"shape": [-1, -1]}, "impossible shape or offsets"),
        ({"shape": [1, 1, 1, 1, 1]}, "impossible shape or offsets"),
        ({"shape": [True]}, "impossible shape or offsets"),
        ({"shape": "1"}, "impossible shape or offsets"),
        ({"dtype": "I64"}, "has type 'I64'"),
        ({"dtype": "BF16"}, "has type 'BF16'"),
        ({"dtype": ["F32"]}, "has type"),
        ({"dtype": "os.system"}, "has type 'os.system'"),
        ({"loader": "torch.load"}, "not described by type, shape and offsets alone"),
    ],
)
def test_impossible_tensor_descriptions_are_refused(forge, read, change, message):
    name = "style_prior.mean"
    forge.header[name] = forge.header[name] | change
    with pytest.raises(FormatError, match=message):
        read(forge.build(tensors=forge.header))


def test_overlapping_tensors_are_refused(forge, read):
    forge.header["style_prior.std"]["data_offsets"] = forge.header["style_prior.mean"][
        "data_offsets"
    ]
    with pytest.raises(FormatError, match=r"overlap or gap"):
        read(forge.build(tensors=forge.header, data=forge.data[:-8]))


def test_gap_between_tensors_hides_nothing(forge, read):
    start, stop = forge.header["style_prior.std"]["data_offsets"]
    assert stop == len(forge.data)
    forge.header["style_prior.std"]["data_offsets"] = [start + 8, stop + 8]
    hidden = forge.data[:start] + b"sub-0001" + forge.data[start:]
    with pytest.raises(FormatError, match=r"overlap or gap"):
        read(forge.build(tensors=forge.header, data=hidden))


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "a b", "decoder.\x1b[31m", "x" * 201, ".a", "ü"]
)
def test_tensor_names_are_plain(forge, read, name):
    forge.header[name] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    with pytest.raises(FormatError, match="is no tensor name") as caught:
        read(forge.build(tensors=forge.header))
    assert str(caught.value).isprintable()
