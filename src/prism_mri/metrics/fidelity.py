"""Does an image show what the truth shows: contrast, lesions, edges, volumes, even slices?

Similarity alone does not tell. Every measure is a property of one image, given the true tissues;
an image is judged by its own over the truth's, which is 1 where nothing is lost or added.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from prism_mri.errors import ImageError

Slices = Float32[np.ndarray, "_K _H _W"]
Labels = UInt8[np.ndarray, "_K _H _W"]
Mask = Bool[np.ndarray, "_K _H _W"]

CSF, GM, WM = 1, 2, 3
"""Labels of the simulator's segmentation."""
LEAST_LESION_VOXELS = 20
_LEAST_WHITE = 0.25
"""Of the fullest slice; a median over a few voxels jumps by itself."""


@dataclass(frozen=True)
class Fidelity:
    """Properties of one image; NaN where they cannot be measured."""

    gm_wm: float
    """Median of grey over median of white matter."""
    csf_wm: float
    """Median of fluid over median of white matter."""
    lesion_wm: float
    """Median of lesions over median of white matter, less 1."""
    sharpness: float
    """Mean in-plane gradient where white meets grey matter, per pixel, over their contrast."""
    flicker: float
    """RMS second difference of white matter's median from slice to slice, over its mean.

    Over slices that hold at least a quarter of the white matter of the fullest one.
    """
    csf_volume: float
    """Share of the brain that a segmentation of this image by intensity calls fluid."""
    gm_volume: float
    """The same of grey matter."""
    wm_volume: float
    """The same of white matter."""

    def relate(self, truth: "Fidelity") -> "Fidelity":
        """Return every property over the truth's."""
        return Fidelity(
            **{
                field.name: _divide(getattr(self, field.name), getattr(truth, field.name))
                for field in fields(self)
            }
        )


def measure_fidelity(image: Slices, labels: Labels, lesion: Mask, mask: Mask) -> Fidelity:
    """Measure an image.

    Args:
        image: ``(K, H, W)`` neighbouring slices, any units.
        labels: ``(K, H, W)`` true tissues: 1 CSF, 2 GM, 3 WM.
        lesion: ``(K, H, W)`` true lesions, left out of white matter.
        mask: ``(K, H, W)`` brain.

    Raises:
        ImageError: shapes differ, or a tissue is missing.

    Source:
        The segmentation gives every voxel of the brain to the tissue whose median in this image is
        nearest: as good as a threshold can be, and no better at partial volume.
    """
    if not image.shape == labels.shape == lesion.shape == mask.shape:
        raise ImageError(
            f"image {image.shape}, labels {labels.shape}, lesions {lesion.shape} and mask "
            f"{mask.shape} must have one shape"
        )
    tissues = {label: (labels == label) & mask & ~lesion for label in (CSF, GM, WM)}
    if not all(tissue.any() for tissue in tissues.values()):
        raise ImageError("fidelity needs voxels of CSF, GM and WM; give a whole brain's labels")
    median = {label: float(np.median(image[tissue])) for label, tissue in tissues.items()}
    white = median[WM]
    ill = lesion & mask
    shown = float(np.median(image[ill])) if ill.sum() >= LEAST_LESION_VOXELS else math.nan
    volumes = _segment(image[mask], median)
    return Fidelity(
        gm_wm=_divide(median[GM], white),
        csf_wm=_divide(median[CSF], white),
        lesion_wm=_divide(shown, white) - 1,
        sharpness=_divide(_measure_edges(image, tissues), abs(median[GM] - white)),
        flicker=_measure_flicker(image, tissues[WM]),
        csf_volume=volumes[CSF],
        gm_volume=volumes[GM],
        wm_volume=volumes[WM],
    )


def count_volumes(labels: Labels, mask: Mask) -> tuple[float, float, float]:
    """Return the true shares of CSF, GM and WM of the brain."""
    inside = labels[mask]
    csf, gm, wm = (float((inside == label).sum()) for label in (CSF, GM, WM))
    total = csf + gm + wm
    return csf / total, gm / total, wm / total


def _measure_edges(image: Slices, tissues: dict[int, Mask]) -> float:
    down, right = np.gradient(image, axis=(1, 2))
    gradient = np.hypot(down, right)
    edge = np.zeros_like(tissues[WM])
    for axis in (1, 2):
        for shift in (-1, 1):
            edge |= tissues[WM] & np.roll(tissues[GM], shift, axis=axis)
    # Beside anything else than these two the gradient is not theirs.
    for axis in (1, 2):
        for shift in (-1, 1):
            edge &= np.roll(tissues[WM] | tissues[GM], shift, axis=axis)
    return float(gradient[edge].mean()) if edge.any() else math.nan


def _measure_flicker(image: Slices, white: Mask) -> float:
    """Compare neighbouring slices that hold enough white matter."""
    amount = white.sum(axis=(1, 2))
    enough = amount >= max(1.0, _LEAST_WHITE * amount.max())
    levels = np.array(
        [np.median(image[k][white[k]]) if enough[k] else math.nan for k in range(len(image))]
    )
    second = np.diff(levels, n=2)
    second = second[np.isfinite(second)]
    if not len(second):
        return math.nan
    return _divide(float(np.sqrt(np.mean(second**2))), float(np.nanmean(levels)))


def _segment(values: Float32[np.ndarray, " N"], median: dict[int, float]) -> dict[int, float]:
    ordered = sorted(median, key=lambda label: median[label])
    levels = np.array([median[label] for label in ordered])
    thresholds = (levels[1:] + levels[:-1]) / 2
    shares = np.bincount(np.digitize(values, thresholds), minlength=len(ordered)) / len(values)
    return dict(zip(ordered, (float(share) for share in shares), strict=True))


def _divide(value: float, by: float) -> float:
    return value / by if by else math.nan
