"""``prism-mri reproduce``: the paper's protocol, from the downloads to its tables."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers, add_extraction_option, parse_count, parse_seed


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "reproduce",
        help="the paper's protocol on IXI and ADNI, its tables beside the published ones",
        description="Prepare sites guys and hh of IXI and adni of ADNI as their archives unpack "
        "them, train each, harmonize to guys, and compute the paper's tables beside its numbers. "
        "Images that cannot be used are named and left out. What is finished stays in RESULTS: an "
        "interrupted run goes on. Needs pip install 'prism-mri[evaluate]'.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "--ixi", metavar="DIR", type=Path, required=True, help="folder of IXI012-HH-1211-T2.nii.gz"
    )
    parser.add_argument(
        "--adni",
        metavar="DIR",
        type=Path,
        required=True,
        help="ADNI's archive, unpacked",
    )
    parser.add_argument(
        "--out", metavar="RESULTS", type=Path, required=True, help="folder to write"
    )
    parser.add_argument(
        "--brain-mask",
        metavar="PATTERN",
        help="brain masks, as for 'prepare'; not needed for stripped images",
    )
    add_extraction_option(parser)
    parser.add_argument(
        "--labels", metavar="PATTERN", help="tissue labels for Table 3, as for 'prepare'"
    )
    parser.add_argument(
        "--kind",
        choices=["full", "adapter", "style"],
        default="full",
        help="what of its networks a site trains, as for 'train' (default: full)",
    )
    parser.add_argument(
        "--runs", metavar="N", type=parse_count, default=5, help="networks a table (default: 5)"
    )
    parser.add_argument(
        "--slices",
        metavar="N",
        type=parse_count,
        default=8,
        help="slices of an image that networks look at; the paper had 1 (default: 8)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=parse_seed, default=0, help="of everything (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the protocol, print the tables to stderr and the report's path to stdout."""
    from prism_mri.cli.progress import show_progress, show_stages
    from prism_mri.evaluate.paper.results import build_settings
    from prism_mri.evaluate.paper.table import format_paper
    from prism_mri.models.translator import read_translator
    from prism_mri.reproduce import REPORT_NAME, RawData, reproduce
    from prism_mri.training.anchored import AnchoredSettings

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    with show_stages("evaluate") as stages:
        results = reproduce(
            RawData(args.ixi, args.adni, args.brain_mask, args.labels, args.brain_extraction),
            args.out,
            translator=read_translator(),
            training=AnchoredSettings(kind=args.kind),
            settings=build_settings(seed=args.seed, runs=args.runs, slices=args.slices),
            stage=show_progress,
            stages=stages,
            say=say,
            overwrite=args.overwrite,
        )
    say(format_paper(results))
    sys.stdout.write(f"{args.out / REPORT_NAME}\n")
    return 0
