"""The BIDS filter file: which entities the images of a modality must have, in fMRIPrep's form."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prism_mri.bids import ImageRef
from prism_mri.config import MODALITIES
from prism_mri.errors import BidsError
from prism_mri.files import explain_os_error

ANY: Final = "*"
"""Stands for an entity that must be there, whatever its label."""

EntityFilter = Mapping[str, tuple[str | None, ...]]
"""Entity key of a file name → labels of which it must have one; None where it must be absent."""

NO_FILTER: Final[EntityFilter] = MappingProxyType({})

_ENTITIES: Final = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "flip": "flip",
    "inversion": "inv",
    "mt": "mt",
    "part": "part",
    "chunk": "chunk",
    "space": "space",
}
_INDICES: Final = {"run", "echo", "flip", "inv", "chunk"}
_FIXED: Final = {"datatype": "anat", "extension": ".nii.gz"}
"""What fMRIPrep's examples name beside entities; every image has it, so it may say nothing else."""


def read_filter(path: Path, modality: str) -> EntityFilter:
    """Return what a BIDS filter file asks of the images of one modality.

    Args:
        path: JSON: ``{"T2w": {"session": "01", "acquisition": null, "run": [1, 2]}}``. The
            modality may be written in small letters; null means that the entity must be absent,
            "*" that it must be there.
        modality: BIDS suffix of the images.

    Raises:
        BidsError: no such file, not of this form, or a key that is not known.
    """
    queries = {_find_modality(key, path): query for key, query in _read_object(path).items()}
    filters = {named: _read_query(named, query, path) for named, query in queries.items()}
    return filters.get(modality, NO_FILTER)


def is_chosen(image: ImageRef, wanted: EntityFilter) -> bool:
    """Tell whether an image's name has the entities that a filter asks for."""
    return all(_matches(image.entities.get(key), key, labels) for key, labels in wanted.items())


def _read_object(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise BidsError(
            f"cannot read --bids-filter-file {path}: {explain_os_error(problem)}"
        ) from problem
    except ValueError as problem:
        raise BidsError(f"--bids-filter-file {path} is not valid JSON: {problem}") from problem
    if not isinstance(content, dict):
        raise BidsError(f'--bids-filter-file {path} is no object: write {{"T2w": {{…}}}}')
    return content


def _find_modality(key: str, path: Path) -> str:
    for modality in MODALITIES:
        if key.lower() == modality.lower():
            return modality
    raise BidsError(
        f"--bids-filter-file {path} has unknown key {key!r}: use {', '.join(MODALITIES)}"
    )


def _read_query(modality: str, query: object, path: Path) -> EntityFilter:
    where = f"--bids-filter-file {path}, {modality}"
    if not isinstance(query, dict):
        raise BidsError(f'{where}: {query!r} is no object: write {{"session": "01"}}')
    fixed = _FIXED | {"suffix": modality}
    wanted: dict[str, tuple[str | None, ...]] = {}
    for key, value in query.items():
        if key in fixed:
            if value != fixed[key]:
                raise BidsError(f"{where}: {key} {value!r} is not harmonized, only {fixed[key]!r}")
            continue
        entity = _ENTITIES.get(key, key if key in _ENTITIES.values() else None)
        if entity is None:
            raise BidsError(f"{where}: unknown key {key!r}: use {', '.join(_ENTITIES)}")
        labels: Sequence[object] = value if isinstance(value, list) else [value]
        wanted[entity] = tuple(_read_label(label, f"{where}, {key}") for label in labels)
    return wanted


def _read_label(value: object, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BidsError(f"{where}: {value!r} is no label: write a text, a number, null, or a list")


def _matches(label: str | None, key: str, wanted: tuple[str | None, ...]) -> bool:
    if label is None:
        return None in wanted
    return any(
        one == ANY or (one is not None and _plain(one, key) == _plain(label, key)) for one in wanted
    )


def _plain(label: str, key: str) -> str:
    """Return a label, an index without leading zeros: run 1 is also run 01."""
    return label.lstrip("0") or "0" if key in _INDICES and label.isdecimal() else label
