"""Windows: where they lie, and that whatever they cut is cut alike."""

import numpy as np
import pytest
import torch

from prism_mri.data.prepared import read_prepared
from prism_mri.training.slices import Window, draw_window, load_slices


def test_windows_lie_everywhere_and_are_mirrored_every_other_time():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_window((40, 24), 32, generator) for _ in range(400)]
    assert {(window.height, window.width) for window in drawn} == {(32, 24)}
    assert {window.top for window in drawn} == set(range(9))
    assert {window.left for window in drawn} == {0}
    assert 160 < sum(window.mirrored for window in drawn) < 240


def test_no_size_takes_whole_slices():
    window = draw_window((40, 24), None, torch.Generator().manual_seed(0))
    assert (window.top, window.left, window.height, window.width) == (0, 0, 40, 24)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_window_is_cut_from_the_last_two_axes_and_mirrored_along_height(mirrored):
    slices = torch.arange(2 * 5 * 4, dtype=torch.float16).reshape(2, 1, 5, 4)
    cut = Window(top=1, left=2, height=3, width=2, mirrored=mirrored).cut(slices)
    rows = [1, 2, 3][:: -1 if mirrored else 1]
    assert cut.dtype == torch.float32
    assert cut[1, 0].tolist() == [[20 + 4 * row + column for column in (2, 3)] for row in rows]


def test_a_splits_slices_come_in_the_box_of_its_brains(prepared):
    images = read_prepared(prepared).split("train")
    pixels, inside = load_slices(images, torch.device("cpu"))
    stacks = [image.load() for image in images]
    count = sum(len(stack) for stack, _ in stacks)
    assert pixels.shape == inside.shape == (count, 1, 32, 32)
    assert set(inside.unique().tolist()) == {0.0, 1.0}
    whole = np.concatenate([stack for stack, _ in stacks])
    assert pixels.sum().item() == pytest.approx(float(whole.sum()), rel=1e-5)
    assert inside.sum().item() == sum(int(mask.sum()) for _, mask in stacks)
