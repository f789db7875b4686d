"""People whom a table says were scanned at several sites: likeness and agreement of volumes."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prism_mri.errors import InputError
from prism_mri.evaluate.bootstrap import estimate_mean
from prism_mri.evaluate.paper.biology import Volumes
from prism_mri.evaluate.paper.images import SiteImage, Sites
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import TISSUES, Tissue, TravellingRow
from prism_mri.metrics import compute_scores
from prism_mri.metrics.reliability import compute_reliability
from prism_mri.types import MaskStack, SliceStack

COLUMNS = ("person", "site", "subject")
_PSNR_LIMIT_DB = 100.0
_LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class Traveller:
    """One person, and their subject label at each site."""

    person: str
    subjects: Mapping[str, str]


def read_travellers(path: Path, sites: Sites) -> tuple[Traveller, ...]:
    """Read who was scanned at several sites; they must be among the test people there.

    Args:
        path: table with columns person, site and subject.
        sites: all images.

    Raises:
        InputError: the table cannot be read, lacks a column, or names somebody who is not a test
            person of that site.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"cannot read {path}: {problem}; give a TSV table") from problem
    reader = csv.DictReader(text.splitlines(), delimiter="\t")
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path} lacks columns {', '.join(missing)}: it needs {', '.join(COLUMNS)}"
        )
    known = {image.person for image in sites.walk("test")}
    people: dict[str, dict[str, str]] = defaultdict(dict)
    strangers, seen = [], set()
    for line, row in enumerate(reader, start=2):
        person, site, subject = ((row[name] or "").strip() for name in COLUMNS)
        subject = subject.removeprefix("sub-")
        if not (person and site and subject):
            raise InputError(f"{path}, line {line}: a cell is empty; give {', '.join(COLUMNS)}")
        if site in people[person] or (site, subject) in seen:
            raise InputError(
                f"{path}, line {line}: {site}/{subject} or {person} at {site} stands there twice;"
                " give every scan and every person at a site once"
            )
        seen.add((site, subject))
        if f"{site}/{subject}" not in known:
            strangers.append(f"{site}/{subject}")
        people[person][site] = subject
    if strangers:
        raise InputError(
            f"{path} names {', '.join(strangers)}, who are not held out there: travelling people"
            " must not be trained on; prepare them as test or validation people"
        )
    several = [Traveller(name, places) for name, places in people.items() if len(places) > 1]
    if not several:
        raise InputError(f"{path} names nobody at two sites; give a table of travelling people")
    return tuple(several)


def score_travellers(
    travellers: Sequence[Traveller],
    sites: Sites,
    methods: Sequence[HarmonizationMethod],
    volumes: Volumes | None,
    seed: int,
) -> list[TravellingRow]:
    """Compare a person's harmonized image with their own at the target, and volumes everywhere.

    Args:
        travellers: from `read_travellers`.
        sites: all images.
        methods: each fitted already; applied to whole volumes here.
        volumes: tissue shares of everybody; None leaves agreement out.
        seed: of the bootstrap.

    Returns:
        One row a method. Images are registered rigidly, by the unharmonized ones.
    """
    rows = []
    scored = _score_images(travellers, sites, methods)
    for method in methods:
        found = scored[method.name]
        icc, cv, people = _measure_agreement(travellers, volumes, method.name)
        rows.append(
            TravellingRow(
                method=method.name,
                people=people or len(found),
                scans=sum(len(one.subjects) for one in travellers),
                ssim=estimate_mean(np.array([s for s, _ in found]), seed) if found else None,
                psnr_db=estimate_mean(np.array([p for _, p in found]), seed) if found else None,
                icc=icc,
                within_cv=cv,
            )
        )
    return rows


