"""Does an anatomy encoder that a site fine-tunes read its images better? An experiment.

    python tools/tune_anatomy.py --anatomies FOLDER --bench BENCH --out OUT [--seeds 2]

FOLDER holds the SynthSeg training label maps, BENCH what ``tools/bench_travelling.py`` left: its
prepared sites and their cards after 75 steps. Heads 02 and 09 travel here, who are none of the
benchmark's travelling people. Each site's encoder starts from the shipped one, A0, and minimizes

- the site's own reconstruction: L1 and perceptual loss of its slices as its own style encoder and
  decoder, which stay as they are, draw them from the encoder's anatomy;
- ``--anchor-weight`` times an anchor: on pairs of the translator's simulator, distance from A0's
  anatomy and from the true fractions. Weight 0 is what drifts.

The epoch that reconstructs the site's held-out slices best is kept. Then the source's own encoder
reads the source, and the target's card draws it. OUT gets the models; the table goes to stdout,
what the probe (:mod:`prism_mri.models.probe`) says of every encoder to stderr.
"""

import argparse
import copy
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_travelling import SITES, measure, plan_rows, plan_study
from recipe_study import Study, Trained, draw, is_complete, read_trained
from torch import nn
from travelling_methods import read_visits

from prism_mri.data.prepared import read_prepared
from prism_mri.losses.masked import compute_masked_l1
from prism_mri.losses.perceptual import PerceptualLoss
from prism_mri.metrics import compute_ssim
from prism_mri.models.probe import find_drift, measure_drift
from prism_mri.models.site_model import ANATOMY_PREFIX, read_model, write_model
from prism_mri.models.translator import read_translator
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.networks.registry import freeze
from prism_mri.simulate.anatomy import Population, draw_template_person, read_anatomy
from prism_mri.simulate.cohort import simulate_cohort
from prism_mri.simulate.pairs import PairSource
from prism_mri.training.loop import LoopSettings, Losses, Recipe, run_loop
from prism_mri.training.site import mark_complete
from prism_mri.training.slices import draw_window, load_slices

_LOGGER = logging.getLogger("tune_anatomy")
PUBLIC_PEOPLE = ("01", "03", "05", "07")
"""Among those whom the translator was trained on; nobody whom a site scans."""
TEMPLATE_PEOPLE = 2
TRAVELLING = ("head-02_labels", "head-09_labels")
TARGETS = ("guys", "adni")
ROW = "anchored"
"""The benchmark's row whose cards draw."""
SHIPPED = "A0"


@dataclass(frozen=True)
class TuneSettings:
    """What a site's encoder is tuned by."""

    anchor_weight: float
    epochs: int = 6
    steps_per_epoch: int = 25
    learning_rate: float = 3e-4
    batch: int = 4
    crop: int = 96
    intensity_weight: float = 5.0
    perceptual_weight: float = 0.02
    fractions_weight: float = 1.0


