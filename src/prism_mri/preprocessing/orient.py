"""Bring an image and its mask to RAS+ together."""

from dataclasses import dataclass

from prism_mri.types import MaskArray
from prism_mri.volume import Reorientation, Volume, reorient_to_ras


@dataclass(frozen=True, eq=False)
class OrientedBrain:
    """An image and its brain mask in RAS+ voxel order.

    Attributes:
        volume: the image, axes closest to right, anterior, superior; nothing resampled.
        mask: (I, J, K), on the same voxels.
        reorientation: the way back to the on-disk voxel order.
    """

    volume: Volume
    mask: MaskArray
    reorientation: Reorientation


def orient_brain(volume: Volume, mask: MaskArray) -> OrientedBrain:
    """Return image and mask in RAS+ voxel order, with the way back.

    Args:
        volume: the image in on-disk voxel order.
        mask: the brain in the same order.
    """
    ras, reorientation = reorient_to_ras(volume)
    return OrientedBrain(ras, reorientation.apply(mask), reorientation)
