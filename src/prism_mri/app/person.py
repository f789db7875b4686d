"""One person: claim, pass over what is done, harmonize the rest."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from prism_mri.app.claim import claim
from prism_mri.app.standing import is_done, remove_parts
from prism_mri.bids import ImageRef, reference_image
from prism_mri.errors import PrismError
from prism_mri.files import explain_os_error
from prism_mri.harmonize import (
    HarmonizeOptions,
    Networks,
    describe_output,
    find_target,
    harmonize_image,
    name_file,
    sidecar_path,
)


@dataclass(frozen=True)
class Person:
    """A participant and his or her images, as another process can be told of them.

    Attributes:
        label: without ``sub-``.
        images: paths below the dataset.
    """

    label: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes.

    Attributes:
        dataset: root of the BIDS dataset.
        out: root of the derivative.
        claims: folder of the lock files.
    """

    dataset: Path
    out: Path
    claims: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one person's images.

    Attributes:
        written: results that this run made.
        done: results that stood already.
        failures: one line an image.
        warnings: of the results that were made, by number of the image.
    """

    written: tuple[Path, ...] = ()
    done: tuple[Path, ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """How many images it is about."""
        return len(self.written) + len(self.done) + len(self.failures)


def harmonize_person(
    person: Person, places: Places, networks: Networks, options: HarmonizeOptions, *, wait: bool
) -> Outcome | None:
    """Harmonize a person's images; what fails is told, not raised.

    Args:
        person: whom.
        places: where from and where to.
        networks: what images go through.
        options: how.
        wait: for another process that has claimed the person.

    Returns:
        What became of the images, or None where another process has the person and ``wait`` is
        false.

    Raises:
        InputError: locks cannot be had.
    """
    with claim(places.claims / f"sub-{person.label}.lock", wait=wait) as held:
        if not held:
            return None
        outcome = Outcome()
        for number, relative in enumerate(person.images, start=1):
            image = reference_image(places.dataset / relative, PurePath(relative))
            outcome = _add(outcome, _harmonize(image, places, networks, options), number)
    return outcome


def _harmonize(
    image: ImageRef, places: Places, networks: Networks, options: HarmonizeOptions
) -> Outcome:
    target = find_target(image, places.out)
    try:
        for path in (target, sidecar_path(target)):
            remove_parts(path)
        if is_done(image, target, networks, options):
            _describe(places, networks, options)
            return Outcome(done=(target,))
        # Whatever stands here now is a killed run's, or to be overwritten.
        replacing = replace(options, overwrite=True)
        warnings = harmonize_image(image, target, networks, replacing, linked=True)
        _describe(places, networks, options)
    except PrismError as error:
        return Outcome(failures=(name_file(error, image),))
    except OSError as error:
        named = f"cannot use {error.filename}: " if error.filename else ""
        return Outcome(failures=(f"{image.path}: {named}{explain_os_error(error)}",))
    except MemoryError:
        return Outcome(failures=(f"{image.path}: not enough memory; give fewer --n-procs",))
    return Outcome(written=(target,), warnings=warnings)


def _describe(places: Places, networks: Networks, options: HarmonizeOptions) -> None:
    """Write the dataset's description once there is something to describe."""
    description = places.out / "dataset_description.json"
    if description.exists() and not options.overwrite:
        return
    with claim(places.claims / "dataset.lock"):
        remove_parts(description)
        describe_output(places.dataset, places.out, networks.card, overwrite=options.overwrite)


def _add(outcome: Outcome, more: Outcome, number: int) -> Outcome:
    return Outcome(
        (*outcome.written, *more.written),
        (*outcome.done, *more.done),
        (*outcome.failures, *more.failures),
        (*outcome.warnings, *(f"image {number}: {line}" for line in more.warnings)),
    )
