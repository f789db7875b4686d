"""The BIDS App's group level: numbers of all sidecars as a table and a page, outliers first."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from prism_mri.bids import BidsName, read_sidecar
from prism_mri.errors import BidsError, InputError
from prism_mri.files import write_whole
from prism_mri.report.render import fill_template
from prism_mri.volume import strip_nifti_suffix

TABLE_NAME: Final = "group_harmonized.tsv"
PAGE_NAME: Final = "group_harmonized.html"
_IGNORED: Final = "group_harmonized.*"
OUTLYING: Final = 3.5
"""Robust z beyond which a number is marked.

Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993.
"""
FEW_IMAGES: Final = 5
_WARNINGS: Final = "warnings"


@dataclass(frozen=True)
class ImageRow:
    """One harmonized image.

    Attributes:
        participant: with ``sub-``.
        session: with ``ses-``, or None.
        image: path below the derivative.
        numbers: of its sidecar, by name; how many warnings is one of them.
        z: robust z of the numbers that vary.
    """

    participant: str
    session: str | None
    image: str
    numbers: Mapping[str, float]
    z: Mapping[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> str | None:
        """The number that lies farthest out."""
        return max(self.z, key=lambda name: abs(self.z[name]), default=None)

    @property
    def distance(self) -> float:
        """How far the farthest lies."""
        return abs(self.z[self.worst]) if self.worst else 0.0


def write_group(
    out: Path,
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write table and page of the results that stand in a derivative.

    Args:
        out: the derivative's root, where both are written.
        participants: labels, with or without ``sub-``; none for all.
        sessions: labels, with or without ``ses-``; none for all.
        overwrite: replace a table and page that say something else.

    Returns:
        The two files.

    Raises:
        InputError: no results, a sidecar that cannot be read, or other files in place.
    """
    rows = [
        row
        for row in _read_rows(out)
        if _is_among(row.participant, participants, "sub")
        and _is_among(row.session, sessions, "ses")
    ]
    if not rows:
        raise InputError(
            f"no harmonized image of that choice in {out}: run the participant level first, and "
            "check --participant-label and --session-label"
        )
    scored = score_rows(rows)
    contents = {TABLE_NAME: format_table(scored), PAGE_NAME: render_page(scored).encode()}
    changed = {name: new for name, new in contents.items() if not _holds(out / name, new)}
    standing = [str(out / name) for name in changed if (out / name).exists()]
    if standing and not overwrite:
        raise InputError(f"{', '.join(standing)} says something else: pass --overwrite")
    _ignore_both(out / ".bidsignore")
    for name, content in changed.items():
        write_whole(out / name, content, overwrite=True)
    return [out / name for name in contents]


def score_rows(rows: Sequence[ImageRow]) -> list[ImageRow]:
    """Return rows with the robust z of their numbers, the farthest out first."""
    columns = [name for name in _list_numbers(rows) if _varies(rows, name)]
    scores: list[dict[str, float]] = [{} for _ in rows]
    for name in columns:
        held = [number for number, row in enumerate(rows) if name in row.numbers]
        values = np.array([rows[number].numbers[name] for number in held])
        for number, z in zip(held, compute_robust_z(values), strict=True):
            scores[number][name] = float(z)
    scored = [
        ImageRow(row.participant, row.session, row.image, row.numbers, z)
        for row, z in zip(rows, scores, strict=True)
    ]
    return sorted(scored, key=lambda row: (-row.distance, row.image))


def compute_robust_z(values: np.ndarray) -> np.ndarray:
    """Return (N,) distances from the median in robust standard deviations.

    Where more than half of the values are the same, the mean absolute deviation takes the place of
    the median one; fewer than five values have no scale and get 0.

    Source: Iglewicz and Hoaglin 1993.
    """
    deviations = values - np.median(values)
    scale = 1.4826 * np.median(np.abs(deviations))
    if scale == 0:
        scale = 1.2533 * np.mean(np.abs(deviations))
    if scale == 0 or len(values) < FEW_IMAGES:
        return np.zeros(len(values))
    return np.asarray(deviations / scale)


