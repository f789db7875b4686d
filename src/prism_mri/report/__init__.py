"""Results as one self-contained HTML page; computes no scores."""

from prism_mri.report.page import write_report

__all__ = ["write_report"]
