"""Simple methods that every harmonizer has to beat."""

from prism_mri.baselines.histogram import HistogramMatching
from prism_mri.baselines.quantile import PERCENTILES, QuantileMatching
from prism_mri.baselines.whitestripe import WhiteStripe
from prism_mri.baselines.zscore import ZScore

__all__ = ["PERCENTILES", "HistogramMatching", "QuantileMatching", "WhiteStripe", "ZScore"]
