"""What stands in the output folder already: done, to be made, or somebody else's."""

import json
from collections.abc import Mapping
from pathlib import Path

import prism_mri
from prism_mri.bids import ImageRef, read_sidecar
from prism_mri.card import SiteCard
from prism_mri.errors import BidsError, InputError
from prism_mri.files import explain_os_error
from prism_mri.harmonize import (
    HarmonizeOptions,
    Networks,
    describe_settings,
    name_output,
    sidecar_path,
)

_ADVICE = "pass --overwrite or choose another output folder"


def is_done(image: ImageRef, target: Path, networks: Networks, options: HarmonizeOptions) -> bool:
    """Tell whether an image's result stands, made from the same input in the same way.

    A sidecar without its volume is what a killed run leaves, and is made anew.

    Args:
        image: the source.
        target: volume that its result is.
        networks: what the image would go through.
        options: how it would be harmonized; with ``overwrite`` a result that was made otherwise is
            to be replaced, not refused.

    Raises:
        InputError: a result stands that was made otherwise, or without a sidecar that says how.
    """
    if not sidecar_path(target).exists():
        if target.exists() and not options.overwrite:
            raise InputError(f"{target} stands without its sidecar: {_ADVICE}")
        return False
    other = _find_differences(read_sidecar(target), describe_settings(image, networks, options))
    if other and not options.overwrite:
        raise InputError(f"{target} was made with another {', '.join(other)}: {_ADVICE}")
    return not other and target.exists()


def check_description(out: Path, card: SiteCard, *, overwrite: bool) -> None:
    """Refuse an output folder that is another dataset: raw, another program's or another card's.

    Raises:
        BidsError: its ``dataset_description.json`` says so, or cannot be read.
    """
    path = out / "dataset_description.json"
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise BidsError(f"cannot read {path}: {explain_os_error(problem)}") from problem
    except ValueError as problem:
        raise BidsError(f"{path} is not valid JSON: {problem}; {_ADVICE}") from problem
    if not _is_ours(content):
        raise BidsError(f"{path} says that {out} is no output of prism-mri: choose another folder")
    if content.get("Name") != name_output(card) and not overwrite:
        raise BidsError(
            f"{path} says {content.get('Name')!r}, the card is of {card.manifest.site}: {_ADVICE}"
        )


def remove_parts(path: Path) -> None:
    """Remove the temporary files that killed writers of a file left; call it under its claim."""
    if path.parent.is_dir():
        for part in path.parent.iterdir():
            if part.name.startswith(f".{path.name}.") and part.name.endswith(".part"):
                part.unlink(missing_ok=True)


def _is_ours(content: object) -> bool:
    if not isinstance(content, dict) or content.get("DatasetType") != "derivative":
        return False
    makers = content.get("GeneratedBy")
    return isinstance(makers, list) and any(
        isinstance(maker, dict) and maker.get("Name") == "prism-mri" for maker in makers
    )


def _find_differences(sidecar: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """Return the settings, and Version, in which a result differs from what would be made."""
    prism, makers = sidecar.get("Prism"), sidecar.get("GeneratedBy")
    settings = prism if isinstance(prism, dict) else {}
    maker = {"Name": "prism-mri", "Version": prism_mri.__version__}
    other = [key for key, value in wanted.items() if settings.get(key) != value]
    return other if makers == [maker] else [*other, "Version"]
