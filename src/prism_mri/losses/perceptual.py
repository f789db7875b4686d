"""Perceptual loss: distance of two images in the features of a frozen VGG16."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from prism_mri.assets import read_vgg16_layers
from prism_mri.types import ImageBatch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2")
POOLED_BEFORE = frozenset({"conv2_1", "conv3_1"})


class PerceptualLoss(nn.Module):
    """Mean absolute difference of VGG16 features, averaged over the chosen layers.

    The weights are frozen buffers outside the state dict, so no checkpoint carries them.

    Source: Galada et al. 2024, section 2 (VGG16, L1 in feature space; its code takes the network
    up to conv3_2). A feature is the convolution's own output, bias added, *before* the ReLU that
    follows it, so responses below zero count too. The weights are stored as float16, which changes
    the mean size of features by 0.01 %.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, layers: Sequence[str] = ("conv3_2",), *, input_range: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        """Read the shipped layers.

        Args:
            layers: names out of ``conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2``.
            input_range: intensities that stand for black and white; values beyond are not clipped.

        Raises:
            ValueError: no or an unknown layer, or an empty range.
        """
        super().__init__()
        unknown = sorted(set(layers) - set(LAYERS))
        if unknown or not layers:
            raise ValueError(f"layers {list(layers)}: take one or more of {', '.join(LAYERS)}")
        low, high = input_range
        if not low < high:
            raise ValueError(f"input_range {input_range}: the first value must be below the second")
        self.layers = frozenset(layers)
        self.depth = max(LAYERS.index(name) for name in layers) + 1
        scale, shift = high - low, low
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("mean", (mean * scale + shift).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", (std * scale).view(1, 3, 1, 1), persistent=False)
        for name, tensor in read_vgg16_layers().items():
            # Channels last takes a third less time under bf16 on a CPU.
            layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            stored = tensor.contiguous(memory_format=layout)
            self.register_buffer(name.replace(".", "_"), stored, persistent=False)

    def features(self, images: ImageBatch) -> dict[str, Float[Tensor, "B _ _ _"]]:
        """Compute the features of the chosen layers, before their ReLU.

        Args:
            images: (B, 1, H, W) in ``input_range``; H and W at least 4.

        Returns:
            Layer name to features; conv2 layers at half, conv3 layers at a quarter of the size,
            rounded down.
        """
        current = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        chosen = {}
        for name in LAYERS[: self.depth]:
            if name in POOLED_BEFORE:
                current = functional.max_pool2d(current, 2)
            weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
            response = functional.conv2d(current, weight, bias, padding=1)
            if name in self.layers:
                chosen[name] = response
            current = functional.relu(response)
        return chosen

    def forward(self, prediction: ImageBatch, target: ImageBatch) -> Float[Tensor, ""]:
        """Compute the loss; its gradient flows to both images where they ask for one."""
        predicted, wanted = self.features(prediction), self.features(target)
        distances = [functional.l1_loss(predicted[name], wanted[name]) for name in predicted]
        return torch.stack(distances).mean()
