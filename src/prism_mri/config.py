"""Frozen configuration models, and TOML files that hold them.

Configuration is built once, in the command line or the public API, and passed on as plain
parameters.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prism_mri.errors import ConfigError

Modality = Literal["T1w", "T2w", "PDw", "FLAIR"]
"""Modalities that the shipped translator knows, as BIDS suffixes."""

MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)

IntensityReference = Literal["lower_quartile", "median", "upper_quartile"]

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class FrozenModel(BaseModel):
    """Base of all configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_QUANTILES: Final[dict[IntensityReference, float]] = {
    "lower_quartile": 0.25,
    "median": 0.5,
    "upper_quartile": 0.75,
}
_INTENSITY: Final[dict[Modality, tuple[IntensityReference, float]]] = {
    "T1w": ("upper_quartile", 0.6),
    "T2w": ("lower_quartile", 0.25),
    "PDw": ("lower_quartile", 0.5),
    "FLAIR": ("median", 0.4),
}


class PreprocessingContract(FrozenModel):
    """What every image goes through before a network sees it; travels in the site card."""

    version: Literal[1] = 1
    modality: Modality = "T2w"
    spacing_mm: Positive = 1.0
    """In-plane pixel size of the conform grid; the slice direction stays native."""
    shape: tuple[Annotated[int, Field(ge=32, le=1024)], Annotated[int, Field(ge=32, le=1024)]] = (
        256,
        256,
    )
    """In-plane size of the conform grid (left-right, posterior-anterior), in pixels."""
    intensity_reference: IntensityReference = "lower_quartile"
    """Statistic in the brain mask that is mapped to ``intensity_value``; see :meth:`for_modality`.

    It is the quartile that lies in white matter however much fluid a brain holds: the lower one on
    T2w and PD, where white matter is darkest, the upper one on T1w, where it is brightest, the
    median on FLAIR, where it lies between fluid and grey matter.
    """
    intensity_value: Positive = 0.25
    """What white matter comes to, so that the brightest tissue stays near 1."""
    min_brain_area_mm2: Positive = 2000.0
    """Slices with less brain than this are not trained on or scored (they are still harmonized)."""

    @classmethod
    def for_modality(cls, modality: Modality) -> "PreprocessingContract":
        """Return the contract of a modality: the common grid, its own intensity reference."""
        reference, value = _INTENSITY[modality]
        return cls(modality=modality, intensity_reference=reference, intensity_value=value)

    @property
    def quantile(self) -> float:
        """The intensity reference as a fraction of the brain's voxels, in (0, 1)."""
        return _QUANTILES[self.intensity_reference]


ModelT = TypeVar("ModelT", bound=BaseModel)


def describe_validation_error(error: ValidationError) -> str:
    """Return all problems of a pydantic error as one line."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'value'}: {item['msg']}"
        for item in error.errors()
    )


def read_config(path: Path, model: type[ModelT]) -> ModelT:
    """Read a TOML file into a configuration model.

    Args:
        path: TOML file.
        model: the pydantic model that it must fit.

    Returns:
        The validated model.

    Raises:
        ConfigError: the file is missing, no TOML, or a value does not fit; all problems in one
        line.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_validation_error(error)}") from error
