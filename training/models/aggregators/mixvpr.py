# SPDX-License-Identifier: Apache-2.0
"""MixVPR: a stack of feature mixers over the whole map, then two projections.

Ali-bey et al., MixVPR: Feature Mixing for Visual Place Recognition, WACV 2023, section 3.
Written from the paper; module and parameter names are those of the released checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class FeatureMixer(nn.Module):
    """One mixer: a residual two-layer perceptron over the positions of each channel."""

    def __init__(self, positions: int, mlp_ratio: float) -> None:
        """Build the layers.

        Args:
            positions: Length of the flattened feature map, h * w.
            mlp_ratio: Hidden width as a multiple of `positions`.
        """
        super().__init__()
        hidden = int(positions * mlp_ratio)
        self.mix = nn.Sequential(
            nn.LayerNorm(positions),
            nn.Linear(positions, hidden),
            nn.ReLU(),
            nn.Linear(hidden, positions),
        )
        for layer in (self.mix[1], self.mix[3]):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Mix (B, C, positions) to the same shape."""
        return features + self.mix(features)


class MixVPR(nn.Module):
    """Feature map (B, in_channels, h, w) to descriptor (B, out_channels * out_rows).

    The size of the map is baked into the weights: a trained network takes one input size only.
    """

    def __init__(
        self,
        in_channels: int,
        in_shape: tuple[int, int],
        *,
        out_channels: int = 512,
        out_rows: int = 4,
        mix_depth: int = 4,
        mlp_ratio: float = 1.0,
        resample: bool = False,
    ) -> None:
        """Build the layers.

        Args:
            in_channels: C of the feature map.
            in_shape: (h, w) of the feature map.
            out_channels: Width after the channel projection.
            out_rows: Width after the projection of the positions.
            mix_depth: Number of mixers.
            mlp_ratio: Hidden width of a mixer as a multiple of h * w.
            resample: Bring maps of any size to `in_shape` (bilinear) instead of refusing them.
        """
        super().__init__()
        self.in_shape = in_shape
        self.resample = resample
        positions = in_shape[0] * in_shape[1]
        self.mix = nn.Sequential(*(FeatureMixer(positions, mlp_ratio) for _ in range(mix_depth)))
        self.channel_proj = nn.Linear(in_channels, out_channels)
        self.row_proj = nn.Linear(positions, out_rows)

    @property
    def descriptor_size(self) -> int:
        """Length D of the descriptor."""
        return self.channel_proj.out_features * self.row_proj.out_features

    def forward(self, features: Tensor) -> Tensor:
        """Describe a feature map.

        Args:
            features: (B, in_channels, h, w).

        Returns:
            (B, D) of unit norm; value c * out_rows + r belongs to channel c and row r.

        Raises:
            ValueError: The map is not the one that the weights were made for.
        """
        shape = tuple(map(int, features.shape[2:]))
        if shape != self.in_shape and self.resample:
            features = functional.interpolate(features, self.in_shape, mode='bilinear')
        elif shape != self.in_shape:
            raise ValueError(
                f'this MixVPR takes a {self.in_shape} feature map, not {shape}; '
                'feed pictures of the size that it was trained with, or build it with '
                'mixer_grid, which brings any map to one grid'
            )
        x = self.mix(features.flatten(2))  # (B, C, positions)
        x = self.channel_proj(x.permute(0, 2, 1))  # (B, positions, out_channels)
        x = self.row_proj(x.permute(0, 2, 1))  # (B, out_channels, out_rows)
        return functional.normalize(x.flatten(1), p=2.0, dim=-1)

    @torch.no_grad()
    def start_as_pooling(self, cells: Tensor, projection: Tensor, bias: Tensor) -> None:
        """Set the weights so that the head begins as plain pooling and grows from there.

        Each mixer starts as the identity; row r averages the map with `cells[r]`; the channels
        are projected linearly. Random weights would first have to unlearn their own scrambling
        of the positions, which costs most of a short training.

        Args:
            cells: (out_rows, h * w), each row summing to one.
            projection: (out_channels, in_channels).
            bias: (out_channels,).
        """
        for mixer in self.mix:
            nn.init.zeros_(mixer.mix[3].weight)
            nn.init.zeros_(mixer.mix[3].bias)
        self.row_proj.weight.copy_(cells)
        self.row_proj.bias.zero_()
        self.channel_proj.weight.copy_(projection)
        self.channel_proj.bias.copy_(bias)
