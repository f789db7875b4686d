"""Scores of harmonization on travelling people; see `prism_mri.evaluate.travelling`."""
