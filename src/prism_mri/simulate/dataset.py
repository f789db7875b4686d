"""Simulated scans on disk: BIDS datasets with their truth under ``derivatives/truth``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from prism_mri.bids import write_dataset_description, write_json
from prism_mri.config import Modality
from prism_mri.files import write_whole
from prism_mri.simulate.protocols import Protocol
from prism_mri.simulate.scanner import Grid, TissueMaps
from prism_mri.simulate.sequences import InversionRecovery, PreparedGradientEcho
from prism_mri.volume import Volume, write_volume

_COLUMNS: Final = {
    "lesion_ml": {
        "Description": "Volume of white-matter lesions in the person's anatomy; sessions that are "
        "deformed copies of it have a little more or less.",
        "Units": "mL",
    },
    "atrophy": {
        "Description": "Fraction of the person's cortex that was turned into fluid; the ventricles "
        "grew by five times that fraction of their volume.",
        "Units": "1",
    },
}


@dataclass(frozen=True)
class ScanPlace:
    """Where a scan is written.

    Attributes:
        dataset: root of the BIDS dataset.
        prefix: of its file name, ``sub-01_ses-hh``.
        whole_head: keep what lies outside the brain.
        lesions: write the lesions' truth too.
    """

    dataset: Path
    prefix: str
    whole_head: bool
    lesions: bool

    @property
    def subject(self) -> str:
        """``sub-01``."""
        return self.prefix.split("_", maxsplit=1)[0]

    @property
    def truth(self) -> Path:
        """Root of the truth's dataset."""
        return _truth_of(self.dataset)

    def image_path(self, root: Path, modality: Modality, *, more: str = "") -> Path:
        """Return the path of an image in ``root``; ``more`` are further entities."""
        folders = [part for part in self.prefix.split("_") if part.startswith(("sub-", "ses-"))]
        return root.joinpath(*folders, "anat", f"{self.prefix}{more}_{modality}.nii.gz")


def describe_dataset(dataset: Path, name: str) -> None:
    """Write the descriptions of a dataset and of its truth."""
    write_dataset_description(dataset, name, derivative=False)
    truth = _truth_of(dataset)
    write_dataset_description(truth, f"{name}: truth", derivative=True)
    table = "index\tname\n0\tbackground\n1\tCSF\n2\tGM\n3\tWM\n"
    write_whole(truth / "dseg.tsv", table.encode())


def write_participants(dataset: Path, people: Mapping[str, Mapping[str, float]]) -> None:
    """Write ``participants.tsv``, and ``participants.json`` where there is more than the name.

    Args:
        dataset: root of the BIDS dataset.
        people: ``sub-…`` to the columns ``lesion_ml`` and ``atrophy``, or those that were asked
            for, the same for all.
    """
    columns = list(next(iter(people.values()), {}))
    rows = [["participant_id", *columns]]
    rows += [
        [person, *(f"{values[column]:.4f}" for column in columns)]
        for person, values in sorted(people.items())
    ]
    text = "".join("\t".join(row) + "\n" for row in rows)
    write_whole(dataset / "participants.tsv", text.encode())
    if columns:
        described = {column: _COLUMNS[column] for column in columns}
        write_json(dataset / "participants.json", described)


def write_scan(
    place: ScanPlace, image: torch.Tensor, truth: TissueMaps, grid: Grid, protocol: Protocol
) -> None:
    """Write an image, its sidecar, and its brain mask, segmentation and lesions."""
    path = place.image_path(place.dataset, protocol.modality)
    _write(path, _strip(place, image, truth), grid)
    sidecar = _describe_scan(protocol) | {"SkullStripped": not place.whole_head}
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)
    maps = {"desc-brain_mask": truth.brain, "dseg": truth.segmentation}
    if place.lesions:
        maps["label-lesion_mask"] = truth.lesion
    anat = place.image_path(place.truth, protocol.modality).parent
    for name, data in maps.items():
        _write(anat / f"{place.prefix}_{name}.nii.gz", data, grid, dtype=np.uint8)


def write_target_truth(
    place: ScanPlace,
    images: Mapping[str, torch.Tensor],
    truth: TissueMaps,
    grid: Grid,
    target: Protocol,
) -> None:
    """Write how a target's scanner shows this head on this grid.

    Args:
        place: where the scan itself stands.
        images: "acquired" and "clean" to ``(I, J, K)``.
        truth: tissues on the grid.
        grid: the source's.
        target: the other scanner.
    """
    for description, image in images.items():
        more = f"_acq-{target.name}_desc-{description}"
        path = place.image_path(place.truth, target.modality, more=more)
        _write(path, _strip(place, image, truth), grid)


def _describe_scan(protocol: Protocol) -> dict[str, object]:
    sequence = protocol.sequence
    sidecar: dict[str, object] = {
        "Modality": "MR",
        "MagneticFieldStrength": protocol.field_tesla,
        "RepetitionTime": sequence.repetition_ms / 1000,
        "EchoTime": sequence.echo_ms / 1000,
        "SliceThickness": protocol.slice_thickness_mm,
        "PrismProtocol": f"{protocol.name} version {protocol.version}",
    }
    if isinstance(sequence, InversionRecovery | PreparedGradientEcho):
        sidecar["InversionTime"] = sequence.inversion_ms / 1000
    if isinstance(sequence, PreparedGradientEcho):
        sidecar["FlipAngle"] = sequence.flip_degrees
    return sidecar


def _truth_of(dataset: Path) -> Path:
    return dataset / "derivatives" / "truth"


def _strip(place: ScanPlace, image: torch.Tensor, truth: TissueMaps) -> torch.Tensor:
    return image if place.whole_head else torch.where(truth.brain, image, 0)


def _write(
    path: Path, data: torch.Tensor, grid: Grid, *, dtype: type[np.generic] = np.float32
) -> None:
    array = data.numpy().astype(np.float32)
    write_volume(path, array, Volume(array, grid.affine), dtype=dtype)
