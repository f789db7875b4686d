"""Cohorts: sites' own people and travelling people, written as BIDS datasets with their truth."""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch

import prism_mri
from prism_mri.bids import write_dataset_description, write_json
from prism_mri.errors import ConfigError, InputError
from prism_mri.files import write_whole
from prism_mri.simulate.anatomy import (
    Anatomy,
    Population,
    deform_anatomy,
    draw_template_person,
    list_label_maps,
    read_anatomy,
)
from prism_mri.simulate.protocols import Protocol, draw_unseen_protocol, get_protocol, vary_protocol
from prism_mri.simulate.scanner import (
    Grid,
    TissueMaps,
    add_scanner_defects,
    compute_truth,
    place_grid,
    render_clean,
)
from prism_mri.volume import Volume, strip_nifti_suffix, write_volume

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


@dataclass(frozen=True)
class CohortPlan:
    """What to simulate.

    Attributes:
        sites: names of protocols.
        subjects: scans of own people at each site.
        travelling: people scanned at every site.
        unseen: random scanners that only travelling people visit.
        seed: of everything.
        anatomies: folder of label maps; None for the embedded template.
        site_people: stems of the label maps that sites scan; None for all that do not travel.
        travelling_people: stems of the label maps that travel; None for the last ``travelling``.
        slice_spacing_mm: replaces every protocol's slice distance and thickness (fewer slices,
            smaller files).
        whole_head: keep skull and scalp (label maps only).
    """

    sites: tuple[str, ...] = ("guys", "hh", "adni")
    subjects: int = 10
    travelling: int = 4
    unseen: int = 0
    seed: int = 0
    anatomies: Path | None = None
    site_people: tuple[str, ...] | None = None
    travelling_people: tuple[str, ...] | None = None
    slice_spacing_mm: float | None = None
    whole_head: bool = False


@dataclass(frozen=True)
class _Roster:
    """Who is scanned where: label maps by stem (empty for the template)."""

    site_people: tuple[Path, ...]
    travelling_people: tuple[Path, ...]


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
        ConfigError: unknown site, no subjects, a slice spacing of 0 mm or less, or a whole head
            asked of the template.
        InputError: ``out`` exists, the label maps cannot be used, or someone both stands at a site
            and travels.
    """
    roster = _check_plan(plan, out)
    protocols = [_adapt(get_protocol(name), plan) for name in plan.sites]
    unseen = [
        _adapt(
            draw_unseen_protocol(f"unseen{index + 1}", _generator(plan.seed, "unseen", index)), plan
        )
        for index in range(plan.unseen)
    ]
    total = plan.subjects * len(protocols) + plan.travelling * (len(protocols) + plan.unseen)
    done = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        root = Path(temporary) / out.name
        for protocol in protocols:
            _describe_dataset(root / protocol.name, f"Simulated site {protocol.name}")
            for index in range(plan.subjects):
                _simulate_subject(plan, roster, protocol, index, root / protocol.name)
                done += 1
                progress(done, total)
            _write_participants(root / protocol.name)
        if plan.travelling:
            _describe_dataset(root / "travelling", "Simulated travelling people")
        for index in range(plan.travelling):
            traveller = _draw_traveller(plan, roster, index)
            for scanner in [*protocols, *unseen]:
                _scan_traveller(plan, traveller, scanner, protocols, root / "travelling")
                done += 1
                progress(done, total)
            _write_participants(root / "travelling")
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
    for name in plan.sites:
        get_protocol(name)
    if plan.anatomies is None:
        if plan.whole_head:
            raise ConfigError(
                "the embedded template has no skull: give label maps with --anatomies"
            )
        return _Roster((), ())
    return _choose_people(plan, plan.anatomies)


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


def _simulate_subject(
    plan: CohortPlan, roster: _Roster, protocol: Protocol, index: int, dataset: Path
) -> None:
    generator = _generator(plan.seed, protocol.name, index)
    population = POPULATIONS[protocol.name]
    if roster.site_people:
        path = roster.site_people[index % len(roster.site_people)]
        original = read_anatomy(path, generator, whole_head=plan.whole_head)
        anatomy = deform_anatomy(original, generator, population)
        prefix = f"sub-{_label(original.person)}_ses-{index // len(roster.site_people) + 1:02d}"
    else:
        anatomy = draw_template_person(f"{protocol.name}-{index}", generator, population)
        prefix = f"sub-{index + 1:03d}"
    varied = vary_protocol(protocol, generator)
    grid = place_grid(anatomy, varied, generator, margin_mm=_MARGIN_MM)
    thickness = protocol.slice_thickness_mm
    person_seed = _seed(plan.seed, anatomy.person)
    clean = render_clean(anatomy, varied, grid, thickness_mm=thickness, person_seed=person_seed)
    truth = compute_truth(anatomy, grid, thickness_mm=thickness)
    acquired = add_scanner_defects(clean, varied, grid, generator)
    _write_scan(dataset, prefix, acquired, truth, grid, protocol, whole_head=plan.whole_head)


def _draw_traveller(plan: CohortPlan, roster: _Roster, index: int) -> Anatomy:
    generator = _generator(plan.seed, "traveller", index)
    if roster.travelling_people:
        return read_anatomy(roster.travelling_people[index], generator, whole_head=plan.whole_head)
    return draw_template_person(f"trav{index + 1:02d}", generator, Population(ventricle_mm=1.0))


def _scan_traveller(
    plan: CohortPlan,
    anatomy: Anatomy,
    scanner: Protocol,
    targets: Sequence[Protocol],
    dataset: Path,
) -> None:
    """Scan one person at one scanner, and render every target's view on the same grid."""
    session = _generator(plan.seed, f"{anatomy.person}-{scanner.name}", 0)
    grid = place_grid(anatomy, scanner, session, margin_mm=_MARGIN_MM)
    thickness = scanner.slice_thickness_mm
    truth = compute_truth(anatomy, grid, thickness_mm=thickness)
    person_seed = _seed(plan.seed, anatomy.person)
    prefix = f"sub-{_label(anatomy.person)}_ses-{scanner.name}"
    for protocol in [scanner, *(target for target in targets if target.name != scanner.name)]:
        varied = vary_protocol(protocol, session)
        clean = render_clean(anatomy, varied, grid, thickness_mm=thickness, person_seed=person_seed)
        acquired = add_scanner_defects(clean, varied, grid, session)
        if protocol is scanner:
            _write_scan(
                dataset, prefix, acquired, truth, grid, protocol, whole_head=plan.whole_head
            )
            continue
        clean = clean * varied.gain
        for description, image in (("acquired", acquired), ("clean", clean)):
            path = _image_path(
                dataset / "derivatives" / "truth",
                f"{prefix}_acq-{protocol.name}_desc-{description}",
            )
            _write(path, _strip(image, truth, whole_head=plan.whole_head), grid)


