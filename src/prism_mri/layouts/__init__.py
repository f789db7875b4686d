"""How raw datasets lie on disk: plain files, BIDS, and the paper's two as their archives give them.

Every layout ends in the same :class:`prism_mri.bids.ImageRef`, which is all that comes after needs.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from prism_mri.bids import PREPARED_MANIFEST, ImageRef, find_images, is_bids_dataset
from prism_mri.errors import ConfigError, InputError
from prism_mri.layouts.adni import AdniPlace, find_adni, looks_like_adni
from prism_mri.layouts.ixi import IxiName, find_ixi, looks_like_ixi
from prism_mri.layouts.paper_counts import PAPER_COUNTS, compare_counts
from prism_mri.layouts.walk import list_quietly

__all__ = [
    "LAYOUTS",
    "PAPER_COUNTS",
    "AdniPlace",
    "IxiName",
    "Layout",
    "compare_counts",
    "find_adni",
    "find_ixi",
    "find_layout_images",
    "recognize_layout",
]

logger = logging.getLogger(__name__)

Layout = Literal["files", "bids", "ixi", "adni"]
"""``files`` is anything: NIfTI files and folders of them, BIDS names among them or not."""

LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)


def recognize_layout(inputs: Sequence[Path]) -> Layout:
    """Tell the layout by names: IXI or ADNI where an input is such a folder, else ``files``."""
    for folder in inputs:
        if not folder.is_dir() or (folder / PREPARED_MANIFEST).is_file() or is_bids_dataset(folder):
            continue
        images = list(list_quietly(folder))
        if looks_like_ixi(images):
            return "ixi"
        if looks_like_adni(images):
            return "adni"
    return "files"


def find_layout_images(
    inputs: Sequence[Path], modality: str, *, layout: Layout = "files", site: str
) -> list[ImageRef]:
    """Find the images of one modality in inputs of a layout.

    Args:
        inputs: files and folders; one folder for IXI and ADNI.
        modality: BIDS suffix, ``T2w``.
        layout: how they lie.
        site: name of the site; IXI holds several and gives this one's.

    Returns:
        The images in a stable order.

    Raises:
        ConfigError: IXI or ADNI with several inputs.
        InputError: an input does not exist or is not of the layout, or nothing was found.
    """
    if layout == "files":
        return find_images(inputs, modality, choosable=True)
    if layout == "bids":
        return _find_bids(inputs, modality)
    if len(inputs) > 1:
        raise ConfigError(
            f"layout {layout} is one folder, got {len(inputs)} inputs; give the folder above them,"
            " or pass --layout files"
        )
    folder = inputs[0]
    ixi = layout == "ixi"
    found = find_ixi(folder, site, modality) if ixi else find_adni(folder, modality)
    if modality == "T2w":
        logger.info("%s", *compare_counts({site.lower() if ixi else "adni": len(found)}))
    return list(found)


def _find_bids(inputs: Sequence[Path], modality: str) -> list[ImageRef]:
    others = [str(path) for path in inputs if not is_bids_dataset(path)]
    if others:
        raise InputError(
            f"{', '.join(others)} is no BIDS dataset: it has neither dataset_description.json nor"
            " sub- folders; check the path, or pass --layout files"
        )
    images = find_images(inputs, modality, choosable=True)
    named = [image for image in images if image.is_bids]
    if not named:
        raise InputError(
            f"no {modality} image with a BIDS name in {', '.join(map(str, inputs))}; rename them to"
            f" sub-<label>_{modality}.nii.gz, or pass --layout files"
        )
    if len(named) < len(images):
        logger.warning(
            "images passed over, since they have no BIDS names: %d of %d",
            *(len(images) - len(named), len(images)),
        )
    return named
