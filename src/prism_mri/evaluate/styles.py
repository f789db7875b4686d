"""Styles of whole volumes before and after harmonization, with coordinates to draw them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from prism_mri.evaluate.results import StyleAxes, StylePoint, StyleStage


@dataclass(frozen=True)
class VolumeStyle:
    """Mean style of one volume, not yet placed in a drawing."""

    card: str
    person: str
    source: str
    stage: StyleStage
    style: tuple[float, ...]


def place_styles(
    styles: Sequence[VolumeStyle],
) -> tuple[tuple[StylePoint, ...], tuple[StyleAxes, ...]]:
    """Give every style two coordinates, card by card.

    A style of two numbers is its own drawing; longer ones are projected on the first two principal
    components of all the card's styles, signs fixed so that each component's largest weight is
    positive.

    Args:
        styles: mean styles of volumes.

    Returns:
        Points in the order given, and what the coordinates of each card are.
    """
    points: dict[int, StylePoint] = {}
    axes = []
    for card in dict.fromkeys(one.card for one in styles):
        indices = [index for index, one in enumerate(styles) if one.card == card]
        table = np.array([styles[index].style for index in indices], dtype=np.float64)
        coordinates, explained = _project(table)
        projection = "style" if table.shape[1] <= 2 else "principal components"
        axes.append(StyleAxes(card=card, projection=projection, explained=explained))
        for index, (x, y) in zip(indices, coordinates.tolist(), strict=True):
            one = styles[index]
            points[index] = StylePoint(
                card=card,
                person=one.person,
                source=one.source,
                stage=one.stage,
                style=one.style,
                x=x,
                y=y,
            )
    return tuple(points[index] for index in sorted(points)), tuple(axes)


def _project(table: Float64[np.ndarray, "N Z"]) -> tuple[Float64[np.ndarray, "N 2"], float]:
    if table.shape[1] <= 2:
        missing = 2 - table.shape[1]
        return np.pad(table, ((0, 0), (0, missing))), 1.0
    centred = table - table.mean(axis=0)
    _, spread, components = np.linalg.svd(centred, full_matrices=False)
    components = components[:2]
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, None]
    coordinates = centred @ components.T
    variance = spread**2
    total = float(variance.sum())
    explained = float(variance[:2].sum() / total) if total > 0 else 1.0
    return np.pad(coordinates, ((0, 0), (0, 2 - coordinates.shape[1]))), explained
