"""The main path: clean → conform → anatomy → the target's style → decode → detail → native grid."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from prism_mri.card import SiteCard
from prism_mri.harmonize.clean import CLEAN_ALL, SourceCleaning, clean_source
from prism_mri.harmonize.native_detail import add_native_detail
from prism_mri.harmonize.source_detail import add_source_detail
from prism_mri.harmonize.warn import check_tissues, find_warnings
from prism_mri.models.style import read_volume_style
from prism_mri.models.tissue_order import is_order_reliable
from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.networks.registry import AnyDecoder
from prism_mri.preprocessing.conform import brain_box, conform
from prism_mri.preprocessing.orient import orient_brain
from prism_mri.types import MaskArray, MaskStack, SliceStack, VolumeArray
from prism_mri.volume import Volume

StyleMode = Literal["uniform", "image", "sample"]

_BATCH = 8
_IMAGE_STYLE_LIMIT = 2.0


@dataclass(frozen=True, eq=False)
class Harmonized:
    """A volume as the target would have scanned it.

    Attributes:
        data: ``(I, J, K)`` float32 on the input's own grid, in the card's intensity units, zero
            outside the brain.
        scale: the input's native intensity units per 1.0 of the prepared scale.
        style: ``(Z,)`` style that it was decoded with, one for the whole volume.
        warnings: what makes the result doubtful, one line each.
        other_modality: how the input's tissues differ from the card's modality; None where they do
            not. It is among the warnings; harmonizing files refuses such an input.
    """

    data: VolumeArray
    scale: float
    style: Float32[np.ndarray, " Z"]
    warnings: tuple[str, ...]
    other_modality: str | None


@torch.no_grad()
def harmonize_volume(
    volume: Volume,
    mask: MaskArray,
    card: SiteCard,
    anatomy_encoder: nn.Module,
    *,
    tissue_encoder: AnatomyEncoder | None = None,
    style: StyleMode = "uniform",
    generator: torch.Generator | None = None,
    source_detail: bool = True,
    cleaning: SourceCleaning | None = CLEAN_ALL,
) -> Harmonized:
    """Harmonize one volume to a card's site.

    Args:
        volume: the image, on-disk voxel order, any orientation and voxel size.
        mask: ``(I, J, K)`` brain in the same order.
        card: the target's.
        anatomy_encoder: of the translator that the card names, or for a card of recipe ``paper`` of
            the source's own model; in evaluation mode.
        tissue_encoder: the translator's anatomy encoder, which tells tissues apart for the checks;
            by default ``anatomy_encoder`` where that names tissues, else they are left out.
        style: "uniform" takes the target's mean style, "image" what the target's style encoder
            reads from this image, held within two standard deviations of the target's own, "sample"
            draws from the target's.
        generator: source of randomness for "sample".
        source_detail: add what the networks leave out of the source, see
            :func:`prism_mri.harmonize.source_detail.add_source_detail`; without it the result is
            the networks' alone, as it always is for a card of recipe ``paper``, whose decoder need
            not know the source's anatomy.
        cleaning: what to take off the source first; None for a source that is clean. A card of
            recipe ``paper`` takes sources as they come, since its encoders were trained on such.

    Returns:
        The harmonized volume on the input's grid, its style, and warnings.

    Raises:
        ImageError: the brain does not fit the conform grid, or its intensities cannot be scaled.
    """
    manifest = card.manifest
    brain = orient_brain(volume, mask)
    if cleaning is not None and manifest.recipe == "anchored":
        brain = clean_source(brain, cleaning)
    conformed = conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, manifest.contract)
    rows, columns = brain_box(conformed.mask)
    source = np.ascontiguousarray(conformed.slices[:, rows, columns])
    inside = np.ascontiguousarray(conformed.mask[:, rows, columns])
    anatomy = encode_anatomy(source, anatomy_encoder)
    chosen = choose_style(style, source, inside, anatomy, card, generator)
    drawn = np.asarray(decode_slices(anatomy, chosen, card.decoder) * inside)
    own = redraw_source(source, inside, anatomy, card) if manifest.recipe == "anchored" else None
    decoded = np.zeros_like(conformed.slices)
    slice_mm = brain.volume.spacing_mm[2]
    decoded[:, rows, columns] = (
        drawn
        if own is None or not source_detail
        else add_source_detail(drawn, own, source, inside, slice_mm=slice_mm)
    )
    native = add_native_detail(decoded, conformed, brain.volume.data, brain.mask)
    native *= np.float32(manifest.intensity_scale)
    named_by = tissue_encoder or anatomy_encoder
    fractions = anatomy if named_by is anatomy_encoder else encode_anatomy(source, named_by)
    found = find_warnings(source, inside, own, brain.volume.spacing_mm, manifest.contract)
    tissues = check_tissues(source, drawn, inside, fractions, manifest.modality)
    return Harmonized(
        data=brain.reorientation.invert(native),
        scale=conformed.scale,
        style=chosen.numpy(),
        warnings=(*found, *tissues.warnings),
        other_modality=tissues.other_modality if is_order_reliable(slice_mm) else None,
    )


@torch.no_grad()
def encode_anatomy(slices: SliceStack, anatomy_encoder: nn.Module) -> torch.Tensor:
    """Return the anatomy of ``(K, H, W)`` prepared slices, ``(K, A, H, W)``."""
    images = torch.from_numpy(slices)[:, None]
    return torch.cat([anatomy_encoder(part) for part in images.split(_BATCH)])


@torch.no_grad()
def decode_slices(anatomy: torch.Tensor, style: torch.Tensor, decoder: AnyDecoder) -> SliceStack:
    """Decode ``(K, A, H, W)`` anatomy under one style ``(Z,)`` to ``(K, H, W)`` slices."""
    parts = [decoder(part, style[None])[:, 0] for part in anatomy.split(_BATCH)]
    return torch.cat(parts).numpy()


def redraw_source(
    slices: SliceStack, mask: MaskStack, anatomy: torch.Tensor, card: SiteCard
) -> SliceStack:
    """Decode ``(K, H, W)`` slices under their own style, as the card reads it; zero outside."""
    style = read_volume_style(slices, mask, anatomy, card.style_encoder)
    return np.asarray(decode_slices(anatomy, style, card.decoder) * mask)


def choose_style(
    mode: StyleMode,
    slices: SliceStack,
    mask: MaskStack,
    anatomy: torch.Tensor,
    card: SiteCard,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """Return the style ``(Z,)`` to decode a volume with; see :func:`harmonize_volume`."""
    if mode == "uniform":
        return card.style_mean
    if mode == "sample":
        noise = torch.randn(card.style_mean.shape, generator=generator)
        return card.style_mean + card.style_std * noise
    read = read_volume_style(slices, mask, anatomy, card.style_encoder)
    reach = _IMAGE_STYLE_LIMIT * card.style_std
    return card.style_mean + (read - card.style_mean).clamp(-reach, reach)
