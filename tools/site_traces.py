"""Does a scanner show in harmonized images, or in the anatomy itself?

    python tools/site_traces.py --anatomies FOLDER --bench BENCH --out TRACES [--modality T2w]

BENCH is what ``bench_travelling.py`` left there for the same anatomies: simulated sites and the
models of seed 0. Two questions, one classifier (:mod:`prism_mri.evaluate.site_classifier`): trained
on people of the sites, scored on heads 16 to 19, who went to all four.

*Images*: all are harmonized to one site, that site's own too, so that having gone through a decoder
tells nothing; mean over the four targets. *Anatomy*: every person is rendered by the four protocols
with equal noise, blur, grid and no bias field, so that only contrast differs; the classifier sees
the anatomy encoder's channels, its fractions alone, or the images.

Balanced accuracy of slices, chance is 25 %. The table goes to stdout, with all numbers to
``TRACES/site-traces-MODALITY.json``.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from bench_travelling import SITES, plan_rows, plan_study
from recipe_study import Study, find, run_parallel
from table_recipes import SITE_PEOPLE, TRAVELLING
from travelling_methods import Method, Passage, build_simple, build_trained

from prism_mri.config import Modality, PreprocessingContract
from prism_mri.evaluate.dataset import find_travelling
from prism_mri.evaluate.scans import Scan, read_scan
from prism_mri.evaluate.site_classifier import LabelledSlices, compute_site_accuracy
from prism_mri.files import write_whole
from prism_mri.harmonize.volume import encode_anatomy
from prism_mri.models.translator import read_translator
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.preprocessing.conform import brain_box, conform
from prism_mri.simulate.anatomy import Anatomy, Population, deform_anatomy, read_anatomy
from prism_mri.simulate.protocols import Protocol, get_protocol
from prism_mri.simulate.scanner import add_scanner_defects, compute_truth, place_grid, render_clean

IMAGES = (
    "not harmonized",
    "quantile matching",
    "N4 + denoising + quantile matching",
    "style card alone",
    "anchored",
)
ANATOMY = ("images", "anatomy", "fractions alone")
_SEEDS = 3
_COPIES = 2
_SLICE_MM = 5.0
_MATCHED = {
    "blur_fwhm_mm": 1.0,
    "sharpening": 0.0,
    "bias_std": 0.0,
    "noise_std": 0.02,
    "in_plane_mm": (1.0, 1.0),
    "slice_spacing_mm": _SLICE_MM,
    "slice_thickness_mm": _SLICE_MM,
}


def trace_images(study: Study, name: str, out: Path) -> None:
    """Write the accuracy on images harmonized by one method, per target and seed."""
    path = out / f"images-{study.plan.modality}-{name.replace(' ', '-')}.json"
    if path.exists():
        return
    method = _build(study, name)
    sets = {"train": list(_read_people(study)), "test": list(_read_travellers(study))}
    found = {
        target: _classify({kind: _pass(sets[kind], target, method) for kind in sets})
        for target in (SITES if name != "not harmonized" else SITES[:1])
    }
    write_whole(path, json.dumps(found).encode(), overwrite=True)


def _classify(sets: dict[str, list[LabelledSlices]]) -> list[float]:
    return [compute_site_accuracy(sets["train"], sets["test"], seed=seed) for seed in range(_SEEDS)]


def _build(study: Study, name: str) -> Method:
    rows = {row.name: row for row in plan_rows()}
    return build_trained(study, rows[name], 0) if name in rows else build_simple(study, name)


Sources = list[tuple[str, str, Scan]]


def _read_people(study: Study) -> Iterator[tuple[str, str, Scan]]:
    """Yield the first scan of each of a site's people."""
    contract = PreprocessingContract.for_modality(study.plan.modality)
    for site in SITES:
        found = find_travelling(study.data / site, targets=("01",), modality=contract.modality)
        for (person, session), scan in found.sessions.items():
            if session == "01":
                yield person, site, read_scan(scan, contract)


def _read_travellers(study: Study) -> Iterator[tuple[str, str, Scan]]:
    contract = PreprocessingContract.for_modality(study.plan.modality)
    for (person, site), session in find(study, study.plan.sites).sessions.items():
        if site in SITES:
            yield person, site, read_scan(session, contract)


def _pass(sources: Sources, target: str, method: Method) -> list[LabelledSlices]:
    passed = []
    for person, site, scan in sources:
        image = scan.stack(scan.brain.volume.data)
        drawn = method(Passage(person, site, target, scan, image))
        passed.append(_label(drawn[:, None], scan.mask, site))
    return passed


def _label(values: np.ndarray, mask: np.ndarray, site: str) -> LabelledSlices:
    rows, columns = brain_box(mask)
    cut = np.ascontiguousarray(values[:, :, rows, columns], dtype=np.float32)
    return LabelledSlices(cut, np.ascontiguousarray(mask[:, rows, columns]), site)


