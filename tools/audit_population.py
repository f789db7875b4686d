"""Attribute inference: does a style card tell whom a site scans, older people or younger?

    python tools/audit_population.py --out POPULATION [--people 60]

Simulates one scanner with two populations of deformed templates, one of them with atrophy (15 % of
the cortex on the mean) and lesions. The attacker knows that scanner, has cards of other sites with
it, and learns from their 16 numbers (mean and spread of the styles) to tell the populations apart
(Fisher's linear discriminant); they are asked for sites of people whom they have never seen. A site
is so many people drawn from a half of the population that is the attacker's, or from the other. The
table says the chance that the right one of two such sites is picked (AUC), with the card as it is
and with differential privacy; the last row, for comparison, has the attacker see the mean shares of
tissues in the site's images, which no card holds. Numbers go to ``population.json``.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.files import write_whole
from prism_mri.models.style import encode_volume_style
from prism_mri.models.translator import Translator, read_translator
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.privacy.membership import compute_auc
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.training.mechanism import PrivacySettings, plan_noise, release_style
from prism_mri.training.site import read_style_slices

SITE = "guys"
SITE_SIZES = (10, 20)
_SITES = 400

Rows = Float64[np.ndarray, "_P _F"]


@dataclass(frozen=True)
class Population:
    """What is known of each person: style, and shares of tissues."""

    styles: Rows
    tissues: Rows

    def halves(self) -> tuple["Population", "Population"]:
        """Return the attacker's half and the other."""
        middle = len(self.styles) // 2
        return (
            Population(self.styles[:middle], self.tissues[:middle]),
            Population(self.styles[middle:], self.tissues[middle:]),
        )


def read_population(out: Path, people: int, *, old: bool, translator: Translator) -> Population:
    """Simulate and prepare a population, unless that was done, and read everybody's style."""
    name = f"{'old' if old else 'young'}-{people}"
    data, prepared = out / f"data-{name}", out / f"prepared-{name}"
    plan = CohortPlan(
        sites=(SITE,),
        subjects=people + 1,
        travelling=0,
        seed=int(old),
        slice_spacing_mm=5.0,
        lesions_ml=8.0 if old else 0.0,
        atrophy=0.15 if old else 0.0,
    )
    if not data.exists():
        simulate_cohort(plan, data)
    if not prepared.exists():
        contract = PreprocessingContract.for_modality("T2w")
        prepare_site(
            [data / SITE],
            prepared,
            site=SITE,
            contract=contract,
            validation_fraction=0.5 / people,
        )
    networks = translator.networks
    styles, tissues = [], []
    with torch.no_grad():
        for slices, mask in read_style_slices(read_prepared(prepared)):
            anatomy = networks.anatomy_encoder(torch.from_numpy(slices)[:, None])
            styles.append(encode_volume_style(slices, mask, anatomy, networks.style_encoder))
            inside = torch.from_numpy(mask)
            tissues.append(torch.stack([anatomy[:, i][inside].mean() for i in range(len(TISSUES))]))
    return Population(*(torch.stack(rows).numpy().astype(np.float64) for rows in (styles, tissues)))


def draw_sites(
    population: Population, size: int, epsilon: float | None, seed: int, *, tissues: bool = False
) -> Rows:
    """Return what the attacker sees of many sites of so many people, ``(sites, numbers)``."""
    numbers = np.random.default_rng(seed)
    rows = []
    for _ in range(_SITES):
        chosen = numbers.choice(len(population.styles), size, replace=False)
        if tissues:
            rows.append(population.tissues[chosen].mean(axis=0))
            continue
        styles = population.styles[chosen]
        if epsilon is None:
            rows.append(np.concatenate([styles.mean(axis=0), styles.std(axis=0, ddof=1)]))
            continue
        settings = PrivacySettings(epsilon=epsilon)
        released = release_style(
            torch.from_numpy(styles).float(),
            radius=settings.style_radius,
            noise=plan_noise(settings, trains=False).style,
            numbers=numbers,
        )
        rows.append(released.double().numpy())
    return np.array(rows)


def tell_apart(young: Rows, old: Rows, unseen_young: Rows, unseen_old: Rows) -> float:
    """Learn on the first two, return the AUC on the others."""
    spread = np.cov(np.concatenate([young - young.mean(0), old - old.mean(0)]).T)
    ridge = 1e-3 * np.trace(spread) / len(spread) * np.eye(len(spread))
    direction = np.linalg.solve(spread + ridge, old.mean(0) - young.mean(0))
    return compute_auc(unseen_old @ direction, unseen_young @ direction)


def main() -> None:
    """Parse arguments, simulate, attack, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=60, help="of each population")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    translator = read_translator()
    halves = [
        read_population(arguments.out, arguments.people, old=old, translator=translator).halves()
        for old in (False, True)
    ]
    found: dict[str, dict[str, float]] = {}
    for name, epsilon, tissues in (
        ("style card", None, False),
        ("style card, ε = 8", 8.0, False),
        ("style card, ε = 1", 1.0, False),
        ("shares of tissues", None, True),
    ):
        for size in SITE_SIZES:
            known, unseen = (
                [
                    draw_sites(halves[old][half], size, epsilon, 10 * half + old, tissues=tissues)
                    for old in (0, 1)
                ]
                for half in (0, 1)
            )
            found.setdefault(name, {})[str(size)] = tell_apart(*known, *unseen)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    write_whole(arguments.out / "population.json", text.encode(), overwrite=True)
    lines = [f"| | {' | '.join(f'{size} people' for size in SITE_SIZES)} |", "|---|---|---|"]
    lines += [
        f"| {name} | {' | '.join(f'{auc:.2f}' for auc in row.values())} |"
        for name, row in found.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
