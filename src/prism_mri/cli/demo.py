"""``prism-mri demo``: the whole path on simulated sites."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers, parse_seed


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="run the whole path on simulated sites",
        description="Simulate three sites, train, publish cards, harmonize, score, and write a "
        "report.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("demo"), help="default: demo"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see the path in two minutes, not the quality"
    )
    parser.add_argument("--seed", metavar="S", type=parse_seed, default=0, help="default: 0")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; print the table and where to look."""
    from prism_mri.cli.progress import show_progress
    from prism_mri.demo import plan_demo, run_study
    from prism_mri.evaluate.table import format_table
    from prism_mri.models.translator import read_translator

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    results = run_study(
        plan_demo(quick=args.quick, seed=args.seed),
        args.out,
        translator=read_translator(),
        stage=show_progress,
        say=say,
    )
    say(format_table(results))
    say(f"Site cards: {', '.join(str(path) for path in sorted(args.out.glob('*.prism')))}")
    say(f"Harmonized volumes: {args.out / 'harmonized'}")
    say("Open the report in a browser:")
    sys.stdout.write(f"{args.out / 'report.html'}\n")
    return 0
