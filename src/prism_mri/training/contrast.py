"""The contrastive term of recipe ``paper``: which patches are compared with which."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from prism_mri.losses.patch_nce import compute_patch_nce, compute_published_nce
from prism_mri.networks.patch_projector import PATCH, STRIDE, PatchProjector

Objective = Literal["paper", "published-code"]

_LOSSES = {"paper": compute_patch_nce, "published-code": compute_published_nce}


def draw_places(masks: Tensor, patches: int, generator: torch.Generator) -> Tensor:
    """Draw places of patches that are mostly brain, at most ``patches`` an image.

    Args:
        masks: ``(B, 1, H, W)``, 1 in the brain.
        patches: most places to draw from one image.
        generator: source of randomness, on the CPU.

    Returns:
        Ascending indices ``(N,)`` into the ``B · h · w`` places of the projector's embeddings of
        these images; where no patch is mostly brain, those with the most of it.
    """
    filled = functional.avg_pool2d(masks.float(), PATCH, STRIDE).flatten(1).cpu()
    eligible = filled >= min(0.5, float(filled.max()))
    order = torch.rand(filled.shape, generator=generator) + eligible
    drawn = torch.zeros_like(eligible)
    chosen = order.topk(min(patches, filled.shape[1]), dim=1).indices
    drawn.scatter_(1, chosen, value=True)
    return (drawn & eligible).flatten().nonzero()[:, 0].to(masks.device)


def compute_contrast(
    projector: PatchProjector,
    anatomies: Tensor,
    images: Tensor,
    places: Tensor,
    *,
    objective: Objective,
    temperature: float,
) -> Tensor:
    """Ask each patch of the anatomy for its place in the anatomies of the altered copies.

    Args:
        projector: embeds patches.
        anatomies: ``(1 + P, B, 1, H, W)``: of the images, then of each altered copy.
        images: ``(B, 1, H, W)``, whose patches at the same places are negatives.
        places: of :func:`draw_places`.
        objective: the paper's, or the published code's.
        temperature: of the cross-entropy.

    Returns:
        Scalar in nats; chance is the logarithm of twice the number of places.

    Source:
        Galada et al. 2024, section 2.2.
    """
    every = torch.cat([anatomies.flatten(0, 1), images])
    with torch.autocast(images.device.type, enabled=False):
        embedded = projector(every.float())
        flat = embedded.movedim(1, -1).unflatten(0, (len(anatomies) + 1, -1)).flatten(1, 3)
        queries, *positives, negatives = flat[:, places]
        return _LOSSES[objective](
            queries, torch.stack(positives), negatives, temperature=temperature
        )
