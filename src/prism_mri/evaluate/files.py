"""The results folder: results.json, scores.tsv, summary.tsv, table.md and panels.npz."""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ValidationError

from prism_mri.config import describe_validation_error
from prism_mri.errors import InputError
from prism_mri.evaluate.results import ScoreRow, SummaryRow, TravellingResults
from prism_mri.evaluate.table import format_table
from prism_mri.evaluate.tsv import format_tsv
from prism_mri.files import explain_os_error, write_whole

RESULTS_NAME = "results.json"
SCORES_NAME = "scores.tsv"
SUMMARY_NAME = "summary.tsv"
TABLE_NAME = "table.md"
PANELS_NAME = "panels.npz"
_PROBLEMS_SHOWN = 5

PanelArrays = Mapping[str, Float32[np.ndarray, "_H _W"]]
ModelT = TypeVar("ModelT", bound=BaseModel)


def check_results_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse early what `write_results` would refuse at the end.

    Raises:
        InputError: results stand there and may not be overwritten, or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder for results; give another --out")
    if (folder / RESULTS_NAME).exists() and not overwrite:
        raise InputError(f"{folder / RESULTS_NAME} exists; pass --overwrite or another --out")


def write_results(
    folder: Path, results: TravellingResults, panels: PanelArrays, *, overwrite: bool = False
) -> None:
    """Write all files of an evaluation; results.json last, so where it stands the rest stands too.

    Args:
        folder: made if missing.
        results: scores and what they came from.
        panels: slices (H, W) by name.
        overwrite: replace an earlier evaluation.

    Raises:
        InputError: results stand there already, or the folder cannot be written.
    """
    check_results_folder(folder, overwrite=overwrite)
    files = {
        SCORES_NAME: format_tsv(ScoreRow, results.scores),
        SUMMARY_NAME: format_tsv(SummaryRow, results.summary),
        TABLE_NAME: format_table(results).encode(),
        PANELS_NAME: pack_panels(panels),
        RESULTS_NAME: (results.model_dump_json(indent=1) + "\n").encode(),
    }
    write_files(folder, files)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace all files of an evaluation, in the order given; results.json belongs last.

    Raises:
        InputError: the folder cannot be written.
    """
    _drop_old_results(folder)
    for name, content in files.items():
        write_whole(folder / name, content, overwrite=True)


def read_kind(folder: Path) -> str:
    """Return which evaluation wrote results.json; "travelling" where it does not say.

    Raises:
        InputError: the folder holds no results, or those of an evaluation that has no report.
    """
    path = folder / RESULTS_NAME
    try:
        parsed = json.loads(_read(path))
    except (ValueError, RecursionError):
        return "travelling"
    kind = parsed.get("kind", "travelling") if isinstance(parsed, dict) else "travelling"
    if kind == "reconstruction":
        raise InputError(
            f"{path} holds results of 'evaluate reconstruction'; report takes results of 'evaluate"
            f" travelling' and 'evaluate paper' (the table is in {path.with_name(TABLE_NAME)})"
        )
    return str(kind)


def read_results(folder: Path) -> TravellingResults:
    """Read results.json of an evaluation of travelling people.

    Raises:
        InputError: the folder holds no results, those of another evaluation, or damaged ones.
    """
    read_kind(folder)
    return parse_results(folder, TravellingResults)


def parse_results(folder: Path, model: type[ModelT]) -> ModelT:
    """Read results.json as what one kind of evaluation writes.

    Raises:
        InputError: the folder holds no results, or others than the model describes.
    """
    path = folder / RESULTS_NAME
    try:
        return model.model_validate_json(_read(path))
    except ValidationError as error:
        raise InputError(
            f"{path} is no result of this version: {_describe_briefly(error)}"
        ) from error


def read_panels(folder: Path) -> dict[str, Float32[np.ndarray, "_H _W"]]:
    """Read the slices that an evaluation kept for pictures.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = folder / PANELS_NAME
    try:
        content = io.BytesIO(path.read_bytes())
        with np.load(content, allow_pickle=False) as archive:
            return {name: archive[name].astype(np.float32) for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"cannot read pictures from {path}: {error}; run 'prism-mri evaluate' again"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        reason = explain_os_error(problem)
        raise InputError(
            f"cannot read {path}: {reason}; run 'prism-mri evaluate' first"
        ) from problem


def _describe_briefly(error: ValidationError) -> str:
    """Return the first problems in one line: another version's tables have thousands."""
    problems = describe_validation_error(error).replace("\n", " ").split("; ")
    rest = len(problems) - _PROBLEMS_SHOWN
    shown = "; ".join(problems[:_PROBLEMS_SHOWN])
    return f"{shown}; and {rest} more" if rest > 0 else shown


def _drop_old_results(folder: Path) -> None:
    """Remove an old results.json, so that it never stands beside new tables."""
    try:
        (folder / RESULTS_NAME).unlink(missing_ok=True)
    except OSError as problem:
        raise InputError(
            f"cannot replace {folder / RESULTS_NAME}: {explain_os_error(problem)}"
        ) from problem


def pack_panels(panels: PanelArrays) -> bytes:
    """Return slices (H, W) by name as a compressed archive."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream, allow_pickle=False, **{name: np.asarray(panel) for name, panel in panels.items()}
    )
    return stream.getvalue()
