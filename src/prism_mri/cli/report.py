"""``prism-mri report``: results as one HTML page."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="write results as one HTML page",
        description="Write what 'prism-mri evaluate travelling' or 'evaluate paper' found as one "
        "HTML page with pictures and tables that needs no other file and no network. It holds "
        "pictures of brain slices.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "results",
        metavar="RESULTS",
        type=Path,
        help="folder that 'prism-mri evaluate travelling' or 'evaluate paper' wrote",
    )
    parser.add_argument(
        "--out", metavar="REPORT.html", type=Path, required=True, help="file to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page and its path to stdout."""
    from prism_mri.report import write_report

    write_report(args.results, args.out, overwrite=args.overwrite)
    sys.stdout.write(f"{args.out}\n")
    return 0
