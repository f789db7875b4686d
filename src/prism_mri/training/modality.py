"""Does a site's data show the tissues in the order of the modality that it was prepared as?"""

import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from prism_mri.data.prepared import PreparedDataset, PreparedImage
from prism_mri.errors import InputError
from prism_mri.models.style import select_style_slices
from prism_mri.models.tissue_order import (
    check_tissue_order,
    is_order_reliable,
    measure_tissues,
)
from prism_mri.models.translator import Translator
from prism_mri.preprocessing.conform import brain_box

_LOGGER = logging.getLogger(__name__)

MAX_IMAGES: Final = 12
"""Images that are looked at, evenly spread over the site's."""


def check_training_modality(
    dataset: PreparedDataset, translator: Translator, *, any_modality: bool = False
) -> None:
    """Refuse a dataset most of whose images look like another modality.

    Slices thicker than 6 mm prove nothing and are left out.

    Args:
        dataset: prepared site, of either recipe.
        translator: its anatomy encoder tells tissues apart.
        any_modality: warn instead of refusing.

    Raises:
        InputError: more than half of the images looked at are not in the modality's order.
    """
    modality = dataset.manifest.contract.modality
    images = _spread(
        [image for image in dataset.split("train") if is_order_reliable(image.entry.spacing_mm[2])]
    )
    found = [_check_image(image, translator, dataset) for image in images]
    doubts = [doubt for doubt in found if doubt]
    if 2 * len(doubts) <= len(found):
        return
    message = (
        f"{dataset.folder} was prepared as {modality}, but in {len(doubts)} of {len(found)} images "
        f"looked at {doubts[0]}"
    )
    if not any_modality:
        raise InputError(f"{message}: prepare it with the right --modality, or pass --any-modality")
    _LOGGER.warning("%s", message)


def _spread(images: Sequence[PreparedImage]) -> list[PreparedImage]:
    index = (
        np.linspace(0, max(0, len(images) - 1), min(MAX_IMAGES, len(images))).round().astype(int)
    )
    return [images[position] for position in index]


@torch.no_grad()
def _check_image(
    image: PreparedImage, translator: Translator, dataset: PreparedDataset
) -> str | None:
    slices, mask = image.load()
    chosen = select_style_slices(mask)
    box = (chosen, *brain_box(mask))
    source, inside = (np.ascontiguousarray(stack[box]) for stack in (slices, mask))
    fractions = translator.networks.anatomy_encoder(torch.from_numpy(source)[:, None])
    means = measure_tissues(source, inside, fractions)
    return check_tissue_order(means, dataset.manifest.contract.modality)
