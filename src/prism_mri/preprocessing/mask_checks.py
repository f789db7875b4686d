"""Signs that a brain mask is wrong, each in one line for the person who should look at it."""

import numpy as np
from scipy import ndimage

from prism_mri.preprocessing.brain_mask import MAX_SKULL_LINES, compute_skull_share
from prism_mri.types import MaskArray
from prism_mri.volume import Volume, reorient_to_ras

BRAIN_ML = (800.0, 2300.0)
MAX_STRAY_ML = 1.0
"""Of holes, and of pieces beside the brain: a few voxels are nothing."""
MAX_CUT_CM2 = 2.0
"""Of mask on a face of the field of view."""
MAX_CUT_BELOW_CM2 = 30.0
"""On the lower face: a brain stem, and the cerebellum beside it, may run out of a scan."""
_FACES = (("left", "right"), ("back", "front"), ("lower", "upper"))


def check_brain_mask(volume: Volume, mask: MaskArray) -> tuple[str, ...]:
    """Look for holes, stray pieces, a brain that is cut off, and scalp.

    Args:
        volume: the image, any voxel order.
        mask: (I, J, K) brain in the same order, not empty.

    Returns:
        One line a finding, none for a sound mask.
    """
    voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
    return (
        *_check_pieces(mask, voxel_ml),
        *_check_faces(volume, mask),
        *_check_scalp(volume, mask),
    )


def compute_mask_ml(volume: Volume, mask: MaskArray) -> float:
    """Return how much is inside a mask, in millilitres."""
    return float(mask.sum() * np.prod(volume.spacing_mm)) / 1000


def check_brain_volume(millilitres: float) -> tuple[str, ...]:
    """Return a line where a mask is smaller or larger than an adult's brain."""
    low, high = BRAIN_ML
    if low <= millilitres <= high:
        return ()
    return (
        f"the brain mask holds {millilitres:.0f} ml, expected {low:.0f} to {high:.0f}: "
        "part of the brain, or a mask that is wrong?",
    )


def _check_pieces(mask: MaskArray, voxel_ml: float) -> list[str]:
    found = []
    holes_ml = float((ndimage.binary_fill_holes(mask) & ~mask).sum()) * voxel_ml
    if holes_ml > MAX_STRAY_ML:
        found.append(f"the brain mask has holes of {holes_ml:.0f} ml: fill them, or is it wrong?")
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    stray_ml = float(mask.sum() - np.bincount(pieces[mask]).max()) * voxel_ml
    if stray_ml > MAX_STRAY_ML:
        found.append(
            f"the brain mask has {count} pieces, {stray_ml:.0f} ml beside the largest:"
            " eyes or scalp left in?"
        )
    return found


def _check_faces(volume: Volume, mask: MaskArray) -> list[str]:
    """Name the faces of the field of view that cut the mask."""
    ras, reorientation = reorient_to_ras(volume)
    inside = reorientation.apply(mask)
    cut = []
    for axis, names in enumerate(_FACES):
        pixel_cm2 = float(np.prod(np.delete(ras.spacing_mm, axis))) / 100
        for end, name in zip((0, -1), names, strict=True):
            limit = MAX_CUT_BELOW_CM2 if name == "lower" else MAX_CUT_CM2
            if float(inside.take(end, axis=axis).sum()) * pixel_cm2 > limit:
                cut.append(name)
    if not cut:
        return []
    return [
        f"the brain mask touches the {' and '.join(cut)} border of the image:"
        " the brain is cut off, or the mask is wrong"
    ]


def _check_scalp(volume: Volume, mask: MaskArray) -> list[str]:
    stripped = Volume(np.where(mask, volume.data, np.float32(0)), volume.affine)
    if float(stripped.data.max()) <= 0:
        return []
    share = compute_skull_share(stripped, mask)
    if share <= MAX_SKULL_LINES:
        return []
    return [f"inside the brain mask {share:.0%} of lines cross a skull: scalp left in?"]
