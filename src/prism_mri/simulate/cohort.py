"""Cohorts: sites' own people and travelling people, scanned and written with their truth."""

import hashlib
import itertools
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import torch

import prism_mri
from prism_mri.bids import write_json
from prism_mri.config import Modality
from prism_mri.errors import ConfigError, InputError
from prism_mri.simulate.anatomy import (
    Anatomy,
    Population,
    deform_anatomy,
    draw_template_person,
    list_label_maps,
    read_anatomy,
)
from prism_mri.simulate.dataset import (
    ScanPlace,
    describe_dataset,
    write_participants,
    write_scan,
    write_target_truth,
)
from prism_mri.simulate.pathology import apply_atrophy, compute_lesion_ml, place_lesions
from prism_mri.simulate.protocols import (
    Protocol,
    draw_unseen_protocol,
    get_protocol,
    get_visited_protocol,
    vary_protocol,
)
from prism_mri.simulate.scanner import add_scanner_defects, compute_truth, place_grid, render_clean
from prism_mri.volume import strip_nifti_suffix

_LOGGER = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
AnatomyKind = Literal["deformed-template", "label-maps"]

POPULATIONS: Final[dict[str, Population]] = {
    "guys": Population(ventricle_mm=0.0),
    "hh": Population(ventricle_mm=0.5, size=1.02),
    "iop": Population(ventricle_mm=0.8, size=0.98),
    "adni": Population(ventricle_mm=2.5, ventricle_spread_mm=1.0, size=0.98),
}
"""Sites differ in whom they scan: the people of adni are older, with wider ventricles."""

_MARGIN_MM = 8.0
_MAX_SPACING_MM = 30.0
_MAX_LESIONS_ML = 50.0
_MAX_ATROPHY = 0.3
_LESION_SIGMA = 0.6


@dataclass(frozen=True)
class CohortPlan:
    """What to simulate.

    Attributes:
        sites: names of protocols.
        subjects: scans of own people at each site.
        travelling: people scanned at every site.
        unseen: random scanners that only travelling people visit.
        visited: names of fixed scanners that only travelling people visit, of
            :data:`prism_mri.simulate.protocols.VISITED_SCANNERS`.
        seed: of everything.
        anatomies: folder of label maps; None for the embedded template.
        site_people: stems of the label maps that sites scan; None for all that do not travel.
        travelling_people: stems of the label maps that travel; None for the last ``travelling``.
        slice_spacing_mm: replaces every protocol's slice distance and thickness (fewer slices,
            smaller files).
        whole_head: keep skull and scalp (label maps only).
        modality: of all scans; anatomies are the same in every modality.
        lesions_ml: white-matter lesions, mean over people, 0 to 50 ml; a person's volume is drawn
            from a log-normal distribution (σ 0.6, cut at two).
        atrophy: fraction of the cortex turned into fluid, mean over people, 0 to 0.3; a person's
            has a standard deviation of a third of it (cut at two).
        site_atrophy: by site, what the people of that site have on top of ``atrophy``.
    """

    sites: tuple[str, ...] = ("guys", "hh", "adni")
    subjects: int = 10
    travelling: int = 4
    unseen: int = 0
    visited: tuple[str, ...] = ()
    seed: int = 0
    anatomies: Path | None = None
    site_people: tuple[str, ...] | None = None
    travelling_people: tuple[str, ...] | None = None
    slice_spacing_mm: float | None = None
    whole_head: bool = False
    modality: Modality = "T2w"
    lesions_ml: float = 0.0
    atrophy: float = 0.0
    site_atrophy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Roster:
    """Who is scanned where: label maps by stem (empty for the template)."""

    site_people: tuple[Path, ...]
    travelling_people: tuple[Path, ...]


@dataclass(frozen=True)
class _Person:
    """An anatomy, and what ``participants.tsv`` says of it beside the name."""

    anatomy: Anatomy
    columns: Mapping[str, float]


