"""Brain extraction without any other program: BET in Python, on a grid of its own."""

import contextlib
import importlib
import importlib.metadata
import io
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import ndimage

from prism_mri.config import Modality
from prism_mri.errors import ConfigError, ImageError
from prism_mri.types import MaskArray, VolumeArray
from prism_mri.volume import Volume, as_nibabel, reorient_to_ras, resample_to

PACKAGE = "brainextractor"
SPACING_MM = 2.0
"""Voxels that the surface moves through; finer ones changed little and took four times as long."""
_NOTHING = "brain extraction found no brain; give a mask with --brain-mask"
MARGIN_MM = 30.0
"""Air around the image: the surface looks 20 mm inward and outward, and may not leave the array."""


@dataclass(frozen=True)
class BetSettings:
    """How BET looks for the brain's surface.

    Attributes:
        threshold: between dark and bright, 0 to 1 (``bt``; ``-f`` of FSL): larger gives a smaller
            brain.
        rim: what is darker than this share of the brain's median is taken off the rim: bone, where
            fluid is bright. 0 takes nothing off, as fluid darker than brain must stay.
        first_steps: of the surface, towards a brain of which only the typical intensity is used.
        steps: of the surface from there on, with that intensity.
    """

    threshold: float = 0.5
    rim: float = 0.0
    first_steps: int = 400
    steps: int = 300


SETTINGS: Final[dict[Modality, BetSettings]] = {
    "T2w": BetSettings(rim=0.5),
    "T1w": BetSettings(),
    "PDw": BetSettings(),
    "FLAIR": BetSettings(),
}
"""Chosen for T2w on simulated heads (tools/table_masks.py); the others take the same threshold."""
_FIRST_THRESHOLD = 0.7
_CEILING = 3.0
"""Multiple of the typical intensity at which the image is clipped: fat and vessels do not count."""
_CORE_STEPS = 5
"""Voxels from the first surface inward to what is brain for certain."""


def describe_bet() -> str:
    """Return the package's name and version.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError as problem:
        raise ConfigError(
            "no brain extraction is installed: pip install 'prism-mri[bet]', or give a mask with"
            " --brain-mask"
        ) from problem


def extract_by_bet(
    volume: Volume, modality: Modality = "T2w", *, settings: BetSettings | None = None
) -> MaskArray:
    """Find the brain in a head by a surface that grows until it meets the skull.

    The image is resampled to voxels of 2 mm with air around it, the mask put back by linear
    interpolation. The same image gives the same mask.

    Args:
        volume: head, any voxel order and size.
        modality: of the image.
        settings: how; None for those of the modality.

    Returns:
        Mask (I, J, K) in the voxel order of ``volume``: one piece, holes filled.

    Raises:
        ConfigError: the package is not installed.
        ImageError: no brain is found.

    Source:
        Smith 2002, Human Brain Mapping 17, 143-155, in the implementation of the package
        brainextractor. Ours: the brain's typical intensity is measured within a first surface, not
        within a sphere that takes in the neck; the rim (see :class:`BetSettings`); and filling the
        surface, since brainextractor 0.3.0 puts its mask one voxel off along every axis.
    """
    settings = settings or SETTINGS[modality]
    describe_bet()
    head = _conform_head(volume)
    found, typical = _grow_surface(head, settings)
    if settings.rim > 0:
        found = _take_off_rim(found, head.data, settings.rim * typical)
    coarse = keep_largest_piece(found)
    shares = resample_to(Volume(coarse.astype(np.float32), head.affine), volume)
    mask = keep_largest_piece(shares > 0.5)
    if not mask.any():
        raise ImageError(_NOTHING)
    return mask


def keep_largest_piece(mask: MaskArray) -> MaskArray:
    """Return the largest connected piece of a mask, its holes filled."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(pieces == sizes.argmax()))


def _conform_head(volume: Volume) -> Volume:
    """Return the image on isotropic voxels, RAS+ along its own axes, with a margin, clipped."""
    ras, _ = reorient_to_ras(volume)
    steps = np.array(ras.spacing_mm)
    # What finer voxels hold is averaged, not skipped.
    blur = np.where(steps < SPACING_MM, 0.42 * SPACING_MM / steps, 0.0)
    smooth = ndimage.gaussian_filter(ras.data, blur, mode="nearest")
    smooth -= np.float32(min(0.0, float(smooth.min())))
    margin = int(np.ceil(MARGIN_MM / SPACING_MM))
    shape = np.ceil(np.array(ras.data.shape) * steps / SPACING_MM).astype(int) + 2 * margin
    ras_from_grid = np.diag([*(SPACING_MM / steps), 1.0])
    # First voxels share their outer faces, then the margin goes before them.
    ras_from_grid[:3, 3] = (SPACING_MM / 2 - margin * SPACING_MM) / steps - 0.5
    grid = Volume(np.zeros(tuple(shape), np.float32), ras.affine @ ras_from_grid)
    data = resample_to(Volume(smooth, ras.affine), grid)
    occupied = data[data > 0.1 * np.percentile(data[data > 0], 98)]
    return Volume(np.minimum(data, np.float32(_CEILING * np.median(occupied))), grid.affine)


def _grow_surface(head: Volume, settings: BetSettings) -> tuple[MaskArray, float]:
    """Return what the surface encloses, and the brain's typical intensity."""
    # It takes voxels for millimetres divided by one spacing, and its own array for the world.
    image = as_nibabel(Volume(head.data, np.diag([SPACING_MM] * 3 + [1.0])))
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = importlib.import_module(PACKAGE)
        try:
            extractor = module.BrainExtractor(img=image, bt=_FIRST_THRESHOLD)
            extractor.run(iterations=settings.first_steps)
            first = _fill(extractor)
            core = ndimage.binary_erosion(first, iterations=_CORE_STEPS)
            typical = float(np.median(head.data[core if core.any() else first]))
            extractor.tm, extractor.bt = typical, settings.threshold
            extractor.run(iterations=settings.steps)
            return _fill(extractor), typical
        except (ArithmeticError, IndexError, ValueError) as problem:
            raise ImageError(_NOTHING) from problem


def _fill(extractor: Any) -> MaskArray:
    """Return the voxels inside the extractor's surface."""
    voxels = np.rint(extractor.surface.voxelized(1).fill().points).astype(int)
    within = ((voxels >= 0) & (voxels < np.array(extractor.shape))).all(axis=1)
    mask: MaskArray = np.zeros(extractor.shape, dtype=bool)
    mask[tuple(voxels[within].T)] = True
    if not mask.any():
        raise ImageError(_NOTHING)
    return mask


def _take_off_rim(mask: MaskArray, data: VolumeArray, darkest: float) -> MaskArray:
    """Return a mask without the dark parts that reach its surface, what hangs by a thread cut."""
    bright = mask & (ndimage.gaussian_filter(data, 0.5) > darkest)
    body = keep_largest_piece(np.asarray(ndimage.binary_opening(bright)))
    return np.asarray(ndimage.binary_closing(body, iterations=3) & mask)
