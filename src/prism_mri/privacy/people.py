"""Whom an audit compares: people trained on and people not, as an attacker would have them."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from prism_mri.data.prepared import PreparedDataset, PreparedImage, read_prepared
from prism_mri.errors import InputError
from prism_mri.harmonize.volume import encode_anatomy
from prism_mri.models.site_model import ModelDescription
from prism_mri.models.style import select_style_slices
from prism_mri.preprocessing.conform import brain_box
from prism_mri.privacy.attacks import Person
from prism_mri.training.loop import CONFIG_NAME
from prism_mri.training.site import read_training_data

_LOGGER = logging.getLogger(__name__)

MIN_PEOPLE = 2
"""Members, and others, below which nothing can be measured."""

People = list[list[PreparedImage]]
"""Images by person."""


def read_people(
    model: Path, description: ModelDescription, prepared: Path, held_out: Sequence[Path]
) -> tuple[People, People]:
    """Read who was trained on, and who was not; see :func:`prism_mri.privacy.audit.audit_model`."""
    if description.recipe != "anchored":
        raise InputError(f"{model} is of recipe {description.recipe}: audits are for anchored")
    dataset = read_prepared(prepared)
    if read_training_data(model) != dataset.manifest.model_dump(mode="json"):
        raise InputError(
            f"{model / CONFIG_NAME} says that the model was not trained on {prepared}: give the "
            "prepared dataset that it was trained on"
        )
    members = group_people(dataset.split("train"))
    others = (
        group_people(dataset.split("validation")) if dataset.manifest.held_out == "people" else []
    )
    present = {image.subject for image in dataset.items}
    left_out = 0
    for folder in held_out:
        people = _read_others(folder, dataset)
        new = [images for images in people if images[0].subject not in present]
        left_out += len(people) - len(new)
        present |= {images[0].subject for images in new}
        others += new
    same = (
        f"; {left_out} of those held out have the labels of people who are there already, and "
        "count as the same: give other people other sub- labels"
        if left_out
        else ""
    )
    if min(len(members), len(others)) < MIN_PEOPLE:
        raise InputError(
            f"an audit compares people, and there are {len(members)} trained on and {len(others)} "
            f"others: give prepared scans of more people with --held-out{same}"
        )
    if same:
        _LOGGER.warning("%d others%s", len(others), same)
    return members, others


def _read_others(folder: Path, dataset: PreparedDataset) -> People:
    other = read_prepared(folder)
    if (other.manifest.site, other.manifest.contract) != (
        dataset.manifest.site,
        dataset.manifest.contract,
    ):
        raise InputError(
            f"{folder} is of site {other.manifest.site} or prepared otherwise than the training "
            f"data of {dataset.manifest.site}: prepare held-out people as those trained on"
        )
    return group_people(other.items)


def group_people(images: Iterable[PreparedImage]) -> People:
    """Gather images by person, in their order."""
    people: dict[str, list[PreparedImage]] = {}
    for image in images:
        people.setdefault(image.subject, []).append(image)
    return list(people.values())


def read_person(images: Sequence[PreparedImage], encoder: torch.nn.Module) -> Person:
    """Read the slices that a person's style would be read from, of all their images."""
    loaded = [image.load() for image in images]
    chosen = [select_style_slices(mask) for _, mask in loaded]
    slices, mask = (
        np.concatenate([part[at] for part, at in zip(parts, chosen, strict=True)])
        for parts in zip(*loaded, strict=True)
    )
    rows, columns = brain_box(mask)
    cut, inside = (np.ascontiguousarray(stack[:, rows, columns]) for stack in (slices, mask))
    return Person(cut, inside, encode_anatomy(cut, encoder))
