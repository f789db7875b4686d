"""Two simulated sites with lesions, prepared with labels, and a style card of one of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.card import SiteCard, publish_card, read_card
from prism_mri.config import PreprocessingContract
from prism_mri.evaluate.paper.labels import name_tissues
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import PaperResults, PaperSettings
from prism_mri.evaluate.paper.run import PaperInputs, evaluate_paper
from prism_mri.metrics.structure import find_islands
from prism_mri.models.translator import Translator, read_translator
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.types import MaskStack, SliceStack


@dataclass(frozen=True)
class SmallWorld:
    """Where everything is."""

    raw: Path
    prepared: tuple[Path, ...]
    card_file: Path
    card: SiteCard
    translator: Translator


@pytest.fixture(scope="session")
def small_world(tmp_path_factory) -> SmallWorld:
    root = tmp_path_factory.mktemp("small")
    plan = CohortPlan(
        sites=("guys", "adni"), subjects=6, travelling=0, slice_spacing_mm=9.0, lesions_ml=12.0
    )
    simulate_cohort(plan, root / "raw")
    folders = []
    for site in plan.sites:
        raw, out = root / "raw" / site, root / site
        pattern = f"{raw}/derivatives/truth/sub-{{sub}}/anat/sub-{{sub}}_dseg.nii.gz"
        prepare_site(
            [raw],
            out,
            site=site,
            contract=PreprocessingContract(),
            labels=pattern,
            validation_fraction=0.5,
        )
        folders.append(out)
    translator = read_translator()
    settings = AnchoredSettings(kind="style")
    train_anchored(folders[0], root / "model", settings, translator=translator, report=print)
    card_file = root / "guys.prism"
    publish_card(root / "model", card_file, private_key=None, local_only=True)
    card = read_card(card_file, allow_unsigned=True)
    return SmallWorld(root / "raw", tuple(folders), card_file, card, translator)


class Planted(HarmonizationMethod):
    """A harmonizer that does harm, or none, on purpose."""

    def __init__(self, name, change):
        self.name = self.label = name
        self._change = change

    def transform(self, slices: SliceStack, mask: MaskStack, _spacing_mm) -> SliceStack:
        return (self._change(slices, mask) * mask).astype(np.float32)


def invert(slices, mask):
    low, high = np.percentile(slices[mask], (1, 99))
    return np.clip(low + high - slices, 0.01, None)


def blur(slices, mask):
    inside = np.maximum(ndimage.gaussian_filter(mask.astype(np.float32), (0, 2.5, 2.5)), 1e-3)
    return ndimage.gaussian_filter(slices * mask, (0, 2.5, 2.5)) / inside


def shift(slices, mask):
    return np.roll(slices, (2, 1), axis=(1, 2)) + 0.01


def keep(slices, mask):
    return slices


def erase_spots(slices, mask, labels):
    """Fill what lies like a lesion in white matter with white matter."""
    spots = find_islands(slices, labels, mask).spots
    grown = ndimage.binary_dilation(spots, np.ones((1, 5, 5)))
    return np.where(grown, np.median(slices[labels == 3]), slices)


@pytest.fixture(scope="session")
def judged(small_world, tmp_path_factory) -> PaperResults:
    """Results of all methods and of planted ones, without networks to train."""
    encoder = small_world.translator.networks.anatomy_encoder

    def erase(slices, mask):
        return erase_spots(slices, mask, name_tissues(slices, mask, encoder))

    planted = [Planted(change.__name__, change) for change in (invert, blur, shift, erase, keep)]
    return evaluate_paper(
        PaperInputs(small_world.prepared, experiments=()),
        small_world.card,
        small_world.translator,
        tmp_path_factory.mktemp("judged") / "results",
        settings=PaperSettings(slices=5),
        others=planted,
    )
