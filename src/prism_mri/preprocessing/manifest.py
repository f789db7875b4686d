"""What ``prepared.json`` says of a prepared dataset."""

from typing import Annotated, Literal

from pydantic import Field

from prism_mri.config import FrozenModel, Positive, PreprocessingContract

SITE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}$"
Split = Literal["train", "validation", "test"]
SliceIndex = Annotated[int, Field(ge=0)]


class PreparedImageEntry(FrozenModel):
    """One image of a prepared dataset."""

    subject: str
    """BIDS label without ``sub-``."""
    session: str | None
    image: str
    """Path below the dataset, with forward slashes."""
    mask: str
    mask_source: str | None = None
    """"given", "nonzero voxels", or the name and version of what extracted the brain; None in
    datasets that do not say."""
    labels: str | None = None
    """Tissue labels on the same grid, 1 CSF, 2 GM, 3 WM, where the input came with some."""
    scale: Positive
    """Native intensity units per 1.0 in the prepared image."""
    spacing_mm: tuple[Positive, Positive, Positive]
    """Voxel size of the prepared image: left-right, posterior-anterior, inferior-superior."""
    train_slices: tuple[SliceIndex, ...]
    """Slices to train on, counted from inferior; empty for held-out people."""
    validation_slices: tuple[SliceIndex, ...]
    """Slices to validate on; beside training slices only where the site has one person."""
    test_slices: tuple[SliceIndex, ...] = ()
    """Slices of people whom the input set aside for testing; no training ever looks at them."""


class PreparedManifest(FrozenModel):
    """A prepared dataset: what was done, to whom, and who is held out."""

    version: Literal[1] = 1
    site: Annotated[str, Field(pattern=SITE_PATTERN)]
    contract: PreprocessingContract
    seed: int
    validation_fraction: Annotated[float, Field(gt=0, lt=1)]
    people: Annotated[int, Field(ge=1)]
    """Everybody at the site, held-out people included."""
    held_out: Literal["people", "slices"]
    """Validation is on people never trained on, or, for one person, on slices."""
    software: str
    """Version of PRISM that prepared it."""
    images: Annotated[tuple[PreparedImageEntry, ...], Field(min_length=1)]

    @property
    def validated_on_training(self) -> int:
        """How many slices are trained on and validated on: of one person with nothing to spare."""
        return sum(
            len(set(entry.train_slices) & set(entry.validation_slices)) for entry in self.images
        )
