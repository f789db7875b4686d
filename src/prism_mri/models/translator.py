"""The translator: the networks that define the anatomy space, and the file that they ship in."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import Field
from torch import nn

from prism_mri.assets import translator_path
from prism_mri.config import MODALITIES, FrozenModel, PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.files import write_whole
from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
    freeze,
)
from prism_mri.networks.style_encoder import StyleEncoder

_METADATA_KEY = "translator"


class TranslatorDescription(FrozenModel):
    """What a translator file holds."""

    anatomy_encoder: AnatomyEncoderSpec = AnatomyEncoderSpec()
    style_encoder: StyleEncoderSpec = StyleEncoderSpec()
    decoder: DecoderSpec = DecoderSpec()
    contracts: tuple[PreprocessingContract, ...] = tuple(
        PreprocessingContract.for_modality(modality) for modality in MODALITIES
    )
    """How an image of each modality that the networks know must have been prepared."""
    training: dict[str, Any] = Field(default_factory=dict)


class TranslatorNetworks(nn.Module):
    """Anatomy encoder, style encoder and decoder, trained together."""

    def __init__(
        self, anatomy_encoder: AnatomyEncoder, style_encoder: StyleEncoder, decoder: Decoder
    ) -> None:
        """Hold the three networks."""
        super().__init__()
        self.anatomy_encoder = anatomy_encoder
        self.style_encoder = style_encoder
        self.decoder = decoder


@dataclass(frozen=True)
class Translator:
    """A trained translator: what defines the anatomy space.

    Attributes:
        networks: in evaluation mode.
        description: their specifications and preprocessing contracts.
        digest: SHA-256 of the anatomy encoder's tensors; two sites with the same digest speak of
            the same anatomy.
        base_digest: SHA-256 of the style encoder's and the decoder's tensors, which small cards
            build on.
    """

    networks: TranslatorNetworks
    description: TranslatorDescription
    digest: str
    base_digest: str


def write_translator(path: Path, module: nn.Module, description: TranslatorDescription) -> None:
    """Write a translator as one safetensors file, its description in the metadata."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    metadata = {_METADATA_KEY: description.model_dump_json()}
    write_whole(path, safetensors.torch.save(tensors, metadata), overwrite=True)


def read_translator(path: Path | None = None) -> Translator:
    """Read a translator, by default the shipped one.

    Raises:
        InputError: the file is missing or no translator.
    """
    path = path or translator_path()
    try:
        with safetensors.safe_open(str(path), framework="pt") as stored:
            description = TranslatorDescription.model_validate_json(
                stored.metadata()[_METADATA_KEY]
            )
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        networks = build_translator_networks(description)
        networks.load_state_dict(tensors)
    except (
        OSError,
        safetensors.SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise InputError(f"cannot read translator {path}: {str(error).splitlines()[0]}") from error
    freeze(networks)
    return seal_translator(networks, description)


def seal_translator(networks: TranslatorNetworks, description: TranslatorDescription) -> Translator:
    """Return frozen networks with the digests that name them."""
    state = networks.state_dict()
    base = {name: value for name, value in state.items() if not name.startswith("anatomy_encoder.")}
    anatomy_digest = compute_digest(networks.anatomy_encoder.state_dict())
    return Translator(networks, description, anatomy_digest, compute_digest(base))


def compute_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, types, shapes and values, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def build_translator_networks(description: TranslatorDescription) -> TranslatorNetworks:
    """Return the networks of a description with fresh weights."""
    return TranslatorNetworks(
        build_anatomy_encoder(description.anatomy_encoder),
        build_style_encoder(description.style_encoder),
        build_decoder(description.decoder),
    )
