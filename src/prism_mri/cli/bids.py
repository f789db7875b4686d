"""``prism-mri bids``: the BIDS App, with the arguments that BIDS Apps share."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.harmonize import add_options, read_options
from prism_mri.cli.parsing import Subparsers, parse_count


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "bids",
        help="harmonize a BIDS dataset, as a BIDS App",
        description="participant: harmonize the images of the card's modality into a BIDS "
        "derivative. Runs that share OUT_DIR divide the participants among them, and a run that "
        "was killed goes on where it was. group: a table and a page of all results, outliers "
        "first.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument("dataset", metavar="BIDS_DIR", type=Path, help="root of a BIDS dataset")
    parser.add_argument("out", metavar="OUT_DIR", type=Path, help="root of the derivative")
    parser.add_argument("level", choices=["participant", "group"], help="what to do")
    parser.add_argument(
        "--participant-label",
        metavar="LABEL",
        nargs="+",
        default=[],
        help="participants, with or without sub- (default: all)",
    )
    parser.add_argument(
        "--session-label",
        metavar="LABEL",
        nargs="+",
        default=[],
        help="sessions, with or without ses- (default: all)",
    )
    parser.add_argument(
        "--bids-filter-file",
        metavar="FILE",
        type=Path,
        help='JSON with the entities that images must have: {"T2w": {"acquisition": "highres"}}',
    )
    parser.add_argument(
        "--n-procs",
        metavar="N",
        type=parse_count,
        default=1,
        help="processes, one thread each (default: 1)",
    )
    parser.add_argument(
        "-w",
        "--work-dir",
        metavar="DIR",
        type=Path,
        help="folder of the participants' locks, the same for all runs that share OUT_DIR "
        "(default: OUT_DIR/.prism-work)",
    )
    parser.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="do not ask the BIDS validator on the PATH",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="say more, and show tracebacks",
    )
    add_options(parser, card_required=False)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    """Run a level, and write the paths of its results to stdout."""
    if args.level == "group":
        written = _run_group(args)
    elif args.card is None:
        args.usage_error("the participant level needs --card SITE.prism")
    else:
        written = _run_participants(args)
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0


def _run_participants(args: argparse.Namespace) -> list[Path]:
    from prism_mri.app import Choice, ParticipantRun, harmonize_participants, validate_dataset
    from prism_mri.cli.progress import show_progress

    run = ParticipantRun(
        args.dataset,
        args.out,
        args.card,
        args.trust,
        args.allow_unsigned,
        args.model,
        options=read_options(args),
        work=args.work_dir,
        n_procs=args.n_procs,
    )
    choice = Choice(args.participant_label, args.session_label, args.bids_filter_file)
    if not args.skip_bids_validation:
        validate_dataset(args.dataset)
    with show_progress("harmonize", "image") as progress:
        return harmonize_participants(run, choice, progress=progress)


def _run_group(args: argparse.Namespace) -> list[Path]:
    from prism_mri.report.group import write_group

    return write_group(
        args.out,
        participants=args.participant_label,
        sessions=args.session_label,
        overwrite=args.overwrite,
    )
