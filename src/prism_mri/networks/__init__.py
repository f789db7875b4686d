"""Anatomy and style encoders and decoders: pure modules, built from specifications by name."""

from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.networks.conditional_decoder import ConditionalDecoder
from prism_mri.networks.conv_style import ConvStyleEncoder
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.level_anatomy import LevelAnatomyEncoder
from prism_mri.networks.patch_projector import PatchProjector
from prism_mri.networks.registry import (
    PAPER_SIZES,
    AnatomyEncoderSpec,
    AnyAnatomyEncoder,
    AnyAnatomySpec,
    AnyDecoder,
    AnyDecoderSpec,
    AnyStyleEncoder,
    AnyStyleSpec,
    ConditionalDecoderSpec,
    ConvStyleEncoderSpec,
    DecoderSpec,
    LevelAnatomyEncoderSpec,
    PaperSize,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
    expected_tensors,
    freeze,
)
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder
from prism_mri.networks.unet import UNet

__all__ = [
    "PAPER_SIZES",
    "AnatomyEncoder",
    "AnatomyEncoderSpec",
    "AnyAnatomyEncoder",
    "AnyAnatomySpec",
    "AnyDecoder",
    "AnyDecoderSpec",
    "AnyStyleEncoder",
    "AnyStyleSpec",
    "ConditionalDecoder",
    "ConditionalDecoderSpec",
    "ConvStyleEncoder",
    "ConvStyleEncoderSpec",
    "Decoder",
    "DecoderSpec",
    "GaussianStyle",
    "LevelAnatomyEncoder",
    "LevelAnatomyEncoderSpec",
    "PaperSize",
    "PatchProjector",
    "StyleEncoder",
    "StyleEncoderSpec",
    "UNet",
    "build_anatomy_encoder",
    "build_decoder",
    "build_style_encoder",
    "expected_tensors",
    "freeze",
]
