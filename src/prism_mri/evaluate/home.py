"""What a card's own networks make of an image: its style, and the image drawn again."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32
from torch import nn

from prism_mri.card import SiteCard
from prism_mri.data.prepared import PreparedImage
from prism_mri.evaluate.redraw import SiteNetworks, redraw_brain
from prism_mri.evaluate.results import Reconstruction
from prism_mri.harmonize.volume import encode_anatomy
from prism_mri.metrics import compute_scores
from prism_mri.models.style import encode_volume_style, select_style_slices
from prism_mri.preprocessing.conform import brain_box
from prism_mri.types import MaskStack, SliceStack


def read_style(
    slices: SliceStack, mask: MaskStack, *, card: SiteCard, anatomy_encoder: nn.Module
) -> Float32[np.ndarray, " Z"]:
    """Return the style of a volume, as a card's style encoder sees it.

    Args:
        slices: (K, H, W) in the prepared scale, zero outside the brain.
        mask: brain (K, H, W).
        card: whose style encoder.
        anatomy_encoder: of the translator that the card names.

    Returns:
        Style (Z,).
    """
    chosen = select_style_slices(mask)
    rows, columns = brain_box(mask)
    source = np.ascontiguousarray(slices[chosen, rows, columns])
    inside = np.ascontiguousarray(mask[chosen, rows, columns])
    anatomy = encode_anatomy(source, anatomy_encoder)
    return np.asarray(encode_volume_style(source, inside, anatomy, card.style_encoder).numpy())


def reconstruct(
    slices: SliceStack, mask: MaskStack, *, card: SiteCard, anatomy_encoder: nn.Module
) -> SliceStack:
    """Encode slices and decode them again with one style for the volume.

    Args:
        slices: (K, H, W) in the prepared scale, zero outside the brain.
        mask: brain (K, H, W).
        card: whose style encoder and decoder.
        anatomy_encoder: of the translator that the card names.

    Returns:
        Slices (K, H, W), zero outside the brain.
    """
    networks = SiteNetworks(anatomy_encoder, card.style_encoder, card.decoder)
    return redraw_brain(slices, mask, networks)


def score_reconstruction(
    images: Sequence[PreparedImage],
    *,
    held_out: Literal["people", "slices"],
    card: SiteCard,
    anatomy_encoder: nn.Module,
) -> Reconstruction:
    """Score how well a site's networks give back its own held-out images.

    Args:
        images: the site's validation images, at least one.
        held_out: what the site validates on: people never trained on, or slices of one person.
        card: the site's own card.
        anatomy_encoder: of the translator that the card names.

    Returns:
        Mean scores over images.
    """
    scores = []
    for image in images:
        slices, mask = image.load()
        drawn = reconstruct(slices, mask, card=card, anatomy_encoder=anatomy_encoder)
        scores.append(compute_scores(drawn, slices, mask))
    return Reconstruction(
        site=card.manifest.site,
        people=len({image.subject for image in images}),
        images=len(images),
        held_out=held_out,
        ssim=float(np.mean([score.ssim for score in scores])),
        psnr_db=float(np.mean([score.psnr_db for score in scores])),
        mae=float(np.mean([score.mae for score in scores])),
    )
