"""Histogram matching: an image takes on the mean distribution of a site's intensities."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from skimage.exposure import match_histograms

from prism_mri.baselines.quantile import Image, Mask
from prism_mri.errors import ImageError

_QUANTILES = 4096


@dataclass(frozen=True, eq=False)
class HistogramMatching:
    """A site's mean quantile function, which images are matched to exactly.

    Source:
        scikit-image's ``match_histograms``; the reference is the mean over people of their
        quantile functions (the Wasserstein barycentre of their histograms).
    """

    reference: Float32[np.ndarray, " Q"]
    """Intensities that stand for the site, ascending."""

    @classmethod
    def fit(cls, images: Iterable[tuple[Image, Mask]]) -> "HistogramMatching":
        """Average the quantile functions of the site's training people.

        Raises:
            ImageError: there are no images, or a mask is empty.
        """
        levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        functions = [np.quantile(_select(data, mask), levels) for data, mask in images]
        if not functions:
            raise ImageError(
                "histogram matching got 0 training images; give the site's prepared people"
            )
        return cls(np.mean(functions, axis=0).astype(np.float32))

    def transform(self, data: Image, mask: Mask) -> Image:
        """Give an image the site's histogram.

        Args:
            data: scaled image of any shape.
            mask: its brain mask, same shape.

        Returns:
            Image of the same shape, float32, zero outside the mask.

        Raises:
            ImageError: the mask is empty or of another shape.
        """
        matched = np.zeros(data.shape, dtype=np.float32)
        matched[mask] = match_histograms(_select(data, mask), self.reference)
        return matched


def _select(data: Image, mask: Mask) -> Float32[np.ndarray, " N"]:
    if data.shape != mask.shape or not mask.any():
        raise ImageError(
            f"histogram matching needs an image {data.shape} and a mask {mask.shape} of one shape, "
            f"with at least one voxel set; {int(mask.sum())} are set"
        )
    values: Float32[np.ndarray, " N"] = data[mask]
    return values
