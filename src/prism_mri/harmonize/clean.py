"""What a source brings of its own scanner beside contrast, and no target has: noise, bias field."""

from dataclasses import dataclass, replace

import numpy as np

from prism_mri.preprocessing.bias_field import correct_bias_field
from prism_mri.preprocessing.noise import denoise_slices
from prism_mri.preprocessing.orient import OrientedBrain


@dataclass(frozen=True)
class SourceCleaning:
    """What to take off a source before its anatomy is read.

    Attributes:
        bias_field: its bias field.
        noise: its noise.
    """

    bias_field: bool = True
    noise: bool = True


CLEAN_ALL = SourceCleaning()


def clean_source(brain: OrientedBrain, cleaning: SourceCleaning) -> OrientedBrain:
    """Return a brain, on its own grid and in its own units, without bias field and noise."""
    volume = brain.volume
    if cleaning.bias_field:
        volume = replace(volume, data=correct_bias_field(volume, brain.mask))
    if cleaning.noise:
        slices, mask = (
            np.ascontiguousarray(array.transpose(2, 0, 1)) for array in (volume.data, brain.mask)
        )
        clean = denoise_slices(slices, mask).transpose(1, 2, 0)
        volume = replace(volume, data=np.ascontiguousarray(clean))
    return replace(brain, volume=volume)