def format_table(rows: Sequence[ImageRow]) -> bytes:
    """Return the rows as tab-separated text, by participant and session."""
    names = _list_numbers(rows)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(["participant_id", "session_id", "image", *names, "robust_z", "farthest"])
    for row in sorted(rows, key=lambda one: one.image):
        numbers = [f"{row.numbers[name]:.6g}" if name in row.numbers else "n/a" for name in names]
        where = [row.participant, row.session or "n/a", row.image]
        writer.writerow([*where, *numbers, f"{row.distance:.3f}", row.worst or "n/a"])
    return stream.getvalue().encode()


def render_page(rows: Sequence[ImageRow]) -> str:
    """Return the page as HTML, rows in the order given."""
    names = _list_numbers(rows)
    varying = [name for name in names if _varies(rows, name)]
    constant = {name: _show(rows[0].numbers[name]) for name in names if name not in varying}
    return fill_template(
        "group.html.j2",
        names=varying,
        constant=constant,
        lines=[(row, [_cell(row, name) for name in varying]) for row in rows],
        outliers=sum(row.distance > OUTLYING for row in rows),
        warned=sum(row.numbers[_WARNINGS] > 0 for row in rows),
        participants=len({row.participant for row in rows}),
        limit=OUTLYING,
        few=FEW_IMAGES if len(rows) < FEW_IMAGES else None,
    )


def _read_rows(out: Path) -> list[ImageRow]:
    if not out.is_dir():
        raise InputError(f"{out} is no folder: give the OUT_DIR of the participant level")
    rows, problems = [], []
    for image in sorted(out.glob("sub-*/**/*_desc-harmonized_*.nii*")):
        try:
            rows.append(_read_row(image, out))
        except BidsError as problem:
            problems.append(str(problem))
    if problems:
        raise InputError("; ".join(problems))
    return rows


def _read_row(image: Path, out: Path) -> ImageRow:
    entities = BidsName.parse(image.name).entities
    sidecar = read_sidecar(image)
    prism = sidecar.get("Prism")
    if not isinstance(prism, dict):
        raise BidsError(
            f"{strip_nifti_suffix(image)}.json in {image.parent} is missing or not of prism-mri: "
            "run the participant level again, or move the image away"
        )
    warnings = prism.get("Warnings")
    numbers = {_WARNINGS: float(len(warnings)) if isinstance(warnings, list) else 0.0}
    session = f"ses-{entities['ses']}" if "ses" in entities else None
    protocol = {key: value for key, value in sidecar.items() if key != "Prism"}
    numbers |= _find_numbers(prism) | _find_numbers(protocol)
    return ImageRow(f"sub-{entities['sub']}", session, image.relative_to(out).as_posix(), numbers)


def _find_numbers(content: object, name: str = "") -> dict[str, float]:
    """Return the finite numbers in nested JSON, named by the way to them."""
    if isinstance(content, bool):
        return {}
    if isinstance(content, int | float):
        return {name: float(content)} if np.isfinite(content) else {}
    parts: list[tuple[str, object]] = []
    if isinstance(content, dict):
        parts = [
            (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower(), content[key]) for key in content
        ]
    elif isinstance(content, list):
        parts = [(str(number), value) for number, value in enumerate(content, start=1)]
    found: dict[str, float] = {}
    for part, value in parts:
        found |= _find_numbers(value, f"{name}_{part}" if name else part)
    return found


def _list_numbers(rows: Sequence[ImageRow]) -> list[str]:
    names = {name for row in rows for name in row.numbers}
    return [_WARNINGS, *sorted(names - {_WARNINGS})]


def _varies(rows: Sequence[ImageRow], name: str) -> bool:
    return len({row.numbers.get(name) for row in rows}) > 1


def _cell(row: ImageRow, name: str) -> tuple[str, str, bool]:
    """Return a number, its z, and whether it is marked."""
    if name not in row.numbers:
        return "–", "", False
    z = row.z.get(name, 0.0)
    return _show(row.numbers[name]), f"z {z:+.1f}".replace("-", "−"), abs(z) > OUTLYING


def _show(value: float) -> str:
    return f"{value:.5g}".replace("-", "−")


def _is_among(label: str | None, wanted: Sequence[str], key: str) -> bool:
    return not wanted or label in {f"{key}-{one.removeprefix(f'{key}-')}" for one in wanted}


def _ignore_both(path: Path) -> None:
    """Let BIDS validators pass over table and page, whose names are no BIDS names."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if _IGNORED not in lines:
        write_whole(path, "\n".join([*lines, _IGNORED, ""]).encode(), overwrite=True)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
