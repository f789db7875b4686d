"""``prism-mri simulate``: simulated sites and travelling people."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import MODALITIES, Subparsers, parse_seed


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="simulate sites and travelling people as BIDS datasets with truth",
        description="Simulate volumes of several sites from the embedded template anatomy, "
        "randomly deformed, or from a folder of FreeSurfer-style label maps. Each site becomes a "
        "BIDS dataset; travelling people, scanned at every site, become another with one session "
        "a scanner. The same seed gives the same people in every modality.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    parser.add_argument(
        "--sites",
        metavar="SITE",
        nargs="+",
        default=["guys", "hh", "adni"],
        help="guys, hh, iop, adni",
    )
    parser.add_argument(
        "--subjects", metavar="N", type=int, default=10, help="scans a site (default: 10)"
    )
    parser.add_argument(
        "--travelling", metavar="N", type=int, default=4, help="travelling people (default: 4)"
    )
    parser.add_argument(
        "--unseen",
        metavar="N",
        type=int,
        default=0,
        help="random scanners that only travelling people visit",
    )
    parser.add_argument("--modality", default="T2w", choices=MODALITIES, help="default: T2w")
    parser.add_argument(
        "--lesions",
        metavar="ML",
        type=float,
        default=0.0,
        help="white-matter lesions, mean ml a person (default: none)",
    )
    parser.add_argument(
        "--atrophy",
        metavar="F",
        type=float,
        default=0.0,
        help="fraction of the cortex lost, mean over people (default: none)",
    )
    parser.add_argument(
        "--anatomies",
        metavar="DIR",
        type=Path,
        help="label maps (*.nii.gz, 1 mm); the last N of them travel",
    )
    parser.add_argument(
        "--whole-head", action="store_true", help="keep skull and scalp (label maps only)"
    )
    parser.add_argument(
        "--slice-spacing",
        metavar="MM",
        type=float,
        help="slice distance for all sites, in place of their own",
    )
    parser.add_argument("--seed", metavar="S", type=parse_seed, default=0, help="default: 0")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, and write the folder's path to stdout."""
    from prism_mri.cli.progress import show_progress
    from prism_mri.simulate.cohort import CohortPlan, simulate_cohort

    plan = CohortPlan(
        sites=tuple(args.sites),
        subjects=args.subjects,
        travelling=args.travelling,
        unseen=args.unseen,
        seed=args.seed,
        anatomies=args.anatomies,
        slice_spacing_mm=args.slice_spacing,
        whole_head=args.whole_head,
        modality=args.modality,
        lesions_ml=args.lesions,
        atrophy=args.atrophy,
    )
    with show_progress("simulate", "scan") as progress:
        simulate_cohort(plan, args.out, progress=progress)
    sys.stdout.write(f"{args.out}\n")
    return 0
