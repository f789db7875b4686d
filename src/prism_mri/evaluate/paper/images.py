"""The images that an evaluation looks at: some well-filled slices of everybody at every site."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from prism_mri.data.prepared import PreparedDataset, PreparedImage
from prism_mri.errors import InputError
from prism_mri.types import LabelStack, MaskStack, SliceStack

Part = Literal["train", "test"]
RESERVED = frozenset({"mean", "overall"})
Spacing = tuple[float, float, float]
ChosenStack = Float32[np.ndarray, "N H W"]
"""Some of the K slices of a volume."""


@dataclass(frozen=True, eq=False)
class SiteImage:
    """One image of a site.

    Attributes:
        site: where it was made.
        subject: BIDS label without ``sub-``.
        key: tells it from all other images of the evaluation.
        part: whether networks may learn from it.
        prepared: where its slices lie.
        chosen: which of its slices networks and distances look at.
    """

    site: str
    subject: str
    key: str
    part: Part
    prepared: PreparedImage
    chosen: tuple[int, ...]

    @property
    def person(self) -> str:
        """Site and subject: labels of different sites need not be different people."""
        return f"{self.site}/{self.subject}"

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel size: left-right, posterior-anterior, inferior-superior."""
        return self.prepared.entry.spacing_mm

    def load_all(self) -> tuple[SliceStack, MaskStack]:
        """Return all kept slices (K, H, W) and their brain."""
        return self.prepared.load()

    def load(self) -> tuple[SliceStack, MaskStack]:
        """Return the chosen slices (N, H, W) and their brain."""
        slices, mask = self.prepared.load()
        return self.choose(slices), np.ascontiguousarray(mask[list(self.chosen)])

    def load_labels(self) -> LabelStack | None:
        """Return the tissues of the chosen slices (N, H, W), where they are known."""
        labels = self.prepared.load_labels()
        return None if labels is None else np.ascontiguousarray(labels[list(self.chosen)])

    def choose(self, slices: SliceStack) -> ChosenStack:
        """Return the chosen ones of all kept slices."""
        return np.ascontiguousarray(slices[list(self.chosen)])


@dataclass(frozen=True, eq=False)
class Sites:
    """All images of all sites, and which site is the target."""

    target: str
    names: tuple[str, ...]
    images: tuple[SiteImage, ...]
    held_out: dict[str, str]
    """By site, what its test images are: "test", "validation" or "slices"."""

    @property
    def sources(self) -> tuple[str, ...]:
        """All sites but the target."""
        return tuple(name for name in self.names if name != self.target)

    def select(self, site: str, part: Part) -> tuple[SiteImage, ...]:
        """Return a site's images of one part."""
        return tuple(image for image in self.images if image.site == site and image.part == part)

    def read_target(self) -> Iterator[tuple[SliceStack, MaskStack, Spacing]]:
        """Yield the target's training images: all their slices, brain, voxel size."""
        for image in self.select(self.target, "train"):
            yield (*image.load_all(), image.spacing_mm)

    def walk(self, part: Part) -> Iterator[SiteImage]:
        """Yield all images of one part, site by site."""
        for name in self.names:
            yield from self.select(name, part)


def gather_sites(datasets: dict[str, PreparedDataset], target: str, slices: int) -> Sites:
    """Take the training people of every site, and its test people or else its validation people.

    Args:
        datasets: prepared dataset by site.
        target: one of them.
        slices: how many slices of an image networks and distances look at.

    Raises:
        InputError: fewer than two sites, the target is not among them, or a site has nobody to
            train on or to test on.
    """
    if len(datasets) < 2 or target not in datasets:
        raise InputError(
            f"the target is {target}, prepared sites are {', '.join(datasets) or 'none'}: give the"
            " target's prepared dataset and at least one other site's"
        )
    taken = sorted(RESERVED & set(datasets))
    if taken:
        raise InputError(
            f"a site is called {', '.join(taken)}, as the tables call what is of all sites:"
            " prepare it under another name"
        )
    images: list[SiteImage] = []
    held_out = {}
    for site, dataset in datasets.items():
        train = dataset.split("train")
        test = dataset.split("test") or dataset.split("validation")
        if not train or not test:
            raise InputError(
                f"{dataset.folder} has {len(train)} images to train on and {len(test)} held out:"
                " both are needed; prepare more people"
            )
        by_people = dataset.split("test") or dataset.manifest.held_out == "people"
        held_out[site] = (
            ("test" if dataset.split("test") else "validation") if by_people else "slices"
        )
        for part, found in (("train", train), ("test", test)):
            images += [
                _describe(site, part, image, slices, number)  # type: ignore[arg-type]
                for number, image in enumerate(found)
            ]
    return Sites(target, tuple(datasets), tuple(images), held_out)


def _describe(site: str, part: Part, image: PreparedImage, slices: int, number: int) -> SiteImage:
    entry = image.entry
    spread = np.linspace(0.2, 0.9, min(slices, len(image.slices))) * (len(image.slices) - 1)
    chosen = tuple(dict.fromkeys(int(index) for index in spread.round()))
    key = f"{site}+{part}{number}"  # no label of a subject: it becomes a file name
    return SiteImage(site, entry.subject, key, part, image, chosen)
