"""Z-score: the brain's mean and standard deviation become a site's."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from prism_mri.baselines.quantile import Image, Mask
from prism_mri.errors import ImageError


@dataclass(frozen=True)
class ZScore:
    """A fitted shift and scale onto a site's mean brain.

    Source:
        Reinhold et al. 2019, Proc. SPIE 10949, section 2.1, with a site's own mean and standard
        deviation in place of 0 and 1, so that the result is in the site's units.
    """

    mean: float
    std: float

    @classmethod
    def fit(cls, images: Iterable[tuple[Image, Mask]]) -> "ZScore":
        """Average mean and standard deviation in the brain over the site's training people.

        Raises:
            ImageError: there are no images, or one has an empty mask or no contrast.
        """
        moments = [_measure(data, mask) for data, mask in images]
        if not moments:
            raise ImageError("z-score got 0 training images; give the site's prepared people")
        mean, std = np.mean(moments, axis=0)
        return cls(float(mean), float(std))

    def transform(self, data: Image, mask: Mask) -> Image:
        """Map an image onto the site's mean and spread.

        Args:
            data: scaled image of any shape.
            mask: its brain mask, same shape.

        Returns:
            Image of the same shape, float32, not negative, zero outside the mask.

        Raises:
            ImageError: the mask is empty or of another shape, or the image has no contrast.
        """
        mean, std = _measure(data, mask)
        matched = np.zeros(data.shape, dtype=np.float32)
        matched[mask] = np.maximum(self.mean + (data[mask] - mean) * (self.std / std), 0)
        return matched


def _measure(data: Image, mask: Mask) -> tuple[float, float]:
    if data.shape != mask.shape or not mask.any():
        raise ImageError(
            f"z-score needs an image {data.shape} and a mask {mask.shape} of one shape, with at "
            f"least one voxel set; {int(mask.sum())} are set"
        )
    values = data[mask].astype(np.float64)
    mean, std = float(values.mean()), float(values.std())
    if not (np.isfinite(mean) and std > 0):
        raise ImageError(
            f"z-score needs contrast: mean and standard deviation in the brain are {mean:g} and "
            f"{std:g}; check the image and its mask"
        )
    return mean, std