def trace_anatomy(anatomies: Path, modality: Modality, out: Path) -> None:
    """Write the accuracy on what matched renderings show, per seed."""
    path = out / f"anatomy-{modality}.json"
    if path.exists():
        return
    generator = torch.Generator().manual_seed(0)
    own = (_read_head(anatomies, name, generator) for name in SITE_PEOPLE for _ in range(_COPIES))
    people = [deform_anatomy(head, generator, Population()) for head in own]
    travellers = [_read_head(anatomies, name, generator) for name in TRAVELLING]
    rendered = {
        kind: [item for head in heads for item in _render(head, modality, generator)]
        for kind, heads in (("train", people), ("test", travellers))
    }
    found = {
        name: _classify(
            {kind: [_view(item, name) for item in items] for kind, items in rendered.items()}
        )
        for name in ANATOMY
    }
    write_whole(path, json.dumps(found).encode(), overwrite=True)


def _read_head(anatomies: Path, name: str, generator: torch.Generator) -> Anatomy:
    return read_anatomy(anatomies / f"head-{name}_labels.nii.gz", generator)


def _render(
    head: Anatomy, modality: Modality, generator: torch.Generator
) -> Iterator[LabelledSlices]:
    """Yield a head under each site's contrast, all else being equal: image and anatomy."""
    encoder = read_translator().networks.anatomy_encoder
    contract = PreprocessingContract.for_modality(modality)
    grid = place_grid(head, _match("guys", modality), generator, margin_mm=8.0)
    brain = compute_truth(head, grid, thickness_mm=_SLICE_MM).brain.numpy()
    person_seed = int(torch.randint(2**31, (1,), generator=generator))
    for site in SITES:
        protocol = _match(site, modality)
        clean = render_clean(head, protocol, grid, thickness_mm=_SLICE_MM, person_seed=person_seed)
        image = add_scanner_defects(clean, protocol, grid, generator).numpy()
        conformed = conform(image, brain, (1.0, 1.0, _SLICE_MM), contract)
        enough = conformed.mask.sum(axis=(1, 2)) > 0.3 * conformed.mask.sum(axis=(1, 2)).max()
        slices, mask = conformed.slices[enough], conformed.mask[enough]
        anatomy = encode_anatomy(slices, encoder).numpy() * mask[:, None]
        yield _label(np.concatenate([slices[:, None], anatomy], axis=1), mask, site)


def _match(site: str, modality: Modality) -> Protocol:
    return get_protocol(site, modality).model_copy(update=_MATCHED)


def _view(item: LabelledSlices, name: str) -> LabelledSlices:
    """Keep the image, all channels of the anatomy, or its tissue fractions."""
    shown = {
        "images": slice(0, 1),
        "anatomy": slice(1, None),
        "fractions alone": slice(1, 1 + len(TISSUES)),
    }[name]
    return LabelledSlices(np.ascontiguousarray(item.values[:, shown]), item.mask, item.site)


def main() -> None:
    """Parse arguments, classify, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modality", choices=("T2w", "T1w", "PDw", "FLAIR"), default="T2w")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    modality = arguments.modality
    arguments.out.mkdir(parents=True, exist_ok=True)
    study = plan_study(arguments.anatomies, arguments.bench, modality)
    run_parallel(trace_anatomy, [(arguments.anatomies, modality, arguments.out)], arguments.workers)
    jobs = [(study, name, arguments.out) for name in IMAGES]
    run_parallel(trace_images, jobs, arguments.workers)
    images = {
        name: json.loads(
            (arguments.out / f"images-{modality}-{name.replace(' ', '-')}.json").read_text()
        )
        for name in IMAGES
    }
    anatomy = json.loads((arguments.out / f"anatomy-{modality}.json").read_text())
    content = {"modality": modality, "chance": 1 / len(SITES), "images": images, "anatomy": anatomy}
    path = arguments.out / f"site-traces-{modality}.json"
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode(), overwrite=True)
    sys.stdout.write(format_table(images, anatomy) + "\n")


def format_table(images: dict[str, dict[str, list[float]]], anatomy: dict[str, list[float]]) -> str:
    """Return both answers as Markdown."""
    rows = {f"{name}, harmonized": found for name, found in images.items()}
    rows["not harmonized"] = rows.pop("not harmonized, harmonized")
    lines = ["| what the classifier sees | right |", "|---|---|"]
    for name, found in rows.items():
        lines.append(f"| {name} | {_describe([v for seeds in found.values() for v in seeds])} |")
    lines += [f"| matched renderings: {name} | {_describe(anatomy[name])} |" for name in ANATOMY]
    return "\n".join(lines)


def _describe(values: list[float]) -> str:
    return f"{np.mean(values):.0%} ({min(values):.0%} to {max(values):.0%})"


if __name__ == "__main__":
    main()
