"""What recipes train on: a split's slices in the box of its brains, and windows cut from them."""

from dataclasses import dataclass

import numpy as np
import torch

from prism_mri.data.prepared import PreparedImage
from prism_mri.preprocessing.conform import brain_box


@dataclass(frozen=True)
class Window:
    """A rectangle of slices, mirrored left to right or not."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    def cut(self, slices: torch.Tensor) -> torch.Tensor:
        """Return the window of slices ``(..., H, W)`` as float32; axis H runs left to right."""
        bottom, right = self.top + self.height, self.left + self.width
        window = slices[..., self.top : bottom, self.left : right].float()
        return window.flip(-2) if self.mirrored else window


def draw_window(shape: tuple[int, int], size: int | None, generator: torch.Generator) -> Window:
    """Draw a window, anywhere with equal chance, mirrored every other time.

    Args:
        shape: height and width of the slices.
        size: side in pixels, cut down to what the slices have; None for whole slices.
        generator: source of randomness.
    """
    height, width = (side if size is None else min(size, side) for side in shape)
    top = int(torch.randint(shape[0] - height + 1, (1,), generator=generator))
    left = int(torch.randint(shape[1] - width + 1, (1,), generator=generator))
    mirrored = bool(torch.rand(1, generator=generator) < 0.5)
    return Window(top, left, height, width, mirrored)


def load_slices(
    images: tuple[PreparedImage, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the slices of a split, cut to the box that holds every brain.

    Returns:
        Images and masks, float32 ``(N, 1, H, W)`` each.
    """
    loaded = [image.load() for image in images]
    slices = np.concatenate([stack for stack, _ in loaded])
    masks = np.concatenate([mask for _, mask in loaded])
    rows, columns = brain_box(masks)
    pixels = torch.from_numpy(slices[:, rows, columns])[:, None].to(device)
    inside = torch.from_numpy(masks[:, rows, columns])[:, None].to(device).float()
    return pixels, inside