def _write_scan(
    dataset: Path,
    prefix: str,
    image: torch.Tensor,
    truth: TissueMaps,
    grid: Grid,
    protocol: Protocol,
    *,
    whole_head: bool,
) -> None:
    path = _image_path(dataset, prefix)
    _write(path, _strip(image, truth, whole_head=whole_head), grid)
    sidecar = {
        "Modality": "MR",
        "MagneticFieldStrength": protocol.field_tesla,
        "RepetitionTime": protocol.repetition_ms / 1000,
        "EchoTime": protocol.echo_ms / 1000,
        "SliceThickness": protocol.slice_thickness_mm,
        "SkullStripped": not whole_head,
        "PrismProtocol": f"{protocol.name} version {protocol.version}",
    }
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)
    derivatives = dataset / "derivatives" / "truth"
    anat = _image_path(derivatives, prefix).parent
    _write(anat / f"{prefix}_desc-brain_mask.nii.gz", truth.brain, grid, dtype=np.uint8)
    _write(anat / f"{prefix}_dseg.nii.gz", truth.segmentation, grid, dtype=np.uint8)


def _strip(image: torch.Tensor, truth: TissueMaps, *, whole_head: bool) -> torch.Tensor:
    return image if whole_head else torch.where(truth.brain, image, 0)


def _image_path(dataset: Path, prefix: str) -> Path:
    folders = [part for part in prefix.split("_") if part.startswith(("sub-", "ses-"))]
    return dataset.joinpath(*folders, "anat", f"{prefix}_T2w.nii.gz")


def _write(
    path: Path, data: torch.Tensor, grid: Grid, *, dtype: type[np.generic] = np.float32
) -> None:
    array = data.numpy().astype(np.float32)
    write_volume(path, array, Volume(array, grid.affine), dtype=dtype)


def _describe_dataset(dataset: Path, name: str) -> None:
    write_dataset_description(dataset, name, derivative=False)
    truth = dataset / "derivatives" / "truth"
    write_dataset_description(truth, f"{name}: truth", derivative=True)
    table = "index\tname\n0\tbackground\n1\tCSF\n2\tGM\n3\tWM\n"
    write_whole(truth / "dseg.tsv", table.encode())


def _write_participants(dataset: Path) -> None:
    people = sorted(folder.name for folder in dataset.glob("sub-*"))
    text = "participant_id\n" + "".join(f"{person}\n" for person in people)
    write_whole(dataset / "participants.tsv", text.encode(), overwrite=True)


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
        "whole_head": plan.whole_head,
        "protocols": {p.name: {**p.model_dump(), "sha256": p.digest()} for p in protocols},
    }


def _label(stem: str) -> str:
    return "".join(character for character in stem.removesuffix("_labels") if character.isalnum())


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")


def _generator(seed: int, name: str, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(seed, f"{name}/{index}"))
