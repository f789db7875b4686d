"""The tensors of a card: which there must be, their bytes, and their values."""

import hashlib
from collections.abc import Mapping

import torch

from prism_mri.card.container import TensorEntry, lay_out
from prism_mri.card.manifest import CardManifest
from prism_mri.errors import FormatError
from prism_mri.models.site_model import STYLE_PRIOR_PREFIX, CardKind
from prism_mri.networks.adapter import is_adapter
from prism_mri.networks.registry import AnyDecoderSpec, AnyStyleSpec, expected_tensors

STYLE_ENCODER = "style_encoder."
DECODER = "decoder."
STYLE_MEAN = STYLE_PRIOR_PREFIX + "mean"
STYLE_STD = STYLE_PRIOR_PREFIX + "std"

_TYPE_NAMES = {torch.float32: "F32", torch.float16: "F16"}
_TYPES = {name: dtype for dtype, name in _TYPE_NAMES.items()}
_NON_NEGATIVE = (".running_var", STYLE_STD)


def expect_card_tensors(
    style_encoder: AnyStyleSpec, decoder: AnyDecoderSpec, kind: CardKind = "full"
) -> dict[str, TensorEntry]:
    """Return the table of tensors that a card of these networks has; no weights are made.

    Args:
        style_encoder: registered specification.
        decoder: registered specification.
        kind: of the card.

    Returns:
        Type, shape and offsets by name: ``style_prior.mean`` and ``style_prior.std``; before them,
        of kind ``full``, ``style_encoder.*`` and ``decoder.*``, and of kind ``adapter`` the
        adapters in ``decoder.*``.
    """
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    if kind == "full":
        shapes |= {STYLE_ENCODER + name: v for name, v in expected_tensors(style_encoder).items()}
    if kind != "style":
        shapes |= {
            DECODER + name: value
            for name, value in expected_tensors(decoder).items()
            if kind == "full" or is_adapter(name)
        }
    shapes |= dict.fromkeys((STYLE_MEAN, STYLE_STD), (torch.float32, (decoder.style_dim,)))
    return lay_out({name: (_TYPE_NAMES[dtype], shape) for name, (dtype, shape) in shapes.items()})


def check_table(
    stored: Mapping[str, TensorEntry], expected: Mapping[str, TensorEntry], source: str
) -> None:
    """Check names, types, shapes and places of a card's tensors against the registered networks.

    Raises:
        FormatError: an unregistered or a missing tensor, another type or shape, or another place in
            the file.
    """
    if extra := sorted(stored.keys() - expected.keys()):
        raise FormatError(
            f"{source}: tensor {extra[0]} ({len(extra)} such) is not part of the card's networks: "
            "do not use this file"
        )
    if missing := sorted(expected.keys() - stored.keys()):
        raise FormatError(
            f"{source}: tensor {missing[0]} ({len(missing)} such) is missing: get the card again"
        )
    for name, entry in expected.items():
        found = stored[name]
        if (found.dtype, found.shape) != (entry.dtype, entry.shape):
            raise FormatError(
                f"{source}: tensor {name} is {found.dtype} {found.shape}, the registered network "
                "has "
                f"{entry.dtype} {entry.shape}: get the card again"
            )
        if found.start != entry.start:
            raise FormatError(
                f"{source}: tensor {name} lies at byte {found.start}, expected {entry.start} "
                "(renamed or reordered): "
                "do not use this file"
            )


def check_digest(data: memoryview, manifest: CardManifest, source: str) -> None:
    """Check the SHA-256 of the tensors' bytes against the manifest.

    Raises:
        FormatError: they differ.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.tensors_sha256:
        raise FormatError(
            f"{source}: the tensors were altered (SHA-256 {found[:12]}…, the manifest says "
            f"{manifest.tensors_sha256[:12]}…): get the card again from its site"
        )


def encode_tensors(tensors: Mapping[str, torch.Tensor], table: Mapping[str, TensorEntry]) -> bytes:
    """Return the tensors' bytes in the table's order, little endian."""
    return b"".join(
        tensors[name]
        .detach()
        .cpu()
        .contiguous()
        .numpy()
        .astype(f"<f{_TYPES[entry.dtype].itemsize}")
        .tobytes()
        for name, entry in table.items()
    )


def describe_tensors(tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, TensorEntry]:
    """Return the table that tensors in memory would have in a card.

    Raises:
        FormatError: a type that no card can hold.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPE_NAMES:
            raise FormatError(
                f"{source}: tensor {name} is {tensor.dtype}, a card holds float32: train again"
            )
    return lay_out(
        {name: (_TYPE_NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    )


def decode_tensors(data: memoryview, table: Mapping[str, TensorEntry]) -> dict[str, torch.Tensor]:
    """Return copies of the tensors; the table must have been checked."""
    owned = bytearray(data)
    return {
        name: torch.frombuffer(
            owned,
            dtype=_TYPES[entry.dtype],
            offset=entry.start,
            count=(entry.stop - entry.start) // _TYPES[entry.dtype].itemsize,
        ).reshape(entry.shape)
        for name, entry in table.items()
    }


def check_values(tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Check that every number is finite, and that variances and spreads are not negative.

    Raises:
        FormatError: the first tensor that fails.
    """
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise FormatError(
                f"{source}: tensor {name} holds NaN or infinity: the site must train and publish "
                "again"
            )
        if name.endswith(_NON_NEGATIVE) and bool((tensor < 0).any()):
            raise FormatError(
                f"{source}: tensor {name} holds a negative variance or spread: the site must "
                "train and publish again"
            )
