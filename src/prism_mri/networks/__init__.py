"""Anatomy encoder, style encoder and decoder: pure modules, built from specifications by name."""

from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
    expected_tensors,
)
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder

__all__ = [
    "AnatomyEncoder",
    "AnatomyEncoderSpec",
    "Decoder",
    "DecoderSpec",
    "GaussianStyle",
    "StyleEncoder",
    "StyleEncoderSpec",
    "build_anatomy_encoder",
    "build_decoder",
    "build_style_encoder",
    "expected_tensors",
]
