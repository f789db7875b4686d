"""Harmonized slices and finished tables on disk, so that a killed evaluation goes on."""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from prism_mri.errors import InputError
from prism_mri.evaluate.paper.images import SiteImage, Sites
from prism_mri.evaluate.paper.methods import HarmonizationMethod, NotHarmonized
from prism_mri.files import write_whole
from prism_mri.types import SliceStack

WORK_NAME = "work"
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, eq=False)
class Workspace:
    """A folder that keeps what was computed, by what it was computed from.

    Attributes:
        folder: its root.
        data: digest of the sites' manifests and of what is chosen of them.
    """

    folder: Path
    data: str

    def find_slices(self, method: HarmonizationMethod, image: SiteImage) -> Path:
        """Return where an image's chosen slices lie after a method."""
        key = digest([self.data, method.name, method.version])
        return self.folder / f"{method.name}-{key}" / f"{image.key}.npy"

    def read_slices(self, method: HarmonizationMethod, image: SiteImage) -> SliceStack:
        """Return the chosen slices (N, H, W) of an image after a method that was applied to it."""
        if isinstance(method, NotHarmonized):
            return image.load()[0]
        slices: SliceStack = self.read_array(self.find_slices(method, image))
        return slices

    def read_array(self, path: Path) -> np.ndarray:
        """Read an array that `write_array` kept."""
        try:
            with io.BytesIO(path.read_bytes()) as stream:
                array: np.ndarray = np.load(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError) as problem:
            raise InputError(
                f"{path} is damaged or gone ({problem}): delete {path.parent} and run again"
            ) from problem
        return array

    def write_array(self, path: Path, array: np.ndarray) -> None:
        """Keep an array, whole or not at all."""
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        write_whole(path, stream.getvalue(), overwrite=True)

    def remember(
        self,
        name: str,
        depends_on: object,
        kind: Any,
        compute: Callable[[], ResultT],
    ) -> ResultT:
        """Return a result that was computed before from the same, or compute and keep it.

        Args:
            name: of the result.
            depends_on: JSON-able; with the data, everything that fixes the result.
            kind: type of the result, which pydantic can read back.
            compute: computes it.
        """
        adapter: TypeAdapter[ResultT] = TypeAdapter(kind)
        path = self.folder / "tables" / f"{name}-{digest([self.data, depends_on])}.json"
        if path.exists():
            with contextlib.suppress(ValidationError):  # damaged: computed again
                return adapter.validate_json(path.read_bytes())
        result = compute()
        write_whole(path, adapter.dump_json(result), overwrite=True)
        return result


def apply_methods(
    sites: Sites,
    methods: Iterable[HarmonizationMethod],
    retrained: Iterable[str],
    workspace: Workspace,
    progress: Callable[[int, int], None],
) -> None:
    """Apply every method to the test images, and those in ``retrained`` to the training images too.

    Args:
        sites: all images.
        methods: in the order of the tables; each is fitted to the target's training images first.
        retrained: names of methods.
        workspace: where results lie; what lies there already is not computed again.
        progress: called with (images done, images in all).
    """
    wanted = set(retrained)
    jobs = [
        (method, image)
        for method in methods
        if not isinstance(method, NotHarmonized)
        for part in (("train", "test") if method.name in wanted else ("test",))
        for image in sites.walk(part)
        if not workspace.find_slices(method, image).exists()
    ]
    fitted: set[str] = set()
    for done, (method, image) in enumerate(jobs, start=1):
        if method.name not in fitted:
            method.fit(sites.read_target)
            fitted.add(method.name)
        slices, mask = image.load_all()
        changed = method.transform(slices, mask, image.spacing_mm)
        workspace.write_array(workspace.find_slices(method, image), image.choose(changed))
        progress(done, len(jobs))


def digest(content: object) -> str:
    """Return a short digest of JSON-able content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
