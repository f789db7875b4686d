"""Reads what an evaluation wrote, and writes its page."""

import logging
from pathlib import Path

from prism_mri.errors import InputError
from prism_mri.evaluate.files import read_kind, read_panels, read_results
from prism_mri.evaluate.paper.files import read_paper_results
from prism_mri.files import write_whole
from prism_mri.report import page, paper_page

logger = logging.getLogger(__name__)


def write_report(results_folder: Path, out: Path, *, overwrite: bool = False) -> None:
    """Write the page of an evaluation: one HTML file that needs nothing else.

    Args:
        results_folder: folder that 'prism-mri evaluate travelling' or 'evaluate paper' wrote.
        out: HTML file to write.
        overwrite: replace an existing file.

    Raises:
        InputError: the results are missing or damaged, or the file exists or cannot be written.
    """
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; pass --overwrite or another --out")
    html = _render(results_folder)
    write_whole(out, html.encode(), overwrite=overwrite)
    logger.info("report written")


def _render(folder: Path) -> str:
    if read_kind(folder) == "paper":
        return paper_page.render(read_paper_results(folder), read_panels(folder))
    return page.render(read_results(folder), read_panels(folder))
