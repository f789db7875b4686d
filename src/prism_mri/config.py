"""Frozen configuration models, and TOML files that hold them.

Configuration is built once, in the command line or the public API, and passed on as plain
parameters.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prism_mri.errors import ConfigError

Modality = Literal["T2w"]
"""Modalities that the shipped translator knows, as BIDS suffixes."""

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class FrozenModel(BaseModel):
    """Base of all configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    intensity_reference: Literal["lower_quartile"] = "lower_quartile"
    """Statistic in the brain mask that is mapped to ``intensity_value``.

    On T2w it lies in white matter however much fluid a brain holds, while the median wanders
    between white and grey matter.
    """
    intensity_value: Positive = 0.25
    min_brain_area_mm2: Positive = 2000.0
    """Slices with less brain than this are not trained on or scored (they are still harmonized)."""


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
