"""What a card's own networks make of slices: their style, and the slices drawn again."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from prism_mri.card import SiteCard
from prism_mri.data.prepared import PreparedImage
from prism_mri.evaluate.results import Reconstruction
from prism_mri.metrics import compute_scores
from prism_mri.preprocessing.conform import brain_box
from prism_mri.types import MaskStack, SliceStack

BATCH = 8
Style = Float64[np.ndarray, " Z"]


def encode_style(
    slices: SliceStack, mask: MaskStack, *, card: SiteCard, anatomy_encoder: nn.Module
) -> Style:
    """Return the mean style of a volume, as a card's style encoder sees it.

    Args:
        slices: (K, H, W) in the prepared scale, zero outside the brain.
        mask: brain (K, H, W).
        card: whose style encoder.
        anatomy_encoder: image (B, 1, H, W) to anatomy (B, A, H, W).

    Returns:
        Style (Z,).
    """
    rows, columns = brain_box(mask)
    with torch.inference_mode():
        means = [
            card.style_encoder(image, anatomy_encoder(image), inside).mean
            for image, inside in _batches(slices[:, rows, columns], mask[:, rows, columns])
        ]
    return np.asarray(torch.cat(means).double().mean(dim=0).numpy())


def reconstruct(
    slices: SliceStack, mask: MaskStack, *, card: SiteCard, anatomy_encoder: nn.Module
) -> SliceStack:
    """Encode slices and decode them again with one style for the volume.

    Args:
        slices: (K, H, W) in the prepared scale, zero outside the brain.
        mask: brain (K, H, W).
        card: whose style encoder and decoder.
        anatomy_encoder: image (B, 1, H, W) to anatomy (B, A, H, W).

    Returns:
        Slices (K, H, W), zero outside the brain.
    """
    style = encode_style(slices, mask, card=card, anatomy_encoder=anatomy_encoder)
    rows, columns = brain_box(mask)
    with torch.inference_mode():
        decoded = [
            card.decoder(
                anatomy_encoder(image), torch.from_numpy(style).float().expand(len(image), -1)
            )
            for image, _ in _batches(slices[:, rows, columns], mask[:, rows, columns])
        ]
    drawn = np.zeros_like(slices)
    drawn[:, rows, columns] = torch.cat(decoded)[:, 0].float().numpy()
    return np.where(mask, drawn, np.float32(0))


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
        anatomy_encoder: image (B, 1, H, W) to anatomy (B, A, H, W).

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


def _batches(slices: SliceStack, mask: MaskStack) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images = torch.from_numpy(np.ascontiguousarray(slices))[:, None]
    inside = torch.from_numpy(mask.astype(np.float32))[:, None]
    return list(zip(images.split(BATCH), inside.split(BATCH), strict=True))
