"""Is the anatomy still there? Measures of a harmonized image against its own source.

None needs to know the truth, and none asks for equal contrast.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from prism_mri.metrics.image import compute_ssim_map

Slices = Float32[np.ndarray, "_K _H _W"]
Mask = Bool[np.ndarray, "_K _H _W"]
Labels = UInt8[np.ndarray, "_K _H _W"]

_GM, _WM = 2, 3
_ODD = 0.4
"""Of the contrast of grey and white matter: how far an island lies from white matter."""
_RING = 0.85
"""Share of an island's surroundings that must be ordinary white matter."""
_SMALLEST, _LARGEST = 6, 400
_LEAST_ISLANDS = 3
_QUIET = 0.7
_TAPER = 5.0
_MEDIAN_OF_NOISE = float(np.log(2))
"""Median over mean of the squared gradient of noise, which is exponentially distributed."""
_CORRELATION_SIGMA = 4.0
_STRONG = 0.5
"""Of the brain's own spread: windows that vary less say nothing of structure."""
_LOST = 0.5
"""Absolute correlation below which a window's structure counts as lost."""
_CROSS = ndimage.generate_binary_structure(2, 1)[None]


@dataclass(frozen=True)
class Islands:
    """Spots in white matter that are not like it, in a source: lesions, vessels, perivascular gaps.

    Attributes:
        parts: (K, H, W) the number of each voxel's spot, 0 outside all.
        count: how many spots.
    """

    parts: Int32[np.ndarray, "_K _H _W"]
    count: int

    @property
    def spots(self) -> Mask:
        """Return which voxels (K, H, W) lie in a spot."""
        inside: Mask = self.parts > 0
        return inside


def compute_gradient_ssim(image: Slices, source: Slices, mask: Mask) -> float:
    """Return the mean SSIM inside the brain of two images' gradient magnitudes.

    Each gradient is divided by its own root mean square in the brain, so that a change of contrast
    alone costs little.

    Args:
        image: (K, H, W) harmonized.
        source: (K, H, W) what it was made of.
        mask: (K, H, W) brain; its rim, where the background is next, does not count.
    """
    core = _get_core(mask)
    first, second = (_compute_gradient(part, core) for part in (image, source))
    ssim = compute_ssim_map(first, second, mask, data_range=4.0)
    return float(ssim[core].mean()) if core.any() else 1.0


def compute_lost_structure(image: Slices, source: Slices, mask: Mask) -> float:
    """Return the share of the source's structured windows that the image does not follow, 0 to 1.

    In windows of a Gaussian of 4 pixels, intensities are correlated; contrast may change, and turn
    over, but what varied must still vary along.

    Args:
        image: (K, H, W) harmonized.
        source: (K, H, W) what it was made of.
        mask: (K, H, W) brain; its rim does not count.
    """
    inside = mask.astype(np.float32)
    weight = np.maximum(_smooth(inside), 1e-3)
    mean_x, mean_y = _smooth(source * inside) / weight, _smooth(image * inside) / weight
    variance_x = _smooth(np.square(source) * inside) / weight - mean_x**2
    variance_y = _smooth(np.square(image) * inside) / weight - mean_y**2
    covariance = _smooth(source * image * inside) / weight - mean_x * mean_y
    spread = np.sqrt(np.maximum(variance_x, 0))
    core = _get_core(mask)
    if not core.any():
        return 0.0
    strong = core & (spread > _STRONG * float(source[core].std()))
    below = np.sqrt(np.maximum(variance_x, 1e-12) * np.maximum(variance_y, 1e-12))
    correlation = np.abs(covariance / below)
    return float((correlation[strong] < _LOST).mean()) if strong.any() else 0.0


def compute_shift(image: Slices, source: Slices, mask: Mask) -> float:
    """Return how far the image lies from its source, pixels, by the edges of both.

    Args:
        image: (K, H, W) harmonized.
        source: (K, H, W) what it was made of.
        mask: (K, H, W) brain.

    Source:
        Guizar-Sicairos et al. 2008, as in scikit-image, to a tenth of a pixel; median over slices.
    """
    core = _get_core(mask)
    # Without a mean and without a sharp end there is nothing that would match best unmoved.
    window = ndimage.gaussian_filter(core.astype(np.float32), (0, _TAPER, _TAPER)) * core
    shifts = []
    for first, second, inner, taper in zip(
        _compute_gradient(image, core), _compute_gradient(source, core), core, window, strict=True
    ):
        if inner.any() and first.any() and second.any():
            moved, _, _ = phase_cross_correlation(
                (second - second[inner].mean()) * taper,
                (first - first[inner].mean()) * taper,
                upsample_factor=10,
                normalization=None,
            )
            shifts.append(moved)
    return float(np.linalg.norm(np.median(shifts, axis=0))) if shifts else 0.0


