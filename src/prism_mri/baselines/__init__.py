"""Simple methods that every harmonizer has to beat."""

from prism_mri.baselines.quantile import PERCENTILES, QuantileMatching

__all__ = ["PERCENTILES", "QuantileMatching"]
