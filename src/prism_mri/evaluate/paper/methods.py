"""The methods that are compared: one small class each.

A new one inherits from `HarmonizationMethod`, and goes into the list that `evaluate_paper` takes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from torch import nn

from prism_mri.baselines import HistogramMatching, QuantileMatching, WhiteStripe, ZScore
from prism_mri.card import SiteCard
from prism_mri.config import Modality
from prism_mri.errors import ConfigError
from prism_mri.evaluate.paper.images import Spacing
from prism_mri.harmonize.volume import harmonize_volume
from prism_mri.preprocessing.bias_field import correct_bias_field
from prism_mri.types import MaskStack, SliceStack
from prism_mri.volume import Volume

TargetImages = Callable[[], Iterable[tuple[SliceStack, MaskStack, Spacing]]]
"""Reads the target's training images: all their slices, brain, voxel size."""


class HarmonizationMethod(ABC):
    """Makes an image look as if the target had made it.

    Attributes:
        name: short, lower case, stands in tables and file names.
        label: as a reader should see it.
        version: change it when the method changes, so that earlier results are not reused.
    """

    name: str
    label: str
    version: str = "1"

    def fit(self, target: TargetImages) -> None:  # noqa: B027
        """Learn what the target's images look like; nothing to do for many methods.

        Args:
            target: gives the target's training images.
        """

    @abstractmethod
    def transform(self, slices: SliceStack, mask: MaskStack, spacing_mm: Spacing) -> SliceStack:
        """Return the image as if from the target.

        Args:
            slices: (K, H, W) in the prepared scale, zero outside the brain.
            mask: (K, H, W) brain.
            spacing_mm: voxel size left-right, posterior-anterior, inferior-superior.
        """


class NotHarmonized(HarmonizationMethod):
    """The image as it is: what every table is compared with."""

    name, label = "none", "not harmonized"

    def transform(self, slices: SliceStack, mask: MaskStack, spacing_mm: Spacing) -> SliceStack:  # noqa: ARG002
        """Return the image itself."""
        return slices


class Prism(HarmonizationMethod):
    """Harmonization to a site card, as ``prism-mri harmonize`` does it."""

    name, label = "prism", "PRISM"

    def __init__(self, card: SiteCard, anatomy_encoder: nn.Module) -> None:
        """Keep the target's card and the translator's anatomy encoder."""
        self.card, self.anatomy_encoder = card, anatomy_encoder
        self.version = card.digest

    def transform(self, slices: SliceStack, mask: MaskStack, spacing_mm: Spacing) -> SliceStack:
        """Clean, encode, decode with the target's mean style, add the source's detail."""
        volume = Volume(to_volume(slices), np.diag([*spacing_mm, 1.0]))
        result = harmonize_volume(volume, to_volume(mask), self.card, self.anatomy_encoder)
        scaled = result.data / np.float32(self.card.manifest.intensity_scale)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


@runtime_checkable
class FittedMap(Protocol):
    """What `prism_mri.baselines` fit to a site's images."""

    def transform(self, data: SliceStack, mask: MaskStack) -> SliceStack:
        """Map an image onto the site's intensities."""


Fit = Callable[[Iterator[tuple[SliceStack, MaskStack]]], FittedMap]


class IntensityMap(HarmonizationMethod):
    """A map of intensities that is fitted to the target's training images in closed form."""

    def __init__(self, name: str, label: str, fit: Fit, *, correct_bias: bool = False) -> None:
        """Keep how to fit, and whether N4 comes first, on the target's images as well."""
        self.name, self.label = name, label
        self._fit, self._correct_bias = fit, correct_bias
        self._map: FittedMap | None = None

    def fit(self, target: TargetImages) -> None:
        """Fit the map to the target's training images."""
        self._map = self._fit(
            (self._clean(slices, mask, spacing), mask) for slices, mask, spacing in target()
        )

    def transform(self, slices: SliceStack, mask: MaskStack, spacing_mm: Spacing) -> SliceStack:
        """Map the whole image by one curve."""
        if self._map is None:
            raise ConfigError(f"method {self.name} was not fitted: call fit() first")
        return self._map.transform(self._clean(slices, mask, spacing_mm), mask)

    def _clean(self, slices: SliceStack, mask: MaskStack, spacing_mm: Spacing) -> SliceStack:
        if not self._correct_bias:
            return slices
        volume = Volume(to_volume(slices), np.diag([*spacing_mm, 1.0]))
        corrected = correct_bias_field(volume, to_volume(mask))
        return np.ascontiguousarray(corrected.transpose(2, 0, 1))


def build_baselines(modality: Modality) -> tuple[HarmonizationMethod, ...]:
    """Return what PRISM is compared with: nothing, and five maps of intensities."""

    def fit_stripe(images: Iterator[tuple[SliceStack, MaskStack]]) -> FittedMap:
        return WhiteStripe.fit(images, modality=modality)

    return (
        NotHarmonized(),
        IntensityMap("zscore", "z-score", ZScore.fit),
        IntensityMap("quantile", "quantile matching", QuantileMatching.fit),
        IntensityMap(
            "n4quantile", "N4 + quantile matching", QuantileMatching.fit, correct_bias=True
        ),
        IntensityMap("histogram", "histogram matching", HistogramMatching.fit),
        IntensityMap("whitestripe", "WhiteStripe", fit_stripe),
    )


def to_volume(stack: np.ndarray) -> np.ndarray:
    """Return slices (K, H, W) as a volume (H, W, K)."""
    return np.ascontiguousarray(stack.transpose(1, 2, 0))
