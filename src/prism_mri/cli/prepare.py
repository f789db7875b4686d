"""``prism-mri prepare``: turn a site's images into a prepared dataset, or into PNG slices."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prism_mri.cli.parsing import MODALITIES, Subparsers, add_extraction_option, parse_seed
from prism_mri.errors import ConfigError

if TYPE_CHECKING:
    from prism_mri.layouts import Layout


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "prepare",
        help="turn a site's images into a prepared dataset to train on",
        description="Bring images of any orientation, voxel size and shape to axial slices of "
        "known spacing and intensity, and hold out some people for validation. Heads without "
        "brain masks are stripped as --brain-extraction says. With --png, write the middle axial "
        "slice of every image as 8-bit grey PNG of 256 x 256 pixels of 1 mm instead, with gamma "
        "copies and brain masks, people split into train and test; such folders "
        "can be prepared in turn.",
        epilog="For research, not for diagnosis.",
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        type=Path,
        nargs="+",
        help="NIfTI files, folders of them, or a BIDS dataset; or one folder of IXI, of ADNI or of "
        "PNG slices",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="dataset folder to make")
    parser.add_argument(
        "--site", metavar="NAME", required=True, help="name of the site, lower case"
    )
    parser.add_argument("--modality", default="T2w", choices=MODALITIES, help="default: T2w")
    parser.add_argument(
        "--png", action="store_true", help="write PNG slices instead of a prepared dataset"
    )
    _add_input_options(parser)
    parser.add_argument(
        "--validation-fraction",
        metavar="F",
        type=float,
        default=0.1,
        help="share of people held out, at least one; with --png the share in test (default: 0.1)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=parse_seed, default=0, help="draws who is held out (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset of this kind")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare the site and write the dataset's path to stdout."""
    from prism_mri.layouts import recognize_layout
    from prism_mri.preprocessing.png_layout import is_png_layout

    reads_png = args.layout == "png" or (
        args.layout == "auto" and any(is_png_layout(path) for path in args.inputs)
    )
    _check_options(args, reads_png=reads_png)
    if reads_png:
        _run_from_png(args)
    else:
        layout = recognize_layout(args.inputs) if args.layout == "auto" else args.layout
        # The site of IXI chooses files, so it may be written as their names have it.
        site = args.site.lower() if layout == "ixi" else args.site
        (_run_to_png if args.png else _run_nifti)(args, layout, site)
    sys.stdout.write(f"{args.out}\n")
    return 0


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        choices=["auto", "bids", "files", "ixi", "adni", "png"],
        default="auto",
        help="how INPUT lies. files: NIfTI of any names. bids: datasets, BIDS names only. ixi: one "
        "folder of IXI012-HH-1211-T2.nii.gz and the like, of which --site (guys, hh, iop) are "
        "taken. adni: the folder that the LONI archive unpacks, of which every person's earliest "
        "scan is taken. png: slices as --png writes them, or "
        "{train,test}/SUBJECT/*_stripped.png, front of the head up, where what is not black is "
        "brain. auto (default): ixi, adni and png where the names say so, else files",
    )
    parser.add_argument(
        "--pixel-mm",
        metavar="MM",
        type=float,
        help="pixel size of PNG slices that do not state it (default: 1)",
    )
    parser.add_argument(
        "--brain-mask",
        metavar="FILE|PATTERN",
        help="brain mask of every image: a file, or a pattern with {dir} (the image's folder), "
        "{stem} (its name without .nii.gz), {sub} and {ses}; not needed for stripped images",
    )
    add_extraction_option(parser)
    parser.add_argument(
        "--labels",
        metavar="PATTERN",
        help="tissue labels on every image's grid, 1 CSF, 2 GM, 3 WM, named as --brain-mask is; "
        "only 'evaluate paper' looks at them",
    )


def _check_options(args: argparse.Namespace, *, reads_png: bool) -> None:
    problems = []
    if reads_png and args.png:
        problems.append("--png writes slices of NIfTI images, but INPUT holds PNG slices already")
    if reads_png and args.brain_mask is not None:
        problems.append("--brain-mask is for NIfTI images, but INPUT holds PNG slices")
    if args.labels is not None and (reads_png or args.png):
        problems.append("--labels are for NIfTI images, prepared as volumes")
    if reads_png and len(args.inputs) > 1:
        problems.append(f"one folder of PNG slices at a time, got {len(args.inputs)} inputs")
    if not reads_png and args.pixel_mm is not None:
        problems.append("--pixel-mm is for PNG slices; NIfTI images state their voxel size")
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: correct the options")


def _run_nifti(args: argparse.Namespace, layout: "Layout", site: str) -> None:
    from prism_mri.cli.progress import show_progress
    from prism_mri.config import PreprocessingContract
    from prism_mri.preprocessing.prepare import prepare_site

    with show_progress("prepare", "image") as progress:
        prepare_site(
            args.inputs,
            args.out,
            site=site,
            contract=PreprocessingContract.for_modality(args.modality),
            layout=layout,
            brain_mask=args.brain_mask,
            extraction=args.brain_extraction,
            labels=args.labels,
            validation_fraction=args.validation_fraction,
            seed=args.seed,
            overwrite=args.overwrite,
            progress=progress,
        )


def _run_to_png(args: argparse.Namespace, layout: "Layout", site: str) -> None:
    from prism_mri.cli.progress import show_progress
    from prism_mri.config import PreprocessingContract
    from prism_mri.preprocessing.png_form import write_png_site

    with show_progress("prepare", "image") as progress:
        write_png_site(
            args.inputs,
            args.out,
            site=site,
            contract=PreprocessingContract.for_modality(args.modality),
            layout=layout,
            brain_mask=args.brain_mask,
            extraction=args.brain_extraction,
            test_fraction=args.validation_fraction,
            seed=args.seed,
            overwrite=args.overwrite,
            progress=progress,
        )


def _run_from_png(args: argparse.Namespace) -> None:
    from prism_mri.cli.progress import show_progress
    from prism_mri.config import PreprocessingContract
    from prism_mri.preprocessing.prepare_png import prepare_png_site

    with show_progress("prepare", "image") as progress:
        prepare_png_site(
            args.inputs[0],
            args.out,
            site=args.site,
            contract=PreprocessingContract.for_modality(args.modality),
            pixel_mm=args.pixel_mm,
            validation_fraction=args.validation_fraction,
            seed=args.seed,
            overwrite=args.overwrite,
            progress=progress,
        )
