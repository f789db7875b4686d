"""A site's own networks, and the slices that they draw again from anatomy and one style."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from prism_mri.harmonize.volume import decode_slices, encode_anatomy
from prism_mri.models.site_model import find_anatomy_encoder, load_part, read_model
from prism_mri.models.style import read_volume_style
from prism_mri.models.translator import Translator
from prism_mri.networks.registry import (
    AnyDecoder,
    AnyStyleEncoder,
    build_decoder,
    build_style_encoder,
)
from prism_mri.preprocessing.conform import brain_box
from prism_mri.types import MaskStack, SliceStack


@dataclass(frozen=True, eq=False)
class SiteNetworks:
    """The three networks of one site, of either recipe, in evaluation mode."""

    anatomy_encoder: nn.Module
    style_encoder: AnyStyleEncoder
    decoder: AnyDecoder


def read_site_networks(model: Path, translator: Translator) -> SiteNetworks:
    """Read the networks that a training left.

    Args:
        model: folder that ``prism-mri train`` made.
        translator: whose anatomy encoder models of recipe ``anchored`` use.

    Raises:
        InputError: the folder holds no trained model, or a damaged one.
        CompatibilityError: the model is of another translator.
    """
    description, tensors = read_model(model)
    with torch.random.fork_rng(devices=[]):
        style_encoder = build_style_encoder(description.style_encoder)
        decoder = build_decoder(description.decoder)
    load_part(style_encoder, "style_encoder.", tensors, model)
    load_part(decoder, "decoder.", tensors, model)
    return SiteNetworks(
        find_anatomy_encoder(description, tensors, translator, model), style_encoder, decoder
    )


def redraw_brain(slices: SliceStack, mask: MaskStack, networks: SiteNetworks) -> SliceStack:
    """Encode slices and decode them with one style for the volume, as ``harmonize`` draws them.

    Args:
        slices: (K, H, W) in the prepared scale, zero outside the brain.
        mask: brain (K, H, W).
        networks: of the site.

    Returns:
        Slices (K, H, W), zero outside the brain.
    """
    box = (slice(None), *brain_box(mask))
    source, inside = np.ascontiguousarray(slices[box]), np.ascontiguousarray(mask[box])
    anatomy = encode_anatomy(source, networks.anatomy_encoder)
    style = read_volume_style(source, inside, anatomy, networks.style_encoder)
    drawn = np.zeros_like(slices)
    drawn[box] = decode_slices(anatomy, style, networks.decoder) * inside
    return drawn


def redraw_whole(slices: SliceStack, mask: MaskStack, networks: SiteNetworks) -> SliceStack:
    """Draw slices as `redraw_brain` does, on the whole grid and with the decoder's own background.

    Args:
        slices: (K, H, W) in the prepared scale, zero outside the brain.
        mask: brain (K, H, W); the style is read in its box.
        networks: of the site.

    Returns:
        Slices (K, H, W), nothing masked.
    """
    box = (slice(None), *brain_box(mask))
    source, inside = np.ascontiguousarray(slices[box]), np.ascontiguousarray(mask[box])
    anatomy = encode_anatomy(source, networks.anatomy_encoder)
    style = read_volume_style(source, inside, anatomy, networks.style_encoder)
    whole = encode_anatomy(np.ascontiguousarray(slices), networks.anatomy_encoder)
    return decode_slices(whole, style, networks.decoder)