def simulate_cohort(
    plan: CohortPlan, out: Path, *, progress: Progress = lambda _done, _total: None
) -> None:
    """Write one BIDS dataset a site, one of travelling people, and ``simulation.json``.

    Scans of one label map are sessions of one subject: deformed copies never count as people. The
    folder is built beside ``out`` and renamed at the end.

    Args:
        plan: what to simulate.
        out: folder to make.
        progress: called with scans done and scans in all.

    Raises:
        ConfigError: unknown site, no subjects, a slice spacing, lesions or atrophy out
            of range, or a whole head asked of the template.
        InputError: ``out`` exists, the label maps cannot be used, or someone both stands at a site
            and travels.
    """
    roster = _check_plan(plan, out)
    protocols = [_adapt(get_protocol(name, plan.modality), plan) for name in plan.sites]
    unseen = [_draw_unseen(plan, index) for index in range(plan.unseen)]
    unseen += [_adapt(get_visited_protocol(name, plan.modality), plan) for name in plan.visited]
    total = plan.subjects * len(protocols) + plan.travelling * (len(protocols) + len(unseen))
    done = itertools.count(1)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        root = Path(temporary) / out.name
        for protocol in protocols:
            for _ in _simulate_site(plan, roster, protocol, root / protocol.name):
                progress(next(done), total)
        if plan.travelling:
            for _ in _simulate_travelling(plan, roster, protocols, unseen, root / "travelling"):
                progress(next(done), total)
        write_json(root / "simulation.json", _describe(plan, [*protocols, *unseen]))
        root.rename(out)


def _check_plan(plan: CohortPlan, out: Path) -> _Roster:
    if out.exists():
        raise InputError(f"{out} exists already: choose another folder or remove it")
    if not plan.sites or len(set(plan.sites)) < len(plan.sites):
        raise ConfigError(f"sites must be named once each, got {', '.join(plan.sites) or 'none'}")
    if plan.subjects < 1 or plan.travelling < 0 or plan.unseen < 0:
        raise ConfigError(
            f"need at least 1 subject and no negative counts, got {plan.subjects} subjects, "
            f"{plan.travelling} travelling, {plan.unseen} unseen"
        )
    if plan.slice_spacing_mm is not None and not 0 < plan.slice_spacing_mm <= _MAX_SPACING_MM:
        raise ConfigError(
            f"the slice spacing must be above 0 and at most {_MAX_SPACING_MM:g} mm, got "
            f"{plan.slice_spacing_mm}"
        )
    _check_pathology(plan)
    for name in plan.sites:
        get_protocol(name, plan.modality)
    for name in plan.visited:
        get_visited_protocol(name, plan.modality)
    if plan.anatomies is None:
        if plan.whole_head:
            raise ConfigError(
                "the embedded template has no skull: give label maps with --anatomies"
            )
        return _Roster((), ())
    return _choose_people(plan, plan.anatomies)


def _check_pathology(plan: CohortPlan) -> None:
    if not 0 <= plan.lesions_ml <= _MAX_LESIONS_ML:
        raise ConfigError(
            f"lesions must be 0 to {_MAX_LESIONS_ML:g} ml on average, got {plan.lesions_ml:g}"
        )
    strangers = sorted(set(plan.site_atrophy) - set(plan.sites))
    if strangers:
        raise ConfigError(f"atrophy is given for {', '.join(strangers)}, which is no site here")
    for atrophy in (plan.atrophy, *(plan.atrophy + more for more in plan.site_atrophy.values())):
        if not 0 <= atrophy <= _MAX_ATROPHY:
            raise ConfigError(
                f"atrophy must be 0 to {_MAX_ATROPHY:g} of the cortex on average, got {atrophy:g}"
            )


def _choose_people(plan: CohortPlan, folder: Path) -> _Roster:
    paths = {strip_nifti_suffix(path): path for path in list_label_maps(folder)}
    names = list(paths)
    travelling = plan.travelling_people or tuple(names[len(names) - plan.travelling :])
    own = plan.site_people or tuple(name for name in names if name not in travelling)
    missing = [name for name in (*own, *travelling) if name not in paths]
    if missing:
        raise InputError(f"no label map named {', '.join(missing)} in {folder}")
    both = sorted(set(own) & set(travelling))
    if both:
        raise InputError(f"{', '.join(both)} must not both stand at a site and travel: choose one")
    if len(travelling) < plan.travelling or not own:
        raise InputError(
            f"{folder} holds {len(paths)} label maps: too few for {plan.travelling} "
            "travelling people and at least one at the sites"
        )
    return _Roster(tuple(paths[n] for n in own), tuple(paths[n] for n in travelling))