def _score_images(
    travellers: Sequence[Traveller], sites: Sites, methods: Sequence[HarmonizationMethod]
) -> dict[str, list[tuple[float, float]]]:
    """Return SSIM and PSNR by method, of everybody who has a scan at the target."""
    images = {image.person: image for image in sites.walk("test")}
    scored: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for person in travellers:
        if sites.target not in person.subjects:
            continue
        truth = images[f"{sites.target}/{person.subjects[sites.target]}"]
        by_method: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for site, subject in person.subjects.items():
            if site != sites.target:
                for name, pair in _score_pair(images[f"{site}/{subject}"], truth, methods):
                    by_method[name].append(pair)
        for name, pairs in by_method.items():
            ssim, psnr = np.mean(pairs, axis=0)
            scored[name].append((float(ssim), float(psnr)))
    return scored


def _score_pair(
    image: SiteImage, truth: SiteImage, methods: Sequence[HarmonizationMethod]
) -> list[tuple[str, tuple[float, float]]]:
    slices, mask = image.load_all()
    expected, covered = register(truth, image)
    both = mask & covered
    found = []
    for method in methods:
        changed = method.transform(slices, mask, image.spacing_mm)
        scores = compute_scores(
            np.where(both, changed, np.float32(0)), np.where(both, expected, np.float32(0)), both
        )
        found.append((method.name, (scores.ssim, min(scores.psnr_db, _PSNR_LIMIT_DB))))
    return found


def register(moving: SiteImage, fixed: SiteImage) -> tuple[SliceStack, MaskStack]:
    """Bring one prepared image onto another's grid by a rigid motion.

    Args:
        moving: image to move.
        fixed: of the same person.

    Returns:
        Slices (K, H, W) on the fixed grid, and where both brains are.

    Raises:
        InputError: the two brains overlap by less than half afterwards.

    Source:
        Mattes mutual information and a regular-step descent, from aligned centres, as in SimpleITK.
    """
    import SimpleITK

    (still, still_mask), (moved, moved_mask) = fixed.load_all(), moving.load_all()
    first, second = (
        _to_image(part, image.spacing_mm) for part, image in ((still, fixed), (moved, moving))
    )
    start = SimpleITK.CenteredTransformInitializer(
        first,
        second,
        SimpleITK.Euler3DTransform(),
        SimpleITK.CenteredTransformInitializerFilter.MOMENTS,
    )
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 80)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([1.0])
    method.SetInitialTransform(start, inPlace=False)
    motion = method.Execute(first, second)
    slices, inside = (
        SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(
                _to_image(part.astype(np.float32), moving.spacing_mm),
                first,
                motion,
                SimpleITK.sitkLinear,
                0.0,
            )
        )
        for part in (moved, moved_mask)
    )
    both = (inside > 0.5) & still_mask
    if both.sum() < _LEAST_OVERLAP * still_mask.sum():
        raise InputError(
            f"two scans of one person cover {both.sum() / still_mask.sum():.0%} of each other after"
            " registration: check the table of travelling people"
        )
    return np.ascontiguousarray(slices, dtype=np.float32), np.ascontiguousarray(both)


def _to_image(stack: np.ndarray, spacing_mm: tuple[float, float, float]):  # type: ignore[no-untyped-def]
    """Return slices (K, H, W) as SimpleITK's image, whose axes run W, H, K."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(stack, dtype=np.float32))
    image.SetSpacing((spacing_mm[1], spacing_mm[0], spacing_mm[2]))
    return image


def _measure_agreement(
    travellers: Sequence[Traveller], volumes: Volumes | None, method: str
) -> tuple[dict[Tissue, float | None], dict[Tissue, float], int]:
    """Return ICC and within-person variation over the sites that all travellers visited."""
    if volumes is None:
        return {}, {}, 0
    common = set.intersection(*(set(person.subjects) for person in travellers))
    if len(common) < 2 or len(travellers) < 2:
        return {}, {}, 0
    place = {person: index for index, person in enumerate(volumes.people)}
    table = np.array(
        [
            [
                volumes.found[method][place[f"{site}/{person.subjects[site]}"]]
                for site in sorted(common)
            ]
            for person in travellers
        ]
    )
    found = [compute_reliability(table[..., index]) for index in range(len(TISSUES))]
    icc = {tissue: one.icc for tissue, one in zip(TISSUES, found, strict=True)}
    cv = {tissue: one.within_cv for tissue, one in zip(TISSUES, found, strict=True)}
    return icc, cv, len(travellers)
