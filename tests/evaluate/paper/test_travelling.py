"""People scanned twice: registered, scored, and refused where the table is wrong."""

import numpy as np
import pytest
from scipy import ndimage

from prism_mri.errors import InputError
from prism_mri.evaluate.paper.biology import Volumes
from prism_mri.evaluate.paper.images import SiteImage, Sites
from prism_mri.evaluate.paper.methods import HarmonizationMethod, NotHarmonized
from prism_mri.evaluate.paper.travelling import (
    Traveller,
    read_travellers,
    register,
    score_travellers,
)


class Scan(SiteImage):
    """An image whose slices are in memory."""

    def __init__(self, site, subject, slices):
        for name, value in {"site": site, "subject": subject, "part": "test"}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "slices", slices)

    @property
    def spacing_mm(self):
        return (1.0, 1.0, 3.0)

    def load_all(self):
        return self.slices, self.slices > 0


def make_brain(move=(0.0, 0.0), gain=1.0):
    k, h, w = np.indices((12, 72, 80)).astype(float)
    h, w = h - 36 - move[0], w - 40 - move[1]
    radius = np.hypot(h / 28, w / 32) + 0.1 * abs(k - 6) / 6
    fold = 0.3 * np.sin(h / 4) * np.cos(w / 5 + k / 3)
    image = np.where(radius < 1, 0.6 + fold + 0.2 * (h > w), 0)
    smooth = ndimage.gaussian_filter(image, (0, 1, 1))
    return (gain * np.where(radius < 1, np.maximum(smooth, 0.05), 0)).astype(np.float32)


@pytest.fixture
def sites():
    images = []
    for subject in ("a", "b"):
        gain = 1.0 if subject == "a" else 0.9
        images.append(Scan("guys", subject, make_brain((3, -2), gain)))
        images.append(Scan("hh", subject, make_brain(gain=2 * gain)))
    return Sites("guys", ("guys", "hh"), tuple(images), {"guys": "test", "hh": "test"})


class Halve(HarmonizationMethod):
    name = label = "halve"

    def transform(self, slices, _mask, _spacing_mm):
        return slices / 2


def test_two_scans_of_one_person_are_brought_together(sites):
    truth, moved = sites.images[0], sites.images[1]
    slices, both = register(truth, moved)
    error = np.abs(slices - moved.slices / 2)[both].mean()
    unregistered = np.abs(truth.slices - moved.slices / 2)[both].mean()
    assert error < 0.35 * unregistered


def test_the_right_method_scores_best_and_volumes_agree(sites):
    people = [Traveller(name, {"guys": name, "hh": name}) for name in ("a", "b")]
    order = tuple(image.person for image in sites.images)
    shares = np.array([[0.1], [0.1], [0.2], [0.2]]) * np.ones(3)
    found = {"none": shares + np.array([[0], [0.05]] * 2), "halve": shares}
    volumes = Volumes(order, ("guys", "hh") * 2, found, shares)
    before, after = score_travellers(people, sites, [NotHarmonized(), Halve()], volumes, 0)
    assert after.ssim.estimate > before.ssim.estimate + 0.05
    assert after.psnr_db.estimate > before.psnr_db.estimate + 5
    assert after.icc["GM"] == pytest.approx(1)
    assert before.icc["GM"] < 0.95
    assert after.within_cv["WM"] == 0 < before.within_cv["WM"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("person\tsite\np\tguys\n", "lacks columns subject"),
        ("person\tsite\tsubject\np\tguys\tsub-z\np\thh\ta\n", "names guys/z.*not held out"),
        ("person\tsite\tsubject\np\tguys\ta\nq\thh\ta\n", "names nobody at two sites"),
        ("person\tsite\tsubject\np\tguys\ta\np\tguys\tb\n", "line 3: .*twice"),
        ("person\tsite\tsubject\np\tguys\ta\nq\tguys\ta\n", "line 3: .*twice"),
        ("person\tsite\tsubject\np\tguys\n", "line 2: a cell is empty"),
    ],
)
def test_wrong_tables_are_refused(sites, tmp_path, table, message):
    path = tmp_path / "travelling.tsv"
    path.write_text(table)
    with pytest.raises(InputError, match=message):
        read_travellers(path, sites)


def test_a_table_is_read(sites, tmp_path):
    path = tmp_path / "travelling.tsv"
    path.write_text("person\tsite\tsubject\np\tguys\tsub-a\np\thh\ta\nq\thh\tb\n")
    assert read_travellers(path, sites) == (Traveller("p", {"guys": "a", "hh": "a"}),)