def find_islands(source: Slices, labels: Labels, mask: Mask) -> Islands:
    """Find small spots in a source that ordinary white matter surrounds.

    The source is smoothed a little first, so that a spot is more than its noise.

    Args:
        source: (K, H, W) image.
        labels: (K, H, W) tissues, 2 GM and 3 WM.
        mask: (K, H, W) brain.
    """
    grey, white = (_take_median(source, labels, tissue) for tissue in (_GM, _WM))
    found = np.zeros(mask.shape, np.int32)
    if not abs(grey - white) > 0:
        return Islands(found, 0)
    smooth = ndimage.gaussian_filter(source, (0, _QUIET, _QUIET))
    odd = mask & (np.abs(smooth - white) > _ODD * abs(grey - white))
    plain = mask & ~odd
    parts, _count = ndimage.label(odd, structure=np.pad(_CROSS, ((1, 1), (0, 0), (0, 0))))
    sizes = np.bincount(parts.ravel())
    count = 0
    for index, where in enumerate(ndimage.find_objects(parts), start=1):
        if not _SMALLEST <= sizes[index] <= _LARGEST:
            continue
        box = _widen(where, parts.shape)
        spot = parts[box] == index
        ring = ndimage.binary_dilation(spot, _CROSS, iterations=2) & ~spot
        if plain[box][ring].mean() >= _RING:
            count += 1
            found[box][spot] = count
    return Islands(found, count)


def compute_island_contrast(
    image: Slices, source: Slices, labels: Labels, islands: Islands
) -> float | None:
    """Return how much of its islands' contrast an image kept: 1 all, 0 none.

    Contrast is the distance from white matter over that of grey from white matter, so that it does
    not change where grey, white and island do alike.

    Args:
        image: (K, H, W) harmonized.
        source: (K, H, W) what it was made of.
        labels: (K, H, W) tissues.
        islands: of the source, from `find_islands`.

    Returns:
        None where the source has fewer than three islands, or tissues do not differ.
    """
    if islands.count < _LEAST_ISLANDS:
        return None
    told = []
    for part in (image, source):
        grey, white = (_take_median(part, labels, tissue) for tissue in (_GM, _WM))
        if not abs(grey - white) > 1e-6:
            return None if part is source else 0.0
        means = ndimage.mean(part, islands.parts, range(1, islands.count + 1))
        told.append((np.asarray(means) - white) / (grey - white))
    kept, had = told
    return float((kept * had).sum() / np.square(had).sum())


def compute_edge_sharpness(image: Slices, labels: Labels) -> float | None:
    """Return the in-plane gradient where white meets grey matter over their contrast, 1/pixel.

    Root mean square, less the mean square within white matter: noise is no edge.

    Args:
        image: (K, H, W).
        labels: (K, H, W) tissues.

    Returns:
        None where the two do not meet, or do not differ.
    """
    white, grey = labels == _WM, labels == _GM
    contrast = abs(_take_median(image, labels, _GM) - _take_median(image, labels, _WM))
    edge = white & ndimage.binary_dilation(grey, _CROSS)
    edge &= ~ndimage.binary_dilation(~(white | grey), _CROSS)
    if not edge.any() or not contrast > 1e-6:
        return None
    down, right = np.gradient(image, axis=(1, 2))
    power = np.square(down) + np.square(right)
    plain = ndimage.binary_erosion(white, _CROSS, iterations=2)
    noise = float(np.median(power[plain])) / _MEDIAN_OF_NOISE if plain.any() else 0.0
    return float(np.sqrt(max(float(power[edge].mean()) - noise, 0.0)) / contrast)


def _take_median(image: Slices, labels: Labels, tissue: int) -> float:
    values = image[labels == tissue]
    return float(np.median(values)) if values.size else 0.0


def _get_core(mask: Mask) -> Mask:
    core: Mask = ndimage.binary_erosion(mask, _CROSS, iterations=3)
    return core


def _compute_gradient(image: Slices, core: Mask) -> Slices:
    down, right = np.gradient(image, axis=(1, 2))
    gradient = np.hypot(down, right)
    size = float(np.sqrt(np.mean(gradient[core] ** 2))) if core.any() else 0.0
    scaled: Slices = (gradient / size if size > 0 else gradient).astype(np.float32)
    return scaled


def _smooth(values: Slices) -> Slices:
    sigma = (0, _CORRELATION_SIGMA, _CORRELATION_SIGMA)
    smooth: Slices = ndimage.gaussian_filter(values, sigma, mode="constant")
    return smooth


def _widen(where: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(part.start - 3, 0), min(part.stop + 3, length))
        for part, length in zip(where, shape, strict=True)
    )
