"""``prism-mri prepare``: turn a site's images into a prepared dataset."""

import argparse
import sys
from pathlib import Path

from prism_mri.cli.parsing import Subparsers, parse_seed


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "prepare",
        help="turn a site's images into a prepared dataset to train on",
        description="Bring NIfTI images of any orientation, voxel size and shape to axial slices "
        "of known spacing and intensity, and hold out some people for validation. Images must be "
        "stripped, or come with brain masks.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        type=Path,
        nargs="+",
        help="NIfTI files, folders of them, or a BIDS dataset",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="dataset folder to make")
    parser.add_argument(
        "--site", metavar="NAME", required=True, help="name of the site, lower case"
    )
    parser.add_argument("--modality", default="T2w", choices=["T2w"], help="default: T2w")
    parser.add_argument(
        "--brain-mask",
        metavar="FILE|PATTERN",
        help="brain mask of every image: a file, or a pattern with {dir} (the image's folder), "
        "{stem} (its name without .nii.gz), {sub} and {ses}; not needed for stripped images",
    )
    parser.add_argument(
        "--validation-fraction",
        metavar="F",
        type=float,
        default=0.1,
        help="share of people held out, at least one (default: 0.1)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=parse_seed, default=0, help="draws who is held out (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a prepared dataset")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare the site and write the dataset's path to stdout."""
    from prism_mri.cli.progress import show_progress
    from prism_mri.config import PreprocessingContract
    from prism_mri.preprocessing.prepare import prepare_site

    with show_progress("prepare", "image") as progress:
        prepare_site(
            args.inputs,
            args.out,
            site=args.site,
            contract=PreprocessingContract(modality=args.modality),
            brain_mask=args.brain_mask,
            validation_fraction=args.validation_fraction,
            seed=args.seed,
            overwrite=args.overwrite,
            progress=progress,
        )
    sys.stdout.write(f"{args.out}\n")
    return 0
