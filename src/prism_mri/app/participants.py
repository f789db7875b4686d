"""The participant level: every chosen person's images, harmonized into one BIDS derivative."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prism_mri.app.choose import Choice, choose_images
from prism_mri.app.crew import AS_USUAL, Labour, Recipe, hire, read_networks
from prism_mri.app.person import Outcome, Person, Places
from prism_mri.app.standing import check_description
from prism_mri.bids import ImageRef
from prism_mri.errors import InputError, PartialFailure
from prism_mri.harmonize import HarmonizeOptions, check_out
from prism_mri.preprocessing.brain_mask import resolve_mask_path

_LOGGER = logging.getLogger(__name__)

WORK_FOLDER = ".prism-work"
"""Below the output folder, unless another is given."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ParticipantRun:
    """A run of the participant level.

    Attributes:
        dataset: root of the BIDS dataset.
        out: root of the derivative.
        card: the target's site card.
        trust: folder of public keys.
        allow_unsigned: accept a card that nobody vouches for.
        model: this site's own; a card of recipe ``paper`` needs one.
        options: how to harmonize.
        work: folder of the claims, the same for all processes of an output folder; None for
            ``.prism-work`` in it.
        n_procs: processes.
    """

    dataset: Path
    out: Path
    card: Path
    trust: Path | None = None
    allow_unsigned: bool = False
    model: Path | None = None
    options: HarmonizeOptions = AS_USUAL
    work: Path | None = None
    n_procs: int = 1


def harmonize_participants(
    run: ParticipantRun,
    choice: Choice | None = None,
    *,
    progress: Progress = lambda _done, _total: None,
) -> list[Path]:
    """Harmonize the chosen images that no earlier run has done.

    Any number of runs may share an output folder: a person is harmonized by one of them, and the
    others take up what it has done.

    Args:
        run: what, where and how.
        choice: of whom; None for everybody.
        progress: called with images done and images in all.

    Returns:
        The results, those that stood already included.

    Raises:
        CardError: the card is refused, or does not fit.
        InputError: nothing to do, the output folder is another dataset, or every image failed.
        PartialFailure: some images failed; the others stand.
    """
    recipe = Recipe(run.card, run.trust, run.allow_unsigned, run.model, run.options)
    networks = read_networks(recipe)
    check_out([run.dataset], run.out)
    check_description(run.out, networks.card, overwrite=run.options.overwrite)
    modality = run.options.modality or networks.card.manifest.modality
    images = choose_images(run.dataset, modality, choice or Choice())
    _check_mask_pattern(run.options.brain_mask, images)
    for doubt in networks.warnings:
        _LOGGER.warning(doubt)
    places = Places(run.dataset, run.out, (run.work or run.out / WORK_FOLDER) / "claims")
    people = _group(images)
    with hire(min(run.n_procs, len(people)), recipe, networks, places) as labour:
        outcomes = _work_off(people, labour, progress)
    return _conclude(outcomes)


def _check_mask_pattern(pattern: str | None, images: Sequence[ImageRef]) -> None:
    """Refuse a pattern that cannot be right for any image."""
    problems = []
    for image in images if pattern else ():
        try:
            resolve_mask_path(str(pattern), image)
        except InputError as problem:
            problems.append(problem)
        else:
            return
    if problems:
        raise problems[0]


def _group(images: Sequence[ImageRef]) -> list[Person]:
    people: dict[str, list[str]] = {}
    for image in images:
        people.setdefault(image.subject, []).append(image.relative.as_posix())
    return [Person(label, tuple(paths)) for label, paths in sorted(people.items())]


def _work_off(people: Sequence[Person], labour: Labour, progress: Progress) -> list[Outcome]:
    """Let all people be harmonized; whom another process has comes last, and is waited for."""
    total = sum(len(person.images) for person in people)
    outcomes: dict[str, Outcome] = {}
    for wait in (False, True):
        left = [person for person in people if person.label not in outcomes]
        for person, outcome in labour(left, wait):
            if outcome is None:
                continue
            outcomes[person.label] = outcome
            for line in outcome.warnings:
                number = people.index(person) + 1
                _LOGGER.warning("participant %d of %d, %s", number, len(people), line)
            progress(sum(one.images for one in outcomes.values()), total)
    return [outcomes[person.label] for person in people]


def _conclude(outcomes: Sequence[Outcome]) -> list[Path]:
    results = [path for one in outcomes for path in (*one.done, *one.written)]
    failures = [line for one in outcomes for line in one.failures]
    done = sum(len(one.done) for one in outcomes)
    if done:
        _LOGGER.info("%d images were done already", done)
    if failures and not results:
        lines = "; ".join(failures)
        raise InputError(f"all {len(failures)} images failed: {lines}" if failures[1:] else lines)
    if failures:
        raise PartialFailure(failures, len(results), [str(path) for path in sorted(results)])
    return sorted(results)
