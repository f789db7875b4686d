"""Noise: how much an image holds, and the image without it."""

import torch
from skimage.restoration import denoise_nl_means
from torch.nn import functional

from prism_mri.preprocessing.conform import brain_box
from prism_mri.types import MaskStack, SliceStack

_PATCH, _REACH = 5, 4
"""Sides of patches, and how far they are looked for, in pixels."""
_STRENGTH = 0.8
_LAPLACIAN = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])


def denoise_slices(slices: SliceStack, mask: MaskStack) -> SliceStack:
    """Return ``(K, H, W)`` slices with each pixel of the brain a mean of pixels in like patches.

    Slices are denoised one by one: in thick ones the next resembles too little. How alike patches
    must be follows from the noise that the image holds; nothing changes where that is 0, and
    nothing outside the brain.

    Args:
        slices: ``(K, H, W)``, any units.
        mask: ``(K, H, W)`` brain.

    Source:
        Buades et al. 2005, A non-local algorithm for image denoising, as in scikit-image (Darbon et
        al. 2008), with patches of 5 x 5 and a search over 9 x 9 pixels; the strength was chosen
        on heads that sites train on (lab notebook, round 11).
    """
    deviation = estimate_noise(slices, mask)
    if not deviation:
        return slices
    box = (slice(None), *brain_box(mask))
    inside = mask[box]
    result = slices.copy()
    cut = result[box]
    for image, brain in zip(cut, inside, strict=True):
        if brain.any():
            smooth = denoise_nl_means(
                image,
                patch_size=_PATCH,
                patch_distance=_REACH,
                h=_STRENGTH * deviation,
                sigma=deviation,
                fast_mode=True,
            )
            image[brain] = smooth[brain]
    return result


def estimate_noise(slices: SliceStack, mask: MaskStack) -> float:
    """Return the standard deviation of the noise in ``(K, H, W)`` slices, in their own units.

    Most of the brain is smooth enough for a difference of Laplacians to see noise alone; the median
    leaves out edges. 0 where the brain is too thin to tell.

    Source:
        Immerkær 1996, Fast noise variance estimation, with the median in place of the mean.
    """
    outside = torch.from_numpy(~mask)[:, None].float()
    deep = functional.max_pool2d(outside, 5, stride=1, padding=2) == 0
    response = functional.conv2d(
        torch.from_numpy(slices)[:, None], _LAPLACIAN[None, None], padding=1
    )
    values = response[deep].abs()
    # 6 is the filter's norm, 0.6745 the median of a standard half-normal variable.
    return float(values.median()) / (6 * 0.6745) if len(values) else 0.0
