"""The picture of the recipes' table: four scanners, one person, harmonized to one of them.

    python tools/picture_recipes.py --anatomies FOLDER --out RECIPES --picture FILE.png

RECIPES is the folder that ``table_recipes.py`` filled. Rows are scanners; columns are the image,
the paper's anatomy (five levels, as the source numbers them), what the target makes of it,
the anchored anatomy (CSF, GM, WM as blue, green, red), what becomes of that, and the truth.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from recipe_study import (
    Row,
    Study,
    Trained,
    draw,
    read_acquired,
    read_scans,
    read_trained,
    redraw,
    train_site,
)
from table_recipes import PICTURE_SITES, PICTURED, plan_rows, plan_study

from prism_mri.evaluate.scans import Scan
from prism_mri.harmonize.volume import encode_anatomy
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.preprocessing.conform import conform
from prism_mri.report.figures import turn_front_up

_COLUMNS = ("image", "anatomy", "harmonized", "anatomy", "harmonized", "truth")


def draw_row(
    study: Study, rows: list[Row], visit: tuple[str, str, str], scan: Scan, seed: int
) -> list[np.ndarray]:
    """Return the row's pictures, front of the head up: ``(H, W)`` grey or ``(H, W, 3)`` colour."""
    _, source, target = visit
    images = [_cut(scan.stack(scan.brain.volume.data), scan)]
    for row in rows:
        here, there = (read_trained(study, row, site, seed) for site in (source, target))
        images.append(_draw_anatomy(scan, here))
        show = redraw if source == target else draw
        drawn = show(scan, there.card, here.anatomy_encoder)
        images.append(_cut(drawn, scan))
    return [*images, _cut(read_acquired(study, visit, scan), scan)]


def _draw_anatomy(scan: Scan, site: Trained) -> np.ndarray:
    brain = scan.brain
    conformed = conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, scan.contract)
    index = int(np.flatnonzero(scan.keep)[scan.keep.sum() // 2])
    anatomy = encode_anatomy(conformed.slices[[index]], site.anatomy_encoder)[0].numpy()
    inside = conformed.mask[index]
    if len(anatomy) > 1:
        anatomy = anatomy[: len(TISSUES)][::-1] * inside
    return np.stack([turn_front_up(channel[_box(inside)]) for channel in anatomy], axis=-1)


def _cut(stack: np.ndarray, scan: Scan) -> np.ndarray:
    index = len(stack) // 2
    return turn_front_up(stack[index][_box(scan.mask[index])])


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    found = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(where[0], where[-1] + 1) for where in found)


def main() -> None:
    """Parse arguments and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--target", default="guys")
    arguments = parser.parse_args()
    study = plan_study(arguments.anatomies, arguments.out)
    study.simulate()
    rows = [row for row in plan_rows() if row.name in PICTURED]
    for row, site in itertools.product(rows, PICTURE_SITES):
        train_site(study, row, site, 0)
    scans = {scanner: (person, scan) for person, scanner, scan in read_scans(study, PICTURE_SITES)}
    figure = Figure(figsize=(11, 9))
    axes = figure.subplots(len(PICTURE_SITES), len(_COLUMNS))
    for line, site in zip(axes, PICTURE_SITES, strict=True):
        person, scan = scans[site]
        pictures = draw_row(study, rows, (person, site, arguments.target), scan, seed=0)
        for axis, title, picture in zip(line, _COLUMNS, pictures, strict=True):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1.0)
            axis.set(xticks=[], yticks=[], title=title if site == PICTURE_SITES[0] else "")
        line[0].set_ylabel(site)
    figure.suptitle(f"to {arguments.target}: paper (columns 2, 3), anchored (columns 4, 5)")
    figure.tight_layout()
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.picture, dpi=90)


if __name__ == "__main__":
    main()
