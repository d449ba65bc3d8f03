# SPDX-License-Identifier: Apache-2.0
"""ConvAP: a 1x1 convolution, then average pooling to a small grid.

Ali-bey et al., GSV-Cities: Toward Appropriate Supervised Visual Place Recognition,
Neurocomputing 2022. Written from its description; parameter names are the released ones.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ConvAP(nn.Module):
    """Feature map (B, in_channels, h, w) of any size to descriptor (B, out_channels * s1 * s2)."""

    def __init__(self, in_channels: int, *, out_channels: int = 512, grid: int = 2) -> None:
        """Build the layers.

        Args:
            in_channels: C of the feature map.
            out_channels: Width after the convolution.
            grid: Rows and columns that are pooled to, s1 = s2.
        """
        super().__init__()
        self.channel_pool = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.AAP = nn.AdaptiveAvgPool2d((grid, grid))
        self.descriptor_size = out_channels * grid * grid

    def forward(self, features: Tensor) -> Tensor:
        """Describe (B, in_channels, h, w) as (B, D) of unit norm, channel by channel."""
        pooled = self.AAP(self.channel_pool(features))
        return functional.normalize(pooled.flatten(1), p=2.0, dim=-1)
