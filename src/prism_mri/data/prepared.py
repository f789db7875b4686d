"""Read a prepared dataset: its manifest, and the slices of each image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from prism_mri.bids import PREPARED_MANIFEST
from prism_mri.config import describe_validation_error
from prism_mri.errors import InputError
from prism_mri.files import explain_os_error
from prism_mri.preprocessing.manifest import PreparedImageEntry, PreparedManifest, Split
from prism_mri.types import LabelStack, MaskStack, SliceStack
from prism_mri.volume import read_labels, read_mask, read_volume


@dataclass(frozen=True)
class PreparedImage:
    """One prepared image, or the part of it that belongs to a split.

    Attributes:
        folder: the dataset.
        entry: what the manifest says.
        slices: indices of the slices that :meth:`load` returns, from inferior.
    """

    folder: Path
    entry: PreparedImageEntry
    slices: tuple[int, ...]

    @property
    def subject(self) -> str:
        """BIDS label without ``sub-``."""
        return self.entry.subject

    def load(self) -> tuple[SliceStack, MaskStack]:
        """Read the slices and their brain mask.

        Returns:
            Slices (N, H, W) float32 in prepared units, zero outside the brain, and mask (N, H, W).

        Raises:
            ImageError: a file is missing or damaged, or image and mask do not fit each other.
            InputError: the manifest names slices that the image does not have.
        """
        volume = read_volume(self.folder / self.entry.image)
        mask = read_mask(self.folder / self.entry.mask, volume)
        if self.slices and max(self.slices) >= volume.data.shape[2]:
            raise InputError(
                f"{self.folder / self.entry.image} has {volume.data.shape[2]} slices, its manifest"
                f" names slice {max(self.slices)}; prepare the site again"
            )
        chosen = list(self.slices)
        return (
            np.ascontiguousarray(volume.data.transpose(2, 0, 1)[chosen]),
            np.ascontiguousarray(mask.transpose(2, 0, 1)[chosen]),
        )

    def load_labels(self) -> LabelStack | None:
        """Read the tissue labels of the slices, (N, H, W); None where the image came without."""
        if self.entry.labels is None:
            return None
        volume = read_volume(self.folder / self.entry.image)
        labels = read_labels(self.folder / self.entry.labels, volume)
        return np.ascontiguousarray(labels.transpose(2, 0, 1)[list(self.slices)])


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset.

    Attributes:
        folder: its root.
        manifest: what ``prepared.json`` says.
        items: all images, each with all its kept slices.
    """

    folder: Path
    manifest: PreparedManifest
    items: tuple[PreparedImage, ...]

    def split(self, name: Split) -> tuple[PreparedImage, ...]:
        """Return the images of a split, each with the slices that belong to it."""
        parts = [
            PreparedImage(self.folder, entry, _slices_of(entry, name))
            for entry in self.manifest.images
        ]
        return tuple(part for part in parts if part.slices)


def read_prepared(folder: Path) -> PreparedDataset:
    """Open a dataset that ``prism-mri prepare`` made.

    Args:
        folder: its root, with ``prepared.json``.

    Returns:
        The dataset; images are read when asked for.

    Raises:
        InputError: the manifest is missing, cannot be read or is not valid, or names files outside
            the folder.
    """
    path = folder / PREPARED_MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError as problem:
        raise InputError(
            f"{folder} is no prepared dataset: it has no {PREPARED_MANIFEST};"
            " make one with 'prism-mri prepare'"
        ) from problem
    except OSError as problem:
        raise InputError(f"cannot read {path}: {explain_os_error(problem)}") from problem
    try:
        manifest = PreparedManifest.model_validate_json(content)
    except ValidationError as problem:
        raise InputError(
            f"{path} is not valid: {describe_validation_error(problem)}; prepare the site again"
        ) from problem
    items = tuple(_all_slices(folder, entry) for entry in manifest.images)
    return PreparedDataset(folder, manifest, items)


def _all_slices(folder: Path, entry: PreparedImageEntry) -> PreparedImage:
    for relative in (entry.image, entry.mask, *([entry.labels] if entry.labels else [])):
        if not (folder / relative).resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{folder / PREPARED_MANIFEST} names {relative}, which lies outside the dataset;"
                " prepare the site again"
            )
    kept = sorted({*entry.train_slices, *entry.validation_slices, *entry.test_slices})
    return PreparedImage(folder, entry, tuple(kept))


def _slices_of(entry: PreparedImageEntry, split: Split) -> tuple[int, ...]:
    return {
        "train": entry.train_slices,
        "validation": entry.validation_slices,
        "test": entry.test_slices,
    }[split]
