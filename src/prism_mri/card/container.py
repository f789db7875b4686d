"""The outer shell of a card: canonical safetensors bytes, and a size-limited header parse.

The parse is all that happens before the signature is verified. It allocates nothing but the
header's JSON and hands out the manifest's bytes as they are stored.

The safetensors library writes the metadata in random order (its issue 584), so the same card would
get other bytes on every run; the header is therefore written here, in the layout that the library
itself uses for tensors.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from prism_mri.card.limits import (
    MAX_CARD_BYTES,
    MAX_HEADER_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_RANK,
    MAX_TENSOR_NAME,
    MAX_TENSORS,
)
from prism_mri.card.strict_json import parse_strict_object, shorten
from prism_mri.errors import FormatError

MANIFEST_KEY = "prism_manifest"
SIGNATURE_KEY = "prism_signature"
PUBLIC_KEY_KEY = "prism_public_key"
METADATA_KEYS = frozenset({MANIFEST_KEY, SIGNATURE_KEY, PUBLIC_KEY_KEY})

ITEM_BYTES = {"F32": 4, "F16": 2}
"""Element types that a card can hold, by their safetensors name."""

_PREFIX_BYTES = 8
_ALIGNMENT = 8
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class TensorEntry:
    """What the header says about one tensor; offsets count from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Container:
    """A parsed header and the untouched data behind it."""

    header: bytes
    manifest: bytes
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorEntry]
    data: memoryview


def parse_container(content: bytes, source: str) -> Container:
    """Parse the header of a card and check that it describes the file exactly.

    Args:
        content: the whole file.
        source: its name, for messages.

    Returns:
        Header, manifest bytes, metadata, tensor table and data.

    Raises:
        FormatError: a limit is broken, the header is no strict JSON, the metadata holds anything
            else than a card's keys, or the tensors do not cover the data exactly (overlap, gap,
            truncation, trailing bytes).
    """
    if len(content) > MAX_CARD_BYTES:
        raise FormatError(f"{source}: larger than the {MAX_CARD_BYTES} bytes a site card may have")
    header = _slice_header(content, source)
    table = parse_strict_object(header, "header", source)
    metadata = _parse_metadata(table.pop("__metadata__", None), source)
    data = memoryview(content)[_PREFIX_BYTES + len(header) :]
    tensors = _parse_tensors(table, source)
    _check_tiling(tensors, len(data), source)
    return Container(header, _manifest_bytes(metadata, source), metadata, tensors, data)


def lay_out(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, TensorEntry]:
    """Return the only layout that a card may have: wider types first, then by name, without gaps.

    Args:
        tensors: safetensors type name and shape by tensor name.

    Returns:
        Table of entries in the order of their offsets.
    """
    entries: dict[str, TensorEntry] = {}
    start = 0
    for name, (dtype, shape) in sorted(
        tensors.items(), key=lambda item: (-ITEM_BYTES[item[1][0]], item[0])
    ):
        stop = start + math.prod(shape) * ITEM_BYTES[dtype]
        entries[name] = TensorEntry(dtype, shape, start, stop)
        start = stop
    return entries


def encode_header(metadata: Mapping[str, str], tensors: Mapping[str, TensorEntry]) -> bytes:
    """Return the canonical header: sorted metadata, tensors as given, spaces up to 8 bytes."""
    table: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    for name, entry in tensors.items():
        table[name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [entry.start, entry.stop],
        }
    header = json.dumps(table, separators=(",", ":")).encode("ascii")
    return header + b" " * (-len(header) % _ALIGNMENT)


def encode_container(
    metadata: Mapping[str, str], tensors: Mapping[str, TensorEntry], data: bytes
) -> bytes:
    """Return the bytes of a card file: the same arguments give the same bytes."""
    header = encode_header(metadata, tensors)
    return len(header).to_bytes(_PREFIX_BYTES, "little") + header + data


