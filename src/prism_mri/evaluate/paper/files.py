"""The results folder of an evaluation of sites: results.json, tables, table.md, panels.npz."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from prism_mri.config import FrozenModel
from prism_mri.evaluate.files import (
    PANELS_NAME,
    RESULTS_NAME,
    TABLE_NAME,
    PanelArrays,
    check_results_folder,
    pack_panels,
    parse_results,
    write_files,
)
from prism_mri.evaluate.paper.results import PaperResults
from prism_mri.evaluate.paper.table import format_paper

SCHEMA_NAME = "results.schema.json"
_TABLES = (
    "similarity",
    "recalls",
    "segmentation",
    "dice_changes",
    "distances",
    "style_energy",
    "checks",
    "volumes",
    "effects",
    "travelling",
    "verdicts",
)


def write_paper_results(
    folder: Path, results: PaperResults, panels: PanelArrays, *, overwrite: bool = False
) -> None:
    """Write all files of an evaluation; results.json last, so where it stands the rest stands too.

    Args:
        folder: made if missing.
        results: what was found.
        panels: slices (H, W) by name.
        overwrite: replace an earlier evaluation.

    Raises:
        InputError: results stand there already, or the folder cannot be written.
    """
    check_results_folder(folder, overwrite=overwrite)
    files = {
        f"{name}.tsv": _flatten_rows(rows) for name in _TABLES if (rows := getattr(results, name))
    }
    schema = PaperResults.model_json_schema()
    files |= {
        TABLE_NAME: format_paper(results).encode(),
        PANELS_NAME: pack_panels(panels),
        SCHEMA_NAME: (json.dumps(schema, indent=1) + "\n").encode(),
        RESULTS_NAME: (results.model_dump_json(indent=1) + "\n").encode(),
    }
    write_files(folder, files)


def read_paper_results(folder: Path) -> PaperResults:
    """Read results.json of an evaluation of sites.

    Raises:
        InputError: the folder holds no results, those of another evaluation, or damaged ones.
    """
    return parse_results(folder, PaperResults)


def _flatten_rows(rows: Sequence[FrozenModel]) -> bytes:
    """Return rows as TSV; nested values get columns of their own, ``ssim.low`` for instance."""
    flat = [dict(_flatten(row.model_dump(mode="json"))) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    lines = ["\t".join(columns)] + [
        "\t".join(_format(row.get(name)) for name in columns) for row in flat
    ]
    return ("\n".join(lines) + "\n").encode()


def _flatten(content: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for name, value in content.items():
        if isinstance(value, dict):
            pairs += _flatten(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _format(value: object) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, list):
        return "; ".join(str(part) for part in value)
    return str(value)
