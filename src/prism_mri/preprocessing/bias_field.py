"""Bias field: estimate and remove the smooth gain that the coil adds."""

import numpy as np

from prism_mri.types import MaskArray, VolumeArray
from prism_mri.volume import Volume

_GRID_MM = 6.0
_ITERATIONS = (50, 50, 30)
_LEAST_DEPTH = 4
_LEAST_VOXELS = 200


def correct_bias_field(volume: Volume, mask: MaskArray) -> VolumeArray:
    """Return the image divided by its bias field, whose geometric mean in the brain is 1.

    The field is estimated on a grid of about 6 mm. It stays 1 for a brain of fewer than 200 voxels
    there, too few to tell a field from anatomy, and for a single slice, which the splines cannot
    take.

    Args:
        volume: the image, any units and orientation.
        mask: ``(I, J, K)`` brain.

    Source:
        Tustison et al. 2010, N4ITK: improved N3 bias correction, IEEE TMI 29(6), as in SimpleITK.
    """
    import SimpleITK

    image = volume.data.astype(np.float32)
    factors = [
        min(max(1, round(_GRID_MM / spacing)), size)
        for spacing, size in zip(volume.spacing_mm, image.shape, strict=True)
    ]
    if min(image.shape) < 2 or mask.sum() < _LEAST_VOXELS * np.prod(factors):
        return image
    if np.ptp(image[mask]) == 0:  # nothing to tell a field from, and no image either
        return image
    coarse, within = (  # axis 0 is SimpleITK's last
        SimpleITK.BinShrink(SimpleITK.GetImageFromArray(array), factors[::-1])
        for array in (image, mask.astype(np.float32))
    )
    within = SimpleITK.Cast(within > 0.5, SimpleITK.sitkUInt8)
    missing = [max(0, _LEAST_DEPTH - size) for size in coarse.GetSize()]
    if any(missing):  # the splines need a depth; a copy of the last slice says nothing new
        coarse, within = (
            SimpleITK.ZeroFluxNeumannPad(part, [0, 0, 0], missing) for part in (coarse, within)
        )
    correction = SimpleITK.N4BiasFieldCorrectionImageFilter()
    correction.SetMaximumNumberOfIterations(_ITERATIONS)
    correction.Execute(coarse, within)
    whole = SimpleITK.GetImageFromArray(image)
    log_field = SimpleITK.GetArrayFromImage(correction.GetLogBiasFieldAsImage(whole))
    field = np.exp(log_field - log_field[mask].mean())
    corrected: VolumeArray = (image / field).astype(np.float32)
    return corrected
