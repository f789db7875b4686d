"""Networks by registered name with typed, bounded arguments: all that a card can ask to build."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, overload

import torch
from pydantic import Field
from torch import nn

from prism_mri.config import FrozenModel
from prism_mri.networks.anatomy_encoder import TISSUES, AnatomyEncoder
from prism_mri.networks.conditional_decoder import ConditionalDecoder
from prism_mri.networks.conv_style import ConvStyleEncoder
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.level_anatomy import LevelAnatomyEncoder
from prism_mri.networks.style_encoder import StyleEncoder

Width = Annotated[int, Field(ge=4, le=64)]
UNetWidth = Annotated[int, Field(ge=4, le=40)]
"""A card holding the widest decoder takes 54 MB; beyond, it could not be read."""
StyleDim = Annotated[int, Field(ge=1, le=64)]
FreeChannels = Annotated[int, Field(ge=0, le=16)]
Levels = Annotated[int, Field(ge=2, le=16)]


class AnatomyEncoderSpec(FrozenModel):
    """Arguments of :class:`AnatomyEncoder`."""

    name: Literal["anatomy-unet-1"] = "anatomy-unet-1"
    width: Width = 16
    free_channels: FreeChannels = 4


class StyleEncoderSpec(FrozenModel):
    """Arguments of :class:`StyleEncoder`."""

    name: Literal["style-tissue-1"] = "style-tissue-1"
    width: Width = 8
    style_dim: StyleDim = 8


class DecoderSpec(FrozenModel):
    """Arguments of :class:`Decoder`."""

    name: Literal["decoder-film-1"] = "decoder-film-1"
    width: Width = 16
    free_channels: FreeChannels = 4
    style_dim: StyleDim = 8


class LevelAnatomyEncoderSpec(FrozenModel):
    """Arguments of :class:`LevelAnatomyEncoder`; the defaults are the published size."""

    name: Literal["anatomy-levels-1"] = "anatomy-levels-1"
    width: UNetWidth = 16
    levels: Levels = 5


class ConvStyleEncoderSpec(FrozenModel):
    """Arguments of :class:`ConvStyleEncoder`; the defaults are the published size."""

    name: Literal["style-conv-1"] = "style-conv-1"
    width: UNetWidth = 16
    style_dim: StyleDim = 2


class ConditionalDecoderSpec(FrozenModel):
    """Arguments of :class:`ConditionalDecoder`; the defaults are the published size."""

    name: Literal["decoder-unet-1"] = "decoder-unet-1"
    width: UNetWidth = 32
    style_dim: StyleDim = 2


AnyAnatomySpec = Annotated[
    AnatomyEncoderSpec | LevelAnatomyEncoderSpec, Field(discriminator="name")
]
AnyStyleSpec = Annotated[StyleEncoderSpec | ConvStyleEncoderSpec, Field(discriminator="name")]
AnyDecoderSpec = Annotated[DecoderSpec | ConditionalDecoderSpec, Field(discriminator="name")]

AnyAnatomyEncoder = AnatomyEncoder | LevelAnatomyEncoder
AnyStyleEncoder = StyleEncoder | ConvStyleEncoder
AnyDecoder = Decoder | ConditionalDecoder


@dataclass(frozen=True)
class PaperSize:
    """The three networks of recipe ``paper`` at one size."""

    anatomy_encoder: LevelAnatomyEncoderSpec
    style_encoder: ConvStyleEncoderSpec
    decoder: ConditionalDecoderSpec


PAPER_SIZES: Final[dict[Literal["small", "published"], PaperSize]] = {
    "small": PaperSize(
        LevelAnatomyEncoderSpec(width=8),
        ConvStyleEncoderSpec(),
        ConditionalDecoderSpec(width=8),
    ),
    "published": PaperSize(
        LevelAnatomyEncoderSpec(), ConvStyleEncoderSpec(), ConditionalDecoderSpec()
    ),
}
"""``published``: 2.16, 0.15 and 8.64 million parameters, as many as the paper's own networks have.

``small``: for machines without a GPU, about 1 GMAC a slice of 256² for the anatomy encoder and the
decoder each, where the published ones take 4 and 16.
"""


@overload
def build_anatomy_encoder(spec: AnatomyEncoderSpec) -> AnatomyEncoder: ...
@overload
def build_anatomy_encoder(spec: LevelAnatomyEncoderSpec) -> LevelAnatomyEncoder: ...
def build_anatomy_encoder(
    spec: AnatomyEncoderSpec | LevelAnatomyEncoderSpec,
) -> AnatomyEncoder | LevelAnatomyEncoder:
    """Return an anatomy encoder with fresh weights."""
    match spec:
        case AnatomyEncoderSpec():
            return AnatomyEncoder(width=spec.width, free_channels=spec.free_channels)
        case LevelAnatomyEncoderSpec():
            return LevelAnatomyEncoder(width=spec.width, levels=spec.levels)


@overload
def build_style_encoder(spec: StyleEncoderSpec) -> StyleEncoder: ...
@overload
def build_style_encoder(spec: ConvStyleEncoderSpec) -> ConvStyleEncoder: ...
def build_style_encoder(
    spec: StyleEncoderSpec | ConvStyleEncoderSpec,
) -> StyleEncoder | ConvStyleEncoder:
    """Return a style encoder with fresh weights."""
    match spec:
        case StyleEncoderSpec():
            return StyleEncoder(width=spec.width, style_dim=spec.style_dim)
        case ConvStyleEncoderSpec():
            return ConvStyleEncoder(width=spec.width, style_dim=spec.style_dim)


@overload
def build_decoder(spec: DecoderSpec) -> Decoder: ...
@overload
def build_decoder(spec: ConditionalDecoderSpec) -> ConditionalDecoder: ...
def build_decoder(spec: DecoderSpec | ConditionalDecoderSpec) -> Decoder | ConditionalDecoder:
    """Return a decoder with fresh weights."""
    match spec:
        case DecoderSpec():
            return Decoder(
                anatomy_channels=len(TISSUES) + spec.free_channels,
                style_dim=spec.style_dim,
                width=spec.width,
            )
        case ConditionalDecoderSpec():
            return ConditionalDecoder(width=spec.width, style_dim=spec.style_dim)


def freeze(network: nn.Module) -> None:
    """Make a network ready for inference: evaluation mode, no gradients, weights channels last.

    Convolutions on a CPU are a third faster with that memory layout; results differ by rounding.
    """
    network.eval().requires_grad_(requires_grad=False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def expected_tensors(
    spec: AnyAnatomySpec | AnyStyleSpec | AnyDecoderSpec,
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return dtype and shape of every tensor of a network, without allocating one."""
    with torch.device("meta"):
        network: nn.Module
        match spec:
            case AnatomyEncoderSpec() | LevelAnatomyEncoderSpec():
                network = build_anatomy_encoder(spec)
            case StyleEncoderSpec() | ConvStyleEncoderSpec():
                network = build_style_encoder(spec)
            case DecoderSpec() | ConditionalDecoderSpec():
                network = build_decoder(spec)
    return {
        name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in network.state_dict().items()
    }