def _adapt(protocol: Protocol, plan: CohortPlan) -> Protocol:
    spacing = plan.slice_spacing_mm
    if spacing is None:
        return protocol
    return protocol.model_copy(update={"slice_spacing_mm": spacing, "slice_thickness_mm": spacing})


def _draw_unseen(plan: CohortPlan, index: int) -> Protocol:
    generator = _generator(plan.seed, "unseen", index)
    return _adapt(draw_unseen_protocol(f"unseen{index + 1}", generator, plan.modality), plan)


def _simulate_site(
    plan: CohortPlan, roster: _Roster, protocol: Protocol, dataset: Path
) -> Iterator[None]:
    """Write a site's dataset; yields after every scan."""
    describe_dataset(dataset, f"Simulated site {protocol.name}")
    people: dict[str, Mapping[str, float]] = {}
    for index in range(plan.subjects):
        subject, columns = _simulate_subject(plan, roster, protocol, index, dataset)
        people[subject] = columns
        yield
    write_participants(dataset, people)


def _simulate_travelling(
    plan: CohortPlan,
    roster: _Roster,
    sites: Sequence[Protocol],
    unseen: Sequence[Protocol],
    dataset: Path,
) -> Iterator[None]:
    """Write the dataset of those who travel; yields after every scan."""
    describe_dataset(dataset, "Simulated travelling people")
    people: dict[str, Mapping[str, float]] = {}
    for index in range(plan.travelling):
        traveller = _draw_traveller(plan, roster, index)
        for scanner in [*sites, *unseen]:
            subject = _scan_traveller(plan, traveller.anatomy, scanner, sites, dataset)
            people[subject] = traveller.columns
            yield
    write_participants(dataset, people)


def _simulate_subject(
    plan: CohortPlan, roster: _Roster, protocol: Protocol, index: int, dataset: Path
) -> tuple[str, Mapping[str, float]]:
    """Scan one of a site's own people; returns ``sub-…`` and what is known of the person."""
    generator = _generator(plan.seed, protocol.name, index)
    population = POPULATIONS[protocol.name]
    atrophy = plan.atrophy + plan.site_atrophy.get(protocol.name, 0.0)
    if roster.site_people:
        path = roster.site_people[index % len(roster.site_people)]
        person = _age(plan, read_anatomy(path, generator, whole_head=plan.whole_head), atrophy)
        anatomy = deform_anatomy(person.anatomy, generator, population)
        prefix = f"sub-{_label(anatomy.person)}_ses-{index // len(roster.site_people) + 1:02d}"
    else:
        name = f"{protocol.name}-{index}"
        person = _age(plan, draw_template_person(name, generator, population), atrophy)
        anatomy, prefix = person.anatomy, f"sub-{index + 1:03d}"
    if plan.modality != "T2w":
        # A scan of its own: neither position nor noise are those of the T2w.
        generator = _generator(plan.seed, f"{protocol.name}-{plan.modality}", index)
    varied = vary_protocol(protocol, generator)
    grid = place_grid(anatomy, varied, generator, margin_mm=_MARGIN_MM)
    thickness = protocol.slice_thickness_mm
    person_seed = _seed(plan.seed, anatomy.person)
    clean = render_clean(anatomy, varied, grid, thickness_mm=thickness, person_seed=person_seed)
    truth = compute_truth(anatomy, grid, thickness_mm=thickness)
    acquired = add_scanner_defects(clean, varied, grid, generator)
    place = _place(plan, dataset, prefix)
    write_scan(place, acquired, truth, grid, protocol)
    return place.subject, person.columns


