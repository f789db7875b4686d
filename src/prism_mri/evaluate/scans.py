"""Read a session and its truths as slices on the source's own grid, in the prepared scale."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from prism_mri.config import PreprocessingContract
from prism_mri.errors import ImageError
from prism_mri.evaluate.dataset import Session
from prism_mri.harmonize.clean import SourceCleaning, clean_source
from prism_mri.preprocessing.intensity import compute_intensity_scale
from prism_mri.preprocessing.orient import OrientedBrain, orient_brain
from prism_mri.preprocessing.slices import select_slices
from prism_mri.types import MaskArray, MaskStack, SliceStack, VolumeArray
from prism_mri.volume import Volume, read_mask, read_volume, reorient_to_ras, resample_to

GRID_TOLERANCE_MM = 1e-2

KeptStack = Float32[np.ndarray, "kept H W"]
"""The slices of a volume that count, fewer than its K."""
KeptMask = Bool[np.ndarray, "kept H W"]


@dataclass(frozen=True, eq=False)
class Scan:
    """A session's image in RAS+ order, and the slices of it that count."""

    brain: OrientedBrain
    keep: Bool[np.ndarray, " K"]
    """Slices with enough brain to be scored."""
    contract: PreprocessingContract

    @cached_property
    def cleaned(self) -> OrientedBrain:
        """Return the brain without its noise and bias field, as harmonizing begins with."""
        return clean_source(self.brain, SourceCleaning())

    @property
    def mask(self) -> MaskStack:
        """Return the brain mask of the kept slices."""
        return np.ascontiguousarray(self.brain.mask.transpose(2, 0, 1)[self.keep])

    def stack(self, data: VolumeArray, scale: float | None = None) -> KeptStack:
        """Return the kept slices of a volume on this grid, scaled, zero outside the brain.

        Args:
            data: volume (I, J, K) in RAS+ order.
            scale: native units per 1.0; found from the volume's own brain where not given.
        """
        used = (
            compute_intensity_scale(data, self.brain.mask, self.contract)
            if scale is None
            else scale
        )
        masked = np.where(self.brain.mask, data / np.float32(used), np.float32(0))
        return np.ascontiguousarray(masked.transpose(2, 0, 1)[self.keep])


def read_scan(session: Session, contract: PreprocessingContract) -> Scan:
    """Read a session's image and brain mask.

    Raises:
        ImageError: a file cannot be used, or no slice holds enough brain.
    """
    volume = read_volume(session.image)
    brain = orient_brain(volume, read_mask(session.mask, volume))
    slices = np.ascontiguousarray(brain.mask.transpose(2, 0, 1))
    keep = select_slices(slices, brain.volume.spacing_mm[:2], contract)
    return Scan(brain, keep, contract)


def read_truth(path: Path, scan: Scan) -> SliceStack:
    """Read a truth that lies on the scan's grid, as slices scaled by its own brain.

    Raises:
        ImageError: the file cannot be used or lies on another grid.
    """
    truth, _ = reorient_to_ras(read_volume(path))
    like = scan.brain.volume
    if truth.data.shape != like.data.shape or not np.allclose(
        truth.affine, like.affine, rtol=0, atol=GRID_TOLERANCE_MM
    ):
        raise ImageError(
            f"{path} has shape {truth.data.shape} and does not lie on the grid of its source, "
            f"shape {like.data.shape}; simulate the travelling people again"
        )
    return scan.stack(truth.data)


def resample_scan(target: Scan, source: Scan) -> tuple[SliceStack, MaskStack]:
    """Bring a target session's own scan onto the source's grid by linear interpolation.

    Args:
        target: the same person on the target's scanner.
        source: whose grid to use.

    Returns:
        Kept slices (K, H, W), scaled by the brain that both scans cover, and that brain.

    Raises:
        ImageError: the two brains do not overlap in the kept slices.
    """
    grid = source.brain.volume
    data = resample_to(target.brain.volume, grid)
    inside = resample_to(_as_volume(target.brain.mask, target.brain.volume), grid) > 0.5
    both = source.brain.mask & inside
    stacked = both.transpose(2, 0, 1)[source.keep]
    if not stacked.any():
        raise ImageError(
            "the brains of two sessions of one person do not overlap; check their affines and masks"
        )
    scale = compute_intensity_scale(data, both, source.contract)
    slices = np.where(stacked, source.stack(data, scale), np.float32(0))
    return slices, np.ascontiguousarray(stacked)


def _as_volume(mask: MaskArray, like: Volume) -> Volume:
    return Volume(mask.astype(np.float32), like.affine)
