"""Why independently trained sites cannot read one another: the numbers of the levels."""

from itertools import permutations

import numpy as np
import pytest
import torch

from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.evaluate.redraw import read_site_networks, redraw_brain
from prism_mri.models.translator import read_translator
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.training.paper import PaperSettings, train_paper
from prism_mri.volume import Volume, write_volume

LEVELS = np.array([0, 900, 400, 250], np.float32)
"""Background, fluid, grey and white matter, as on T2w."""
SETTINGS = PaperSettings(
    epochs=50, patience=50, batch=4, crop=48, patches=8, learning_rate=5e-3, validation_slices=2
)


class Renumbered(torch.nn.Module):
    """An anatomy encoder of five levels that come out under other numbers."""

    def __init__(self, encoder, order):
        super().__init__()
        self.encoder, self.order = encoder, torch.tensor(order)

    def forward(self, image):
        return self.order[(4 * self.encoder(image)).round().long()].float() / 4


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Train on shells of white in grey matter in fluid; return networks, slices and mask."""
    folder = tmp_path_factory.mktemp("numbering")
    contract = PreprocessingContract(shape=(48, 48), min_brain_area_mm2=150.0)
    for person in range(3):
        numbers = np.random.default_rng(person)
        i, j, k = np.indices((32, 36, 5))
        radius = np.hypot((i - 16) / numbers.uniform(12, 14), (j - 18) / 14) + 0.05 * abs(k - 2)
        labels = np.array([3, 2, 1, 0])[np.digitize(radius, [0.6, 0.85, 1.0])]
        data = (LEVELS[labels] * numbers.normal(1, 0.03, labels.shape)).astype(np.float32)
        volume = Volume(data, np.diag([1.0, 1.0, 4.0, 1.0]))
        write_volume(folder / "raw" / f"sub-{person}_T2w.nii.gz", data, volume)
    prepare_site([folder / "raw"], folder / "prepared", site="guys", contract=contract)
    train_paper(folder / "prepared", folder / "model", SETTINGS, report=lambda _: None)
    (held_out,) = read_prepared(folder / "prepared").split("validation")
    return read_site_networks(folder / "model", read_translator()), *held_out.load()


def correlate(networks, slices, mask):
    drawn = redraw_brain(slices, mask, networks)
    return float(np.corrcoef(drawn[mask], slices[mask])[0, 1])


def test_a_trained_site_redraws_its_own_people(site):
    assert correlate(*site) > 0.9


def test_other_numbers_for_the_same_levels_break_the_image(site):
    """Reconstruction at home shows nothing of it: only the numbers changed, no boundary moved."""
    networks, slices, mask = site
    home = correlate(networks, slices, mask)
    worst = []
    for order in permutations(range(5)):
        other = type(networks)(
            Renumbered(networks.anatomy_encoder, order), networks.style_encoder, networks.decoder
        )
        worst.append(correlate(other, slices, mask))
    assert worst[0] == pytest.approx(home)
    assert min(worst) < 0
    assert np.median(worst) < home - 0.3
