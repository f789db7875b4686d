"""Figures: which way is up, and that windows are shared."""

import base64
import io

import numpy as np
from matplotlib import image as pictures

from prism_mri.evaluate.results import Panel
from prism_mri.report.figures import plot_panel, turn_front_up


def decode(uri):
    content = base64.b64decode(uri.partition("base64,")[2])
    return pictures.imread(io.BytesIO(content), format="png")[..., :3]


def make_panel(pixel_mm=(1.0, 1.0)):
    return Panel(key="p", person="a", source="s", target="t", slice_index=0, pixel_mm=pixel_mm)


def make_arrays(**levels):
    disc = np.hypot(*(np.indices((40, 40)) - 20.0)) < 15
    names = {"source": 0.2, "quantile": 0.2, "prism": 0.2, "truth": 0.2, "clean": 0.2} | levels
    return {
        f"p_{name}": np.where(disc, np.float32(level), 0).astype(np.float32)
        for name, level in names.items()
    }


def find_cells(picture):
    """Return the centres of the eight cells, left to right, upper row first."""
    height, width = picture.shape[:2]
    columns = [int(width * 0.92 * (index + 0.5) / 4) for index in range(4)]
    return [(int(height * part), column) for part in (0.28, 0.72) for column in columns]


def test_front_is_up_and_left_is_left():
    data = np.zeros((3, 4), dtype=np.float32)  # (left to right, posterior to anterior)
    data[0, 3] = 1  # left and anterior
    data[2, 0] = 2  # right and posterior
    turned = turn_front_up(data)
    assert turned.shape == (4, 3)
    assert turned[0, 0] == 1
    assert turned[-1, -1] == 2


def test_images_share_one_window():
    picture = decode(plot_panel(make_panel(), make_arrays(source=0.4, truth=0.2)))
    cells = find_cells(picture)
    source, quantile = (picture[cells[index]][0] for index in (0, 1))
    assert source > 0.9
    assert 0.4 < quantile < 0.6


def test_too_bright_is_red_and_too_dark_is_blue():
    arrays = make_arrays(source=0.3, quantile=0.1, prism=0.2, truth=0.2)
    picture = decode(plot_panel(make_panel(), arrays))
    cells = find_cells(picture)
    red, blue, none = (picture[cells[index]] for index in (4, 5, 6))
    assert red[0] > red[2] + 0.2
    assert blue[2] > blue[0] + 0.2
    assert none.min() > 0.9


def test_tall_pixels_are_drawn_tall():
    square = decode(plot_panel(make_panel(), make_arrays()))
    tall = decode(plot_panel(make_panel((1.0, 2.0)), make_arrays()))
    assert tall.shape[1] == square.shape[1]
    assert tall.shape[0] > 1.7 * square.shape[0] - 100
