"""Prepared datasets of some of the people of others."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from prism_mri.bids import PREPARED_MANIFEST
from prism_mri.data.prepared import PreparedImage
from prism_mri.files import write_whole
from prism_mri.preprocessing.manifest import PreparedImageEntry, PreparedManifest

People = Mapping[int, Sequence[PreparedImage]]
"""Number to images of one person."""


def write_subset(
    folder: Path, like: PreparedManifest, *, train: People, validation: People
) -> Path:
    """Write a prepared dataset of chosen people, who are numbered and no longer named.

    Args:
        folder: to write into; it exists.
        like: whose site, contract and settings the dataset has.
        train: people to train on, wherever they were prepared.
        validation: people to validate on.

    Returns:
        The folder.
    """
    groups: dict[Literal["train", "validation"], People] = {
        "train": train,
        "validation": validation,
    }
    entries = [
        _copy(image, folder, f"{person}", number, split)
        for split, people in groups.items()
        for person, images in people.items()
        for number, image in enumerate(images)
    ]
    content = like.model_dump() | {
        "images": [entry.model_dump() for entry in entries],
        "people": len(train) + len(validation),
        "held_out": "people",
    }
    manifest = PreparedManifest.model_validate(content)
    write_whole(folder / PREPARED_MANIFEST, manifest.model_dump_json().encode())
    return folder


def _copy(
    image: PreparedImage,
    folder: Path,
    subject: str,
    number: int,
    split: Literal["train", "validation"],
) -> PreparedImageEntry:
    names = {}
    for part in ("image", "mask"):
        names[part] = f"{subject}-{number}-{part}.nii.gz"
        shutil.copyfile(image.folder / getattr(image.entry, part), folder / names[part])
    return image.entry.model_copy(
        update={
            **names,
            "subject": subject,
            "session": None,
            "train_slices": image.slices if split == "train" else (),
            "validation_slices": image.slices if split == "validation" else (),
            "test_slices": (),
        }
    )