class TuneRecipe(Recipe):
    """Reconstruction through a site's own decoder, held by an anchor."""

    module: nn.Module

    def __init__(
        self, site: Trained, prepared: Path, public: PairSource, settings: TuneSettings
    ) -> None:
        """Read the site's slices; the encoder starts as the site's is."""
        self.module = copy.deepcopy(site.anatomy_encoder).requires_grad_(requires_grad=True)
        self._shipped = site.anatomy_encoder
        self._card = site.card
        self._public = public
        self._settings = settings
        dataset = read_prepared(prepared)
        device = torch.device("cpu")
        self._train = load_slices(dataset.split("train"), device)
        self._validation = load_slices(dataset.split("validation"), device)
        self._perceptual = PerceptualLoss()

    def set_training(self) -> None:
        """Keep normalization statistics fixed, as training a site does."""
        self.module.eval()

    def compute_losses(self, generator: torch.Generator) -> Losses:
        """Reconstruct a batch of the site's crops, and hold public ones where they were."""
        own = self._compute_reconstruction(generator)
        return own | (self._compute_anchor(generator) if self._settings.anchor_weight else {})

    def _compute_reconstruction(self, generator: torch.Generator) -> Losses:
        settings = self._settings
        images, masks = self._train
        index = torch.randint(len(images), (settings.batch,), generator=generator)
        window = draw_window((images.shape[-2], images.shape[-1]), settings.crop, generator)
        image, mask = window.cut(images[index]), window.cut(masks[index])
        decoded = self._reconstruct(self.module, image, mask)
        return {
            "l1": settings.intensity_weight * compute_masked_l1(decoded, image, mask),
            "perceptual": settings.perceptual_weight * self._perceptual(decoded[:2], image[:2]),
        }

    def _compute_anchor(self, generator: torch.Generator) -> Losses:
        settings = self._settings
        batch = self._public.draw(settings.batch // 2, generator)
        images, mask = batch.images.flatten(0, 1), batch.mask.repeat(2, 1, 1, 1)
        anatomy = self.module(images)
        with torch.no_grad():
            shipped = self._shipped(images)
        true, known = batch.fractions.repeat(2, 1, 1, 1), batch.known.repeat(2, 1, 1, 1)
        fractions = compute_masked_l1(anatomy[:, : len(TISSUES)], true, known)
        return {
            "anchor": settings.anchor_weight * compute_masked_l1(anatomy, shipped, mask),
            "fractions": settings.anchor_weight * settings.fractions_weight * fractions,
        }

    def _reconstruct(
        self, encoder: nn.Module, image: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        anatomy = encoder(image)
        style = self._card.style_encoder(image, anatomy, mask).mean
        decoded: torch.Tensor = self._card.decoder(anatomy, style) * mask
        return decoded

    @torch.no_grad()
    def validate(self, module: nn.Module) -> float:
        """Return mean SSIM inside the brain of the site's held-out slices."""
        images, masks = self._validation
        encoder = module.eval()
        parts = [
            self._reconstruct(encoder, image, mask)
            for image, mask in zip(images.split(8), masks.split(8), strict=True)
        ]
        return compute_ssim(
            torch.cat(parts)[:, 0].numpy(), images[:, 0].numpy(), masks[:, 0].numpy() > 0.5
        )


def read_public(folder: Path) -> PairSource:
    """Return the translator's simulator over public people."""
    generator = torch.Generator().manual_seed(0)
    heads = [
        read_anatomy(folder / f"head-{name}_labels.nii.gz", generator) for name in PUBLIC_PEOPLE
    ]
    template = [
        draw_template_person(f"template-{index}", generator, Population(ventricle_mm=index))
        for index in range(TEMPLATE_PEOPLE)
    ]
    return PairSource([*heads, *template], crop=96)


def tune(
    study: Study, site: str, seed: int, settings: TuneSettings, *, public: PairSource, out: Path
) -> Path:
    """Tune one site's encoder and write its model with the encoder in it, unless it is there."""
    if is_complete(out):
        return out
    row = next(row for row in plan_rows() if row.name == ROW)
    recipe = TuneRecipe(
        read_trained(study, row, site, seed), study.prepared(site), public, settings
    )
    description, tensors = read_model(study.model(row, site, seed))

    def save_best(module: nn.Module, epoch: int, score: float) -> None:
        own = {ANATOMY_PREFIX + name: value for name, value in module.state_dict().items()}
        update = {"best_epoch": epoch, "validation_ssim": score}
        summary = description.training.model_copy(update=update)
        changed = description.model_copy(update={"complete": False, "training": summary})
        write_model(out, changed, tensors | own)

    loop = LoopSettings(
        epochs=settings.epochs,
        steps_per_epoch=settings.steps_per_epoch,
        learning_rate=settings.learning_rate,
        patience=settings.epochs,
        seed=seed,
        device="cpu",
    )
    report = partial(_LOGGER.info, "%s seed %d anchor %g: %s", site, seed, settings.anchor_weight)
    outcome = run_loop(recipe, loop, out, save_best=save_best, report=report)
    mark_complete(out, outcome)
    return out


def read_tuned(folder: Path) -> nn.Module:
    """Return a tuned model's own encoder, whatever the probe says of it."""
    _, tensors = read_model(folder)
    encoder = copy.deepcopy(read_translator().networks.anatomy_encoder)
    own = {name.removeprefix(ANATOMY_PREFIX): value for name, value in tensors.items()}
    encoder.load_state_dict({name: own[name] for name in encoder.state_dict()})
    freeze(encoder)
    return encoder


def plan_visits(study: Study, folder: Path) -> Study:
    """Return the two travelling people's study; everything else is the benchmark's."""
    plan = replace(
        study.plan,
        travelling=len(TRAVELLING),
        subjects=2,
        travelling_people=TRAVELLING,
        site_people=("head-04_labels", "head-06_labels"),
        seed=5,
    )
    return Study(plan, folder)


def score(
    study: Study, visits: Study, encoders: dict[str, dict[tuple[str, int], nn.Module]], seeds: int
) -> Iterator[str]:
    """Yield one line of the table for each way of reading the sources."""
    row = next(row for row in plan_rows() if row.name == ROW)
    cards = {(t, s): read_trained(study, row, t, s).card for t in TARGETS for s in range(seeds)}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in encoders}
    for visit in read_visits(visits):
        if visit.source == visit.target or visit.target not in TARGETS:
            continue
        for seed in range(seeds):
            for name, of_site in encoders.items():
                encoder = of_site.get((visit.source, seed))
                if encoder is not None:
                    drawn = draw(visit.scan, cards[visit.target, seed], encoder)
                    shown = measure(visit, drawn)
                    found[name].append((shown.ssim, shown.psnr_db, shown.psnr_clean_db))
    shipped = np.array(found[SHIPPED])
    for name, scores in found.items():
        means = np.mean(scores, axis=0)
        better = (np.array(scores) > shipped).sum(axis=0)
        cells = [f"{means[0]:.4f}", *(f"{value:.2f}" for value in means[1:])]
        counted = " / ".join(str(count) for count in better)
        yield f"| {name} | {' | '.join(cells)} | {counted} of {len(scores)} |"


def main() -> None:
    """Parse arguments, tune, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--bench", type=Path, required=True, help="what bench_travelling.py left")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--visits", type=Path, help="simulated travelling people; default OUT")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--anchor-weight", type=float, nargs="+", default=[5.0, 0.5, 0.0])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    study = plan_study(arguments.anatomies, arguments.bench, "T2w")
    visits = plan_visits(study, arguments.visits or arguments.out)
    if not visits.data.exists():
        simulate_cohort(visits.plan, visits.data)
    encoders = tune_all(study, arguments)
    sys.stdout.write(
        "| source read by | images | SSIM | PSNR | against clean |\n|---|---|---|---|---|\n"
    )
    for line in score(study, visits, encoders, arguments.seeds):
        sys.stdout.write(f"{line}\n")


def tune_all(
    study: Study, arguments: argparse.Namespace
) -> dict[str, dict[tuple[str, int], nn.Module]]:
    """Return for each way of tuning, and for none, the encoder of every site and seed."""
    public = read_public(arguments.anatomies)
    runs: Sequence[tuple[str, int]] = [(s, seed) for seed in range(arguments.seeds) for s in SITES]
    shipped = read_translator().networks.anatomy_encoder
    encoders: dict[str, dict[tuple[str, int], nn.Module]] = {SHIPPED: dict.fromkeys(runs, shipped)}
    for weight in arguments.anchor_weight:
        settings = TuneSettings(weight)
        encoders[f"tuned, anchor {weight:g}"] = {
            (site, seed): read_tuned(
                tune(
                    study,
                    site,
                    seed,
                    settings,
                    public=public,
                    out=arguments.out / f"{site}-{seed}-{weight:g}",
                )
            )
            for site, seed in runs
        }
    for name, of_site in encoders.items():
        for (site, seed), encoder in of_site.items():
            drift = measure_drift(encoder, read_translator())
            verdict = "refused" if find_drift(drift) else "taken"
            _LOGGER.info("%s, %s seed %d: %s, %s", name, site, seed, verdict, drift)
    return encoders


if __name__ == "__main__":
    main()
