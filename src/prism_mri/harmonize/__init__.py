"""Site card, anatomy encoder and volume → harmonized volume."""

from prism_mri.harmonize.clean import SourceCleaning, clean_source
from prism_mri.harmonize.files import (
    check_out,
    describe_output,
    find_target,
    harmonize_inputs,
    name_output,
)
from prism_mri.harmonize.image import (
    HarmonizeOptions,
    Networks,
    describe_settings,
    gather_networks,
    harmonize_image,
    name_file,
    sidecar_path,
)
from prism_mri.harmonize.volume import Harmonized, StyleMode, harmonize_volume

__all__ = [
    "HarmonizeOptions",
    "Harmonized",
    "Networks",
    "SourceCleaning",
    "StyleMode",
    "check_out",
    "clean_source",
    "describe_output",
    "describe_settings",
    "find_target",
    "gather_networks",
    "harmonize_image",
    "harmonize_inputs",
    "harmonize_volume",
    "name_file",
    "name_output",
    "sidecar_path",
]
