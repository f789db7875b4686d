"""Array type aliases; beartype checks them while the tests run.

Volumes are ``(I, J, K)``, RAS+ inside the package; slices are ``(B, C, H, W)``. Affines are named
``target_from_source``.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8

VolumeArray = Float32[np.ndarray, "I J K"]
MaskArray = Bool[np.ndarray, "I J K"]
TissueLabels = UInt8[np.ndarray, "I J K"]
"""Tissues: 0 none, 1 CSF, 2 GM, 3 WM."""
Affine = Float64[np.ndarray, "4 4"]

SliceStack = Float32[np.ndarray, "K H W"]
"""Axial slices of one volume, inferior to superior."""
MaskStack = Bool[np.ndarray, "K H W"]
LabelStack = UInt8[np.ndarray, "K H W"]

ImageBatch = Float[torch.Tensor, "B 1 H W"]
MaskBatch = Float[torch.Tensor, "B 1 H W"]
AnatomyBatch = Float[torch.Tensor, "B A H W"]
StyleBatch = Float[torch.Tensor, "B Z"]
SharedStyle = Float[torch.Tensor, "1 Z"]
"""One style for all slices of a batch."""
