"""Does the mean style of a card tell who is in it? Many cards of the same site, drawn anew.

    python tools/audit_style.py --audits AUDITS [--draws 300]

AUDITS is the folder of ``audit_kinds.py``, whose 60 simulated people are used. One card of twenty
people can bound an AUC by ±0.13 at best; a style card trains nothing, so that hundreds can be made
of other twenty people each, and attacked as ``prism-mri audit`` does, with the rest as the
attacker's population. With a privacy budget the mean is released as ``train --epsilon`` does.

The mean AUC over draws goes to stdout with its 95 % interval over draws, and ``style.json`` into
AUDITS.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from audit_kinds import make_site

from prism_mri.files import write_whole
from prism_mri.models.style import read_volume_style
from prism_mri.models.translator import read_translator
from prism_mri.privacy.attacks import trace_styles
from prism_mri.privacy.membership import compute_auc
from prism_mri.privacy.people import read_person
from prism_mri.training.mechanism import PrivacySettings, plan_noise, release_style

SIZES = (5, 10, 20, 40)
BUDGETS = (None, 8.0, 1.0)


def read_styles(audits: Path, people: int) -> np.ndarray:
    """Return the style of everybody, as the shipped style encoder reads it, (P, Z)."""
    networks = read_translator().networks
    styles = []
    for images in make_site(audits, people, 5.0):
        person = read_person(images, networks.anatomy_encoder)
        style = read_volume_style(
            person.slices, person.mask, person.anatomy, networks.style_encoder
        )
        styles.append(style.numpy().astype(np.float64))
    return np.array(styles)


def attack_draw(
    styles: np.ndarray, size: int, epsilon: float | None, numbers: np.random.Generator
) -> float:
    """Make a card of ``size`` people drawn anew, attack it, and return the AUC."""
    order = numbers.permutation(len(styles))
    members = torch.from_numpy(styles[order[:size]]).float()
    if epsilon is None:
        released = members.mean(0)
    else:
        settings = PrivacySettings(epsilon=epsilon)
        noise = plan_noise(settings, trains=False).style
        released = release_style(
            members, radius=settings.style_radius, noise=noise, numbers=numbers
        )
    scores = trace_styles(styles[order], size, released.numpy().astype(np.float64))
    return compute_auc(scores[:size], scores[size:])


def main() -> None:
    """Parse arguments, draw, attack, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--audits", type=Path, required=True)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--draws", type=int, default=300)
    arguments = parser.parse_args()
    styles = read_styles(arguments.audits, arguments.people)
    rows = []
    lines = ["| people in the card | ε | AUC, mean over cards (95 %) |", "|---|---|---|"]
    for size in SIZES:
        for epsilon in BUDGETS:
            numbers = np.random.default_rng(size)
            found = np.array(
                [attack_draw(styles, size, epsilon, numbers) for _ in range(arguments.draws)]
            )
            resampled = numbers.choice(found, (2000, len(found))).mean(axis=1)
            low, high = np.percentile(resampled, (2.5, 97.5))
            rows.append([size, epsilon, float(found.mean()), float(low), float(high)])
            budget = "none asked" if epsilon is None else f"{epsilon:g}"
            lines.append(f"| {size} | {budget} | {found.mean():.2f} ({low:.2f} to {high:.2f}) |")
    content = json.dumps({"draws": arguments.draws, "rows": rows}, indent=1) + "\n"
    write_whole(arguments.audits / "style.json", content.encode(), overwrite=True)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
