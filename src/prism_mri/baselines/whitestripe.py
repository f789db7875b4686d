"""WhiteStripe: the peak of normal-appearing white matter becomes a site's."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from prism_mri.baselines.quantile import Image, Mask
from prism_mri.config import Modality
from prism_mri.errors import ImageError

_BINS = 400
_SMOOTHING = 6.0
_STRIPE = 0.05
_LEAST_HEIGHT = 0.1


@dataclass(frozen=True)
class WhiteStripe:
    """A fitted shift and scale: mean and spread of the stripe around white matter's peak.

    Source:
        Shinohara et al. 2014, NeuroImage: Clinical 6:9-19: the stripe is the 5 % of the brain on
        either side of white matter's mode. White matter is the last peak of the smoothed histogram
        on T1w and the largest one on the others, as in their software. Where they set the stripe
        to mean 0 and spread 1, it becomes the site's mean stripe here, so that the result is in the
        site's units. The kept library, intensity-normalization 3.0.1, takes no mask of a stack of
        slices and gives units of its own.
    """

    mean: float
    std: float
    modality: Modality

    @classmethod
    def fit(
        cls, images: Iterable[tuple[Image, Mask]], *, modality: Modality = "T2w"
    ) -> "WhiteStripe":
        """Average the stripes of the site's training people.

        Raises:
            ImageError: there are no images, or one has an empty mask or no contrast.
        """
        stripes = [_measure(data, mask, modality) for data, mask in images]
        if not stripes:
            raise ImageError("WhiteStripe got 0 training images; give the site's prepared people")
        mean, std = np.mean(stripes, axis=0)
        return cls(float(mean), float(std), modality)

    def transform(self, data: Image, mask: Mask) -> Image:
        """Map an image so that its white stripe becomes the site's.

        Args:
            data: scaled image of any shape.
            mask: its brain mask, same shape.

        Returns:
            Image of the same shape, float32, not negative, zero outside the mask.

        Raises:
            ImageError: the mask is empty or of another shape, or the image has no contrast.
        """
        mean, std = _measure(data, mask, self.modality)
        matched = np.zeros(data.shape, dtype=np.float32)
        matched[mask] = np.maximum(self.mean + (data[mask] - mean) * (self.std / std), 0)
        return matched


def _measure(data: Image, mask: Mask, modality: Modality) -> tuple[float, float]:
    """Return mean and standard deviation of the stripe."""
    if data.shape != mask.shape or not mask.any():
        raise ImageError(
            f"WhiteStripe needs an image {data.shape} and a mask {mask.shape} of one shape, with at"
            f" least one voxel set; {int(mask.sum())} are set"
        )
    values = data[mask].astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    if not np.isfinite(values).all() or not high > low:
        raise ImageError(
            f"WhiteStripe needs contrast: percentiles 0.5 and 99.5 in the brain are {low:g} and"
            f" {high:g}; check the image and its mask"
        )
    peak = _find_peak(values, (float(low), float(high)), last=modality == "T1w")
    place = float((values < peak).mean())
    edges = np.quantile(values, np.clip((place - _STRIPE, place + _STRIPE), 0, 1))
    stripe = values[(values >= edges[0]) & (values <= edges[1])]
    std = float(stripe.std())
    return float(stripe.mean()), std if std > 0 else float(values.std())


def _find_peak(
    values: Float64[np.ndarray, " N"], span: tuple[float, float], *, last: bool
) -> float:
    counts, edges = np.histogram(values, bins=_BINS, range=span)
    smooth = gaussian_filter1d(counts.astype(np.float64), _SMOOTHING, mode="constant")
    centres = (edges[1:] + edges[:-1]) / 2
    peaks, _ = find_peaks(smooth, height=_LEAST_HEIGHT * smooth.max())
    if not len(peaks):
        return float(centres[np.argmax(smooth)])
    chosen = peaks[-1] if last else peaks[np.argmax(smooth[peaks])]
    return float(centres[chosen])
