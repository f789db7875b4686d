"""Trained on middle slices alone, does a site's autoencoder know the other slices of a volume?

    python tools/slice_positions.py --anatomies FOLDER --recipes RECIPES --out POSITIONS

The paper trains on one middle axial slice a person and reports that all slices of a volume can be
reconstructed and harmonized. Deformed templates are scanned at guys; each recipe is trained once on
their middle slices in the paper's own form (8-bit PNG) and once on all of their slices, for as many
steps, and decodes again the guys scans of heads 16 to 19 (of ``table_recipes.py``,
whose folder RECIPES is), whom nobody trained on. With the anchored recipe's cards their hh scans
are harmonized, too; with the paper's recipe that hangs on how two sites number their levels, not on
slices. POSITIONS gets ``positions.json`` and ``positions.png``: SSIM in the brain, mean over
people, by the slice's height in the brain.
"""

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from recipe_study import Study, draw, read_acquired, read_scans
from table_recipes import plan_study

from prism_mri.card import publish_card, read_card
from prism_mri.config import PreprocessingContract
from prism_mri.evaluate.redraw import read_site_networks, redraw_brain
from prism_mri.evaluate.scans import Scan
from prism_mri.files import write_whole
from prism_mri.metrics import compute_ssim_map
from prism_mri.models.site_model import DESCRIPTION_NAME, read_model
from prism_mri.models.translator import read_translator
from prism_mri.preprocessing.conform import conform
from prism_mri.preprocessing.png_form import write_png_site
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.preprocessing.prepare_png import prepare_png_site
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.training.paper import PaperSettings, train_paper
from prism_mri.types import MaskStack, SliceStack

_SITE, _SOURCE = "guys", "hh"
_BANDS = 5
_DATA = {"middle": "middle slices (PNG)", "all": "all slices"}
_RECIPES = ("paper", "anchored")


def prepare_data(out: Path, people: int) -> None:
    """Simulate the people and prepare both forms of them, once."""
    contract = PreprocessingContract()
    raw, png = out / "data", out / "png"
    if not raw.exists():
        plan = CohortPlan(sites=(_SITE,), subjects=people, travelling=0, slice_spacing_mm=6.0)
        simulate_cohort(plan, raw)
    if not (out / "all").exists():
        prepare_site([raw / _SITE], out / "all", site=_SITE, contract=contract)
    if not png.exists():
        write_png_site([raw / _SITE], png, site=_SITE, contract=contract)
    if not (out / "middle").exists():
        prepare_png_site(png, out / "middle", site=_SITE, contract=contract)


def train(out: Path, data: str, recipe: str, epochs: int) -> Path:
    """Train one recipe on one form of the data, unless that has been done."""
    folder = out / f"{recipe}-{data}-{epochs}"
    if (folder / DESCRIPTION_NAME).exists() and read_model(folder)[0].complete:
        return folder
    report = logging.getLogger(f"{recipe}, {data}").info
    resume = folder.exists()
    if recipe == "paper":
        settings = PaperSettings(
            epochs=epochs, patience=epochs, max_steps_per_epoch=14, validation_slices=24
        )
        train_paper(out / data, folder, settings, resume=resume, report=report)
    else:
        train_anchored(
            out / data,
            folder,
            AnchoredSettings(epochs=epochs, patience=epochs, max_steps_per_epoch=7),
            translator=read_translator(),
            resume=resume,
            report=report,
        )
    return folder


def score_home(folder: Path, scans: Sequence[Scan]) -> list[float]:
    """Return SSIM of scans decoded again by a site's own networks, by height."""
    networks = read_site_networks(folder, read_translator())
    bands = []
    for scan in scans:
        brain = scan.brain
        prepared = conform(brain.volume.data, brain.mask, brain.volume.spacing_mm, scan.contract)
        slices, mask = prepared.slices[scan.keep], prepared.mask[scan.keep]
        bands.append(average_bands(redraw_brain(slices, mask, networks), slices, mask))
    return [float(value) for value in np.mean(bands, axis=0)]


def score_harmonized(folder: Path, study: Study, scans: Mapping[str, Scan]) -> list[float]:
    """Return SSIM of hh's scans harmonized by a model's card against their truth, by height."""
    path = folder / f"{_SITE}.prism"
    if not path.exists():
        publish_card(folder, path, private_key=None)
    card = read_card(path, allow_unsigned=True)
    encoder = read_translator().networks.anatomy_encoder
    bands = []
    for person, scan in scans.items():
        truth = read_acquired(study, (person, _SOURCE, _SITE), scan)
        bands.append(average_bands(draw(scan, card, encoder), truth, scan.mask))
    return [float(value) for value in np.mean(bands, axis=0)]


def average_bands(drawn: SliceStack, truth: SliceStack, mask: MaskStack) -> list[float]:
    """Return SSIM in the brain by height, lowest fifth of the brain's slices first."""
    ssim = compute_ssim_map(drawn, truth, mask)
    values = np.array([ssim[k][mask[k]].mean() for k in range(len(drawn))])
    return [float(part.mean()) for part in np.array_split(values, _BANDS)]


def save_picture(curves: dict[str, list[float]], out: Path) -> None:
    """Plot SSIM against height."""
    figure = Figure(figsize=(8, 3.6))
    axis = figure.subplots()
    heights = (np.arange(_BANDS) + 0.5) / _BANDS
    for name, values in curves.items():
        axis.plot(heights, values, marker="o", linestyle="--" if "middle" in name else "-")
    axis.legend(list(curves), fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axis.set(xlabel="height in the brain (0 lowest slice, 1 highest)", ylabel="SSIM in the brain")
    figure.tight_layout()
    figure.savefig(out, dpi=100)


def main() -> None:
    """Parse arguments, train four models, score, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--recipes", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument(
        "--epochs", type=int, default=20, help="of 14 steps (paper) or 7 (anchored)"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    prepare_data(arguments.out, arguments.people)
    study = plan_study(arguments.anatomies, arguments.recipes)
    study.simulate()
    scans: dict[str, dict[str, Scan]] = {_SITE: {}, _SOURCE: {}}
    for person, scanner, scan in read_scans(study, (_SITE, _SOURCE)):
        scans[scanner][person] = scan
    curves = {}
    for recipe, (data, words) in itertools.product(_RECIPES, _DATA.items()):
        folder = train(arguments.out, data, recipe, arguments.epochs)
        curves[f"{recipe}, {words}"] = score_home(folder, list(scans[_SITE].values()))
        if recipe == "anchored":
            name = f"{_SOURCE} harmonized, {words}"
            curves[name] = score_harmonized(folder, study, scans[_SOURCE])
    text = json.dumps({"bands": _BANDS, "ssim": curves}, indent=1) + "\n"
    write_whole(arguments.out / "positions.json", text.encode(), overwrite=True)
    save_picture(curves, arguments.out / "positions.png")
    for name, values in curves.items():
        sys.stdout.write(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |\n")


if __name__ == "__main__":
    main()
