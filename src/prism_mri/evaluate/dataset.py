"""Find the sessions and truths of a travelling dataset on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prism_mri.bids import BidsName, ImageRef, find_images
from prism_mri.config import Modality
from prism_mri.errors import InputError
from prism_mri.files import explain_os_error

SIMULATION_NAME = "simulation.json"
TRUTH_FOLDER = Path("derivatives") / "truth"


@dataclass(frozen=True)
class TruthPaths:
    """A person under a target's protocol, on the source's grid."""

    acquired: Path
    clean: Path


@dataclass(frozen=True)
class Session:
    """One person's scan on one scanner."""

    person: str
    scanner: str
    image: Path
    mask: Path
    truths: Mapping[str, TruthPaths]
    """By target site; only the targets that are on disk."""


@dataclass(frozen=True)
class TravellingDataset:
    """People with one session per scanner."""

    name: str
    anatomy: str
    """What the people are: deformed-template, label-maps or unknown."""
    sessions: Mapping[tuple[str, str], Session]
    """By person and scanner."""
    anatomy_of: Mapping[str, str] = field(default_factory=dict)
    """Anatomy of each person; deformed copies of one head share one."""

    @property
    def people(self) -> tuple[str, ...]:
        """Return everyone, sorted."""
        return tuple(sorted({person for person, _ in self.sessions}))

    @property
    def scanners(self) -> tuple[str, ...]:
        """Return every scanner that somebody has a session of, sorted."""
        return tuple(sorted({scanner for _, scanner in self.sessions}))

    def pairs(self, targets: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return the ordered pairs of a source scanner and another target, targets' own first."""
        sources = [scanner for scanner in targets if scanner in self.scanners]
        sources += [scanner for scanner in self.scanners if scanner not in targets]
        return tuple(
            (source, target) for source in sources for target in targets if source != target
        )


def find_travelling(
    dataset: Path, *, targets: Sequence[str], modality: Modality
) -> TravellingDataset:
    """Find everything that an evaluation needs, before anything is computed.

    Args:
        dataset: BIDS dataset with one session per scanner, truths under ``derivatives/truth``.
        targets: sites to harmonize to.
        modality: BIDS suffix.

    Returns:
        Sessions with their masks and truths.

    Raises:
        InputError: no session was found, there are no pairs, or files are missing; all in one line.
    """
    problems: list[str] = []
    sessions = {}
    for image in find_images([dataset], modality):
        if image.session is None:
            problems.append(f"{image.path.name} has no session (ses-<scanner>)")
            continue
        session = _find_session(dataset, image, image.session, targets)
        sessions[session.person, session.scanner] = session
        problems += _missing(session, targets)
    if problems:
        raise InputError(
            f"{dataset} is no complete travelling dataset: {'; '.join(problems)}; "
            "make it with 'prism-mri simulate --travelling N', naming these sites"
        )
    return _describe(dataset, sessions, targets)


def _find_session(dataset: Path, image: ImageRef, scanner: str, targets: Sequence[str]) -> Session:
    name = BidsName.parse(image.path.name)
    folder = dataset / TRUTH_FOLDER / f"sub-{image.subject}" / f"ses-{scanner}" / "anat"
    mask = BidsName(name.entities, "mask", ".nii.gz").with_entities(desc="brain")
    truths = {
        target: TruthPaths(
            *(
                folder / name.with_entities(acq=target, desc=kind).filename()
                for kind in ("acquired", "clean")
            )
        )
        for target in targets
        if target != scanner
    }
    return Session(image.subject, scanner, image.path, folder / mask.filename(), truths)


def _missing(session: Session, targets: Sequence[str]) -> list[str]:
    wanted = [session.mask]
    for target in targets:
        if target != session.scanner:
            wanted += [session.truths[target].acquired, session.truths[target].clean]
    return [f"{path.name} is missing" for path in wanted if not path.is_file()]


def _describe(
    dataset: Path, sessions: Mapping[tuple[str, str], Session], targets: Sequence[str]
) -> TravellingDataset:
    simulation = _read_simulation(dataset)
    people = sorted({person for person, _ in sessions})
    stated = simulation.get("anatomy_of")
    anatomy_of = stated if isinstance(stated, dict) else {}
    found = TravellingDataset(
        name=dataset.resolve().name,
        anatomy=str(simulation.get("anatomy", "unknown")),
        sessions=sessions,
        anatomy_of={person: str(anatomy_of.get(person, person)) for person in people},
    )
    if not found.pairs(targets):
        raise InputError(
            f"{dataset} has sessions of {', '.join(found.scanners)} and the cards are of "
            f"{', '.join(targets)}: there is no pair of two scanners; give more cards or sessions"
        )
    return found


def _read_simulation(dataset: Path) -> dict[str, Any]:
    path = dataset / SIMULATION_NAME
    if not path.exists():
        path = dataset.parent / SIMULATION_NAME
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"cannot read {path}: {explain_os_error(problem)}") from problem
    except ValueError as problem:
        raise InputError(f"{path} is not valid JSON: {problem}; simulate again") from problem
    return content if isinstance(content, dict) else {}