def _slice_header(content: bytes, source: str) -> bytes:
    length = int.from_bytes(content[:_PREFIX_BYTES], "little")
    if len(content) < _PREFIX_BYTES or not 2 <= length <= MAX_HEADER_BYTES:
        raise FormatError(
            f"{source}: no site card (header of {length} bytes, allowed are 2 to "
            f"{MAX_HEADER_BYTES}): "
            "give a file that 'prism-mri publish' wrote"
        )
    header = content[_PREFIX_BYTES : _PREFIX_BYTES + length]
    if len(header) < length:
        raise FormatError(
            f"{source}: truncated inside the header ({len(header)} of {length} bytes): get the "
            "file again"
        )
    return header


def _parse_metadata(stored: object, source: str) -> dict[str, str]:
    if not isinstance(stored, dict) or MANIFEST_KEY not in stored:
        raise FormatError(
            f"{source}: no site card (no {MANIFEST_KEY} in it): give a card, not a model's weights"
        )
    metadata: dict[str, str] = {}
    for key, value in stored.items():
        if key not in METADATA_KEYS or not isinstance(value, str):
            raise FormatError(
                f"{source}: metadata key {shorten(repr(key))} does not belong in a site card: do "
                "not use this file"
            )
        metadata[key] = value
    return metadata


def _manifest_bytes(metadata: Mapping[str, str], source: str) -> bytes:
    try:
        manifest = metadata[MANIFEST_KEY].encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(
            f"{source}: the manifest is not valid text: do not use this file"
        ) from error
    if len(manifest) > MAX_MANIFEST_BYTES:
        raise FormatError(
            f"{source}: manifest of {len(manifest)} bytes, allowed are {MAX_MANIFEST_BYTES}: do "
            "not use this file"
        )
    return manifest


def _parse_tensors(table: Mapping[str, object], source: str) -> dict[str, TensorEntry]:
    if len(table) > MAX_TENSORS:
        raise FormatError(
            f"{source}: {len(table)} tensors, allowed are {MAX_TENSORS}: do not use this file"
        )
    return {name: _parse_entry(name, stored, source) for name, stored in table.items()}


def _parse_entry(name: str, stored: object, source: str) -> TensorEntry:
    if len(name) > MAX_TENSOR_NAME or not _NAME.fullmatch(name):
        raise FormatError(
            f"{source}: {shorten(repr(name))} is no tensor name: do not use this file"
        )
    if not isinstance(stored, dict) or set(stored) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(
            f"{source}: tensor {name} is not described by type, shape and offsets alone"
        )
    dtype, shape, offsets = stored["dtype"], stored["shape"], stored["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise FormatError(
            f"{source}: tensor {name} has type {shorten(repr(dtype))}, allowed are "
            f"{sorted(ITEM_BYTES)}"
        )
    if not _is_sizes(shape) or len(shape) > MAX_RANK or not _is_sizes(offsets) or len(offsets) != 2:
        raise FormatError(
            f"{source}: tensor {name} has an impossible shape or offsets: do not use this file"
        )
    entry = TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])
    if entry.stop - entry.start != math.prod(entry.shape) * ITEM_BYTES[dtype]:
        raise FormatError(
            f"{source}: tensor {name} has other bytes than its shape needs: do not use this file"
        )
    return entry


def _is_sizes(value: object) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item <= MAX_CARD_BYTES for item in value
    )


def _check_tiling(tensors: Mapping[str, TensorEntry], data_bytes: int, source: str) -> None:
    reached = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != reached:
            raise FormatError(
                f"{source}: tensor {name} begins at byte {entry.start}, expected {reached} "
                "(overlap or gap): "
                "do not use this file"
            )
        reached = entry.stop
    if reached != data_bytes:
        state = "truncated" if reached > data_bytes else "has trailing bytes"
        raise FormatError(
            f"{source}: {state} ({data_bytes} bytes of tensors, the header describes {reached}): "
            "get the file again"
        )
