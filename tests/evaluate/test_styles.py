"""Coordinates of styles."""

import numpy as np
import pytest

from prism_mri.evaluate.styles import VolumeStyle, place_styles


def make(card, style, stage="before"):
    return VolumeStyle(card, "p", "a", stage, tuple(float(number) for number in style))


def test_two_numbers_are_drawn_as_they_are():
    points, axes = place_styles([make("a", (0.5, -2)), make("a", (1, 3))])
    assert [(point.x, point.y) for point in points] == [(0.5, -2.0), (1.0, 3.0)]
    assert (axes[0].projection, axes[0].explained) == ("style", 1.0)


def test_one_number_lies_on_a_line():
    points, _ = place_styles([make("a", (0.5,)), make("a", (1,))])
    assert [(point.x, point.y) for point in points] == [(0.5, 0.0), (1.0, 0.0)]


def test_a_plane_in_many_dimensions_keeps_its_distances():
    generator = np.random.default_rng(0)
    plane, _ = np.linalg.qr(generator.standard_normal((8, 2)))
    flat = generator.standard_normal((20, 2)) * (3, 1)
    points, axes = place_styles([make("a", row) for row in flat @ plane.T + 5])
    drawn = np.array([(point.x, point.y) for point in points])

    def distances(table):
        return np.linalg.norm(table[:, None] - table[None], axis=-1)

    assert distances(drawn) == pytest.approx(distances(flat), abs=1e-9)
    assert axes[0].explained == pytest.approx(1.0)
    assert drawn[:, 0].std() > drawn[:, 1].std()


def test_explained_variance_is_that_of_the_first_two():
    table = np.zeros((6, 3))
    table[:, 0] = (3, -3, 0, 0, 0, 0)
    table[:, 1] = (0, 0, 2, -2, 0, 0)
    table[:, 2] = (0, 0, 0, 0, 1, -1)
    _, axes = place_styles([make("a", row) for row in table])
    assert axes[0].explained == pytest.approx((9 + 4) / 14)


def test_cards_are_placed_apart_and_points_keep_their_order():
    styles = [
        make("a", (1, 0, 0)),
        make("b", (9, 9, 9)),
        make("a", (-1, 0, 0)),
        make("b", (9, 9, 9)),
    ]
    points, axes = place_styles(styles)
    assert [point.card for point in points] == ["a", "b", "a", "b"]
    assert [point.x for point in points] == pytest.approx([1, 0, -1, 0])
    assert [one.explained for one in axes] == [1.0, 1.0]


def test_nothing_gives_nothing():
    assert place_styles([]) == ((), ())
