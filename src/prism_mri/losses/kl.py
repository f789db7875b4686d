"""Kullback–Leibler divergence of the style posterior from the standard normal."""

import torch

from prism_mri.networks.style_encoder import GaussianStyle


def compute_kl(style: GaussianStyle) -> torch.Tensor:
    """Return ``KL(N(μ, σ²) ‖ N(0, 1))`` summed over dimensions, mean over the batch, in nats.

    Source:
        Kingma & Welling 2014, appendix B; Galada et al. 2024, section 2.2.
    """
    per_dimension = 0.5 * (style.mean.square() + style.log_variance.exp() - 1 - style.log_variance)
    return per_dimension.sum(dim=1).mean()
