"""Quantile matching: piecewise linear intensity mapping onto a site's mean landmarks.

The kept library for it, intensity-normalization 3.0.1, was read and not taken: it stretches every
training image to 1..100 between its own outer percentiles before averaging, so its output is in
units of its own and not in the target's, it extrapolates from coinciding landmarks without a
check, and it brings scikit-fuzzy along.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from prism_mri.errors import ImageError

PERCENTILES: tuple[float, ...] = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
"""Percentiles of the brain's intensities that serve as landmarks."""

Landmarks = Float64[np.ndarray, " L"]
Image = Float32[np.ndarray, "..."]
Mask = Bool[np.ndarray, "..."]


@dataclass(frozen=True, eq=False)
class QuantileMatching:
    """A fitted mapping onto a site's mean landmarks.

    Source:
        Nyúl, Udupa, Zhang 2000, IEEE TMI 19(2):143-150, with their deciles and outer percentiles.
        Two deviations. The standard scale is the mean of the training people's landmarks in the
        prepared scale, and not an arbitrary interval, so the result can be compared with the
        target's images directly. And values beyond the outer landmarks follow the line of the
        nearest piece and are cut at zero, as magnitude images are.
    """

    landmarks: Landmarks
    """Mean intensities of the site at `PERCENTILES`, ascending."""

    @classmethod
    def fit(cls, images: Iterable[tuple[Image, Mask]]) -> "QuantileMatching":
        """Average the landmarks of the site's training people.

        Args:
            images: scaled image of any shape and its brain mask, one pair a person.

        Returns:
            The fitted mapping.

        Raises:
            ImageError: there are no images, or one has an empty mask or no contrast.
        """
        landmarks = [compute_landmarks(data, mask) for data, mask in images]
        if not landmarks:
            raise ImageError(
                "quantile matching got 0 training images; give the site's prepared people"
            )
        return cls(np.mean(landmarks, axis=0))

    def transform(self, data: Image, mask: Mask) -> Image:
        """Map an image onto the site's intensities.

        Args:
            data: scaled image of any shape.
            mask: its brain mask, same shape.

        Returns:
            Image of the same shape, float32, not negative, zero outside the mask.

        Raises:
            ImageError: the mask is empty or of another shape, or the image has no contrast.
        """
        source = compute_landmarks(data, mask)
        # An image with coinciding percentiles has a vertical piece; its foot is as good as its top.
        distinct = np.concatenate([[True], np.diff(source) > 0])
        matched = np.zeros(data.shape, dtype=np.float32)
        matched[mask] = _interpolate(
            data[mask].astype(np.float64), source[distinct], self.landmarks[distinct]
        )
        return matched


def compute_landmarks(data: Image, mask: Mask) -> Landmarks:
    """Return the intensities at `PERCENTILES` inside the mask.

    Raises:
        ImageError: the mask is empty or of another shape, or the image is constant or not finite.
    """
    if data.shape != mask.shape or not mask.any():
        raise ImageError(
            f"quantile matching needs an image {data.shape} and a mask {mask.shape} of one shape, "
            f"with at least one voxel set; {int(mask.sum())} are set"
        )
    landmarks = np.asarray(np.percentile(data[mask].astype(np.float64), PERCENTILES))
    if not np.isfinite(landmarks).all() or landmarks[0] == landmarks[-1]:
        raise ImageError(
            f"quantile matching needs contrast: percentiles 1 and 99 in the brain are "
            f"{landmarks[0]:g} and {landmarks[-1]:g}; check the image and its mask"
        )
    return landmarks


def _interpolate(
    values: Float64[np.ndarray, " N"], source: Landmarks, target: Landmarks
) -> Float64[np.ndarray, " N"]:
    mapped = np.interp(values, source, target)
    slopes = np.diff(target) / np.diff(source)
    below, above = values < source[0], values > source[-1]
    mapped[below] = target[0] + slopes[0] * (values[below] - source[0])
    mapped[above] = target[-1] + slopes[-1] * (values[above] - source[-1])
    return np.asarray(np.maximum(mapped, 0))
