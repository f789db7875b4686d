"""What ``dataset.json`` says of a folder of slices as PNG."""

import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from prism_mri.config import FrozenModel, Positive, PreprocessingContract
from prism_mri.preprocessing.manifest import SITE_PATTERN, SliceIndex

PNG_MANIFEST: Final = "dataset.json"
PNG_KIND: Final = "prism-png"
GAMMAS: Final = (0.5, 1.5)
"""Exponents of the copies beside every image."""

PngSplit = Literal["train", "test"]
UNITS_RANGE: Final = (1e-12, 1e12)


def _check_units(value: float) -> float:
    low, high = UNITS_RANGE
    if not low <= value <= high:
        raise ValueError(f"{value:g} is out of range, expected {low:g} to {high:g}")
    return value


Units = Annotated[float, AfterValidator(_check_units)]
"""Native intensity units per something; scanners stay far within, and single precision too."""


class PngGammaCopy(FrozenModel):
    """A copy of an image with its grey values, as fractions of 255, raised to a power."""

    gamma: Positive
    image: str


class PngEntry(FrozenModel):
    """One image: the middle axial slice of a volume."""

    subject: str
    """BIDS label without ``sub-``."""
    session: str | None
    split: PngSplit
    image: str
    """Path below the folder, with forward slashes."""
    mask: str
    """255 inside the brain, 0 outside."""
    gammas: tuple[PngGammaCopy, ...]
    slice_index: SliceIndex
    """Which slice of the volume, counted from inferior."""
    spacing_mm: tuple[Positive, Positive, Positive]
    """Pixel size left-right and posterior-anterior, and distance of the volume's slices."""
    native_per_grey: Units
    """Native intensity units per grey value: multiply the image by it to undo its scaling."""
    scale: Units
    """Native intensity units per 1.0 of the prepared scale, from the whole volume."""
    clipped: Annotated[int, Field(ge=0)]
    """Pixels that were brighter than white and are 255 now."""


class PngManifest(FrozenModel):
    """A site's middle slices as PNG: what was done, to whom, and who is for testing."""

    kind: Literal["prism-png"] = PNG_KIND
    version: Literal[1] = 1
    site: Annotated[str, Field(pattern=SITE_PATTERN)]
    contract: PreprocessingContract
    white_percentile: Annotated[float, Field(gt=0, le=100)]
    """Percentile over the volume's brain that is drawn as 255."""
    orientation: Literal["front up, left at the left"] = "front up, left at the left"
    seed: int
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    people: Annotated[int, Field(ge=1)]
    software: str
    """Version of PRISM that wrote it."""
    images: Annotated[tuple[PngEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_images_differ(self) -> "PngManifest":
        # By name: folders say only the split and the person, and the name says the person too.
        names = Counter(PurePosixPath(entry.image).name for entry in self.images)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"images lists {', '.join(twice)} more than once")
        return self


def is_png_form(folder: Path) -> bool:
    """Tell whether a folder holds a ``dataset.json`` of this kind, valid or not."""
    try:
        content = json.loads((folder / PNG_MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == PNG_KIND
