"""Networks by registered name with typed, bounded arguments: all that a card can ask to build."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from prism_mri.config import FrozenModel
from prism_mri.networks.anatomy_encoder import TISSUES, AnatomyEncoder
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.style_encoder import StyleEncoder

Width = Annotated[int, Field(ge=4, le=64)]
StyleDim = Annotated[int, Field(ge=1, le=64)]
FreeChannels = Annotated[int, Field(ge=0, le=16)]


class AnatomyEncoderSpec(FrozenModel):
    """Arguments of :class:`AnatomyEncoder`."""

    name: Literal["anatomy-unet-1"] = "anatomy-unet-1"
    width: Width = 16
    free_channels: FreeChannels = 2


class StyleEncoderSpec(FrozenModel):
    """Arguments of :class:`StyleEncoder`."""

    name: Literal["style-tissue-1"] = "style-tissue-1"
    width: Width = 8
    style_dim: StyleDim = 8


class DecoderSpec(FrozenModel):
    """Arguments of :class:`Decoder`."""

    name: Literal["decoder-film-1"] = "decoder-film-1"
    width: Width = 16
    free_channels: FreeChannels = 2
    style_dim: StyleDim = 8


def build_anatomy_encoder(spec: AnatomyEncoderSpec) -> AnatomyEncoder:
    """Return an anatomy encoder with fresh weights."""
    return AnatomyEncoder(width=spec.width, free_channels=spec.free_channels)


def build_style_encoder(spec: StyleEncoderSpec) -> StyleEncoder:
    """Return a style encoder with fresh weights."""
    return StyleEncoder(width=spec.width, style_dim=spec.style_dim)


def build_decoder(spec: DecoderSpec) -> Decoder:
    """Return a decoder with fresh weights."""
    return Decoder(
        anatomy_channels=len(TISSUES) + spec.free_channels,
        style_dim=spec.style_dim,
        width=spec.width,
    )


def expected_tensors(
    spec: AnatomyEncoderSpec | StyleEncoderSpec | DecoderSpec,
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return dtype and shape of every tensor of a network, without allocating one."""
    with torch.device("meta"):
        network: nn.Module
        match spec:
            case AnatomyEncoderSpec():
                network = build_anatomy_encoder(spec)
            case StyleEncoderSpec():
                network = build_style_encoder(spec)
            case DecoderSpec():
                network = build_decoder(spec)
    return {
        name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in network.state_dict().items()
    }
