# SPDX-License-Identifier: Apache-2.0
"""The whole network, from the uint8 picture to the descriptor; this graph is what is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config import TrainConfig
from training.models.backbones import Backbone, build_backbone
from training.models.gem import GeM
from training.models.mixvpr import MixVPR


class Network(nn.Module):
    """Normalisation, backbone and aggregator in one graph.

    `state_dict()` has the keys `backbone.*` and `aggregator.*` only, as released checkpoints do.
    """

    def __init__(self, backbone: Backbone, aggregator: nn.Module) -> None:
        """Join the parts."""
        super().__init__()
        self.backbone = backbone
        self.aggregator = aggregator
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(backbone, name)).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    @property
    def descriptor_size(self) -> int:
        """Length D of the descriptor."""
        return self.aggregator.descriptor_size

    def features(self, rgb: Tensor) -> Tensor:
        """Compute the feature map (B, C, h, w), float32, of uint8 RGB pictures (B, H, W, 3)."""
        # Permuted (B, H, W, 3) is already in channels-last order, the fast one on a CPU.
        normalised = (rgb.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.backbone(normalised).float()

    def forward(self, rgb: Tensor) -> Tensor:
        """Describe pictures.

        Args:
            rgb: uint8 RGB (B, H, W, 3) of the size that the network was built for.

        Returns:
            float32 (B, D) of unit norm.
        """
        features = self.features(rgb)
        # The mixers amplify rounding on flat maps: they stay in float32 under autocast.
        with torch.autocast(rgb.device.type, enabled=False):
            return self.aggregator(features)


def build_network(config: TrainConfig) -> Network:
    """Build the network that the settings describe, with random weights.

    Raises:
        ValueError: Unknown names, or a size that the backbone's stride does not divide.
    """
    backbone = build_backbone(config.backbone)
    if config.height % backbone.stride or config.width % backbone.stride:
        raise ValueError(
            f'{config.backbone} needs an input size that {backbone.stride} divides, '
            f'not {config.height}x{config.width}'
        )
    if config.aggregator == 'gem':
        return Network(backbone, GeM(backbone.channels))
    if config.aggregator != 'mixvpr':
        raise ValueError(f"unknown aggregator {config.aggregator!r}; there are ['gem', 'mixvpr']")
    head = MixVPR(
        backbone.channels,
        (config.height // backbone.stride, config.width // backbone.stride),
        out_channels=config.out_channels,
        out_rows=config.out_rows,
        mix_depth=config.mix_depth,
        mlp_ratio=config.mlp_ratio,
    )
    return Network(backbone, head)
