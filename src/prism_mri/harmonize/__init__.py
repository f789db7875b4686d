"""Site card, anatomy encoder and volume → harmonized volume."""

from prism_mri.harmonize.clean import SourceCleaning, clean_source
from prism_mri.harmonize.files import HarmonizeOptions, harmonize_inputs
from prism_mri.harmonize.volume import Harmonized, StyleMode, harmonize_volume

__all__ = [
    "HarmonizeOptions",
    "Harmonized",
    "SourceCleaning",
    "StyleMode",
    "clean_source",
    "harmonize_inputs",
    "harmonize_volume",
]
