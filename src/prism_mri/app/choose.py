"""Which images of a BIDS dataset a run is about: by participant, session and filter."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prism_mri.app.filters import NO_FILTER, is_chosen, read_filter
from prism_mri.bids import ImageRef, find_images, is_bids_dataset
from prism_mri.errors import BidsError, InputError

_LOGGER = logging.getLogger(__name__)

_SHOWN_LABELS = 10


@dataclass(frozen=True)
class Choice:
    """What to take of a dataset; nothing given means everything.

    Attributes:
        participants: labels, with or without ``sub-``.
        sessions: labels, with or without ``ses-``.
        filter_file: JSON that says which entities names must have, see
            :func:`prism_mri.app.filters.read_filter`.
    """

    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()
    filter_file: Path | None = None


def choose_images(dataset: Path, modality: str, choice: Choice) -> list[ImageRef]:
    """Return the images of one modality that a run is about, in a stable order.

    A chosen participant who has images but not of a chosen session, or none that the filter lets
    through, is passed over with a warning.

    Args:
        dataset: root of a BIDS dataset.
        modality: BIDS suffix.
        choice: what to take.

    Raises:
        BidsError: this is no BIDS dataset, or the filter file no filter.
        InputError: a label is unknown, or nothing is left.
    """
    wanted = read_filter(choice.filter_file, modality) if choice.filter_file else NO_FILTER
    check_dataset(dataset)
    images = [
        image
        for image in find_images([dataset], modality, choosable=True)
        if image.is_bids and image.relative.parts[0] == f"sub-{image.subject}"
    ]
    people = _choose_labels(
        choice.participants, (image.subject for image in images), "sub", modality, dataset
    )
    images = [image for image in images if image.subject in people]
    sessions = _choose_labels(
        choice.sessions, (image.session for image in images), "ses", modality, dataset
    )
    if choice.sessions:
        images = [image for image in images if image.session in sessions]
    images = [image for image in images if is_chosen(image, wanted)]
    if not images:
        raise InputError(
            f"no {modality} image of {dataset} is left to harmonize: check --participant-label, "
            "--session-label and --bids-filter-file"
        )
    passed_over = len(people) - len({image.subject for image in images})
    if passed_over:
        _LOGGER.warning("%d participants have no image that was asked for", passed_over)
    return images


def check_dataset(dataset: Path) -> None:
    """Refuse what is no BIDS dataset.

    Raises:
        BidsError: no folder, or one without description and participants.
    """
    if not dataset.is_dir():
        raise BidsError(f"{dataset} is no folder: give the root of a BIDS dataset")
    if not is_bids_dataset(dataset):
        raise BidsError(
            f"{dataset} is no BIDS dataset: it has no dataset_description.json and no sub- folders"
        )


def strip_prefix(label: str, key: str) -> str:
    """Return a label without ``sub-`` or ``ses-``."""
    return label.removeprefix(f"{key}-")


def _choose_labels(
    given: Sequence[str], found: Iterable[str | None], key: str, modality: str, dataset: Path
) -> set[str]:
    """Return the labels to take; refuse those that no image has, all at once."""
    known = sorted({label for label in found if label is not None})
    wanted = {strip_prefix(label, key) for label in given} if given else set(known)
    unknown = sorted(wanted - set(known))
    if unknown:
        option = {"sub": "--participant-label", "ses": "--session-label"}[key]
        shown = ", ".join(known[:_SHOWN_LABELS]) or "none"
        more = f" and {len(known) - _SHOWN_LABELS} more" if len(known) > _SHOWN_LABELS else ""
        raise InputError(
            f"{option} {', '.join(unknown)}: no {modality} image of that label in {dataset}; "
            f"there are {shown}{more}"
        )
    return wanted
