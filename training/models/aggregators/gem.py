# SPDX-License-Identifier: Apache-2.0
"""GeM pooling: the reference that needs no training.

Radenović et al., Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GeM(nn.Module):
    """Feature map (B, C, h, w) to descriptor (B, C): the generalised mean of each channel."""

    def __init__(self, in_channels: int, *, p: float = 3.0, eps: float = 1e-6) -> None:
        """Build the layer.

        Args:
            in_channels: C of the feature map.
            p: Exponent; 1 is the mean, infinity the maximum. Learnt from this value on.
            eps: Lower clamp of the features.
        """
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps
        self.descriptor_size = in_channels

    def forward(self, features: Tensor) -> Tensor:
        """Describe (B, C, h, w) as (B, C) of unit norm."""
        pooled = features.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1.0 / self.p)
        return functional.normalize(pooled, p=2.0, dim=-1)
