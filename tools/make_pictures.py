"""Make the pictures of README and docs.

    python tools/make_pictures.py panel RESULTS KEY --out docs/images/panel.png
    python tools/make_pictures.py volumes SOURCE HARMONIZED [SOURCE HARMONIZED ...] --out real.png

The first draws one panel of an evaluation as the report does; the second shows volumes before and
after, four axial slices each, in one grey window a row.
"""

import argparse
import base64
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prism_mri.evaluate.files import read_panels, read_results
from prism_mri.files import write_whole
from prism_mri.report.figures import plot_panel, turn_front_up
from prism_mri.volume import read_volume, reorient_to_ras

_HEIGHTS = (0.35, 0.48, 0.61, 0.74)


def save_panel(results_folder: Path, key: str, out: Path) -> None:
    """Write a panel of the report as a PNG file."""
    panels = {panel.key: panel for panel in read_results(results_folder).panels}
    uri = plot_panel(panels[key], read_panels(results_folder))
    write_whole(out, base64.b64decode(uri.partition(",")[2]), overwrite=True)


def save_volumes(paths: list[Path], out: Path) -> None:
    """Draw sources beside their harmonized volumes; the brain of the second crops both."""
    figure = Figure(figsize=(2 * 2.1 * len(_HEIGHTS), 2.6 * len(paths) / 2), facecolor="black")
    axes = figure.subplots(len(paths) // 2, 2 * len(_HEIGHTS), squeeze=False)
    for row, (source, harmonized) in zip(
        axes, zip(paths[::2], paths[1::2], strict=True), strict=True
    ):
        after = reorient_to_ras(read_volume(harmonized))[0]
        before = reorient_to_ras(read_volume(source))[0].data * (after.data > 0)
        for start, data in ((0, before), (len(_HEIGHTS), after.data)):
            _draw_row(row[start : start + len(_HEIGHTS)], data, after.spacing_mm)
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    figure.savefig(out, dpi=100, facecolor="black")


def _draw_row(axes: np.ndarray, data: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    inside = np.argwhere(data > 0)
    (i0, j0, k0), (i1, j1, k1) = inside.min(0), inside.max(0) + 1
    top = float(np.percentile(data[data > 0], 99.5))
    for axis, height in zip(axes, _HEIGHTS, strict=True):
        picture = turn_front_up(data[i0:i1, j0:j1, round(k0 + height * (k1 - 1 - k0))])
        axis.imshow(picture, cmap="gray", vmin=0, vmax=top, aspect=spacing_mm[1] / spacing_mm[0])
        axis.set_axis_off()


def main() -> None:
    """Parse arguments and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    panel = kinds.add_parser("panel")
    panel.add_argument("results", type=Path)
    panel.add_argument("key")
    volumes = kinds.add_parser("volumes")
    volumes.add_argument("paths", type=Path, nargs="+", metavar="SOURCE HARMONIZED")
    for kind in (panel, volumes):
        kind.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.kind == "panel":
        save_panel(arguments.results, arguments.key, arguments.out)
    else:
        save_volumes(arguments.paths, arguments.out)


if __name__ == "__main__":
    main()