def _draw_traveller(plan: CohortPlan, roster: _Roster, index: int) -> _Person:
    generator = _generator(plan.seed, "traveller", index)
    if roster.travelling_people:
        path = roster.travelling_people[index]
        return _age(plan, read_anatomy(path, generator, whole_head=plan.whole_head), plan.atrophy)
    population = Population(ventricle_mm=1.0)
    person = draw_template_person(f"trav{index + 1:02d}", generator, population)
    return _age(plan, person, plan.atrophy)


def _age(plan: CohortPlan, anatomy: Anatomy, atrophy: float) -> _Person:
    """Give a person the atrophy and lesions that were asked for, the same wherever it is met."""
    columns: dict[str, float] = {}
    if atrophy:
        generator = _generator(plan.seed, f"{anatomy.person}-atrophy", 0)
        fraction = atrophy * (1 + _draw_cut(generator) / 3)
        anatomy = apply_atrophy(anatomy, generator, fraction)
        columns["atrophy"] = fraction
    if plan.lesions_ml:
        generator = _generator(plan.seed, f"{anatomy.person}-lesions", 0)
        volume = plan.lesions_ml * math.exp(
            _LESION_SIGMA * _draw_cut(generator) - _LESION_SIGMA**2 / 2
        )
        anatomy = place_lesions(anatomy, generator, volume)
        columns["lesion_ml"] = compute_lesion_ml(anatomy)
    return _Person(anatomy, columns)


def _draw_cut(generator: torch.Generator) -> float:
    """Draw a standard normal number, cut at two."""
    return float(torch.randn(1, generator=generator).clamp(-2, 2))


def _scan_traveller(
    plan: CohortPlan,
    anatomy: Anatomy,
    scanner: Protocol,
    targets: Sequence[Protocol],
    dataset: Path,
) -> str:
    """Scan one person at one scanner, and render every target's view on the same grid."""
    kind = "" if plan.modality == "T2w" else f"-{plan.modality}"
    session = _generator(plan.seed, f"{anatomy.person}-{scanner.name}{kind}", 0)
    grid = place_grid(anatomy, scanner, session, margin_mm=_MARGIN_MM)
    thickness = scanner.slice_thickness_mm
    truth = compute_truth(anatomy, grid, thickness_mm=thickness)
    person_seed = _seed(plan.seed, anatomy.person)
    place = _place(plan, dataset, f"sub-{_label(anatomy.person)}_ses-{scanner.name}")
    for protocol in [scanner, *(target for target in targets if target.name != scanner.name)]:
        varied = vary_protocol(protocol, session)
        clean = render_clean(anatomy, varied, grid, thickness_mm=thickness, person_seed=person_seed)
        acquired = add_scanner_defects(clean, varied, grid, session)
        if protocol is scanner:
            write_scan(place, acquired, truth, grid, protocol)
        else:
            images = {"acquired": acquired, "clean": clean * varied.gain}
            write_target_truth(place, images, truth, grid, protocol)
    return place.subject


def _place(plan: CohortPlan, dataset: Path, prefix: str) -> ScanPlace:
    return ScanPlace(dataset, prefix, whole_head=plan.whole_head, lesions=plan.lesions_ml > 0)


def _describe(plan: CohortPlan, protocols: Sequence[Protocol]) -> Mapping[str, object]:
    kind: AnatomyKind = "label-maps" if plan.anatomies else "deformed-template"
    return {
        "version": 1,
        "software": prism_mri.__version__,
        "anatomy": kind,
        "seed": plan.seed,
        "sites": list(plan.sites),
        "subjects": plan.subjects,
        "travelling": plan.travelling,
        "unseen": plan.unseen,
        "visited": list(plan.visited),
        "whole_head": plan.whole_head,
        "modality": plan.modality,
        "lesions_ml": plan.lesions_ml,
        "atrophy": plan.atrophy,
        "site_atrophy": dict(plan.site_atrophy),
        "protocols": {p.name: {**p.model_dump(), "sha256": p.digest()} for p in protocols},
    }


def _label(stem: str) -> str:
    return "".join(character for character in stem.removesuffix("_labels") if character.isalnum())


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")


def _generator(seed: int, name: str, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(seed, f"{name}/{index}"))
