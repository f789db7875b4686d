"""BIDS App: chosen people of a dataset → BIDS derivative, shared among processes and resumable."""

from prism_mri.app.choose import Choice
from prism_mri.app.participants import ParticipantRun, harmonize_participants
from prism_mri.app.validate import validate_dataset

__all__ = [
    "Choice",
    "ParticipantRun",
    "harmonize_participants",
    "validate_dataset",
]
