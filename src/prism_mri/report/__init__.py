"""Results as one self-contained HTML page; computes no scores."""

from prism_mri.report.write import write_report

__all__ = ["write_report"]
