# SPDX-License-Identifier: Apache-2.0
"""The whole network, from the uint8 picture to the descriptor; this graph is what is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import TrainConfig
from training.models.aggregators import ClusVPR, ConvAP, GeM, MixVPR, NetVLAD
from training.models.backbones import Backbone, build_backbone


class Network(nn.Module):
    """Normalisation, backbone, aggregator and an optional projection in one graph.

    `state_dict()` has the keys `backbone.*`, `aggregator.*` and `projection.*` only, the first two
    as released checkpoints do.
    """

    def __init__(
        self,
        backbone: Backbone,
        aggregator: nn.Module,
        projection: nn.Linear | None = None,
        *,
        input_size: tuple[int, int],
    ) -> None:
        """Join the parts.

        Args:
            backbone: Picture to feature map.
            aggregator: Feature map to descriptor, with a `descriptor_size`.
            projection: Of the descriptor to a smaller one, see `training.whitening`.
            input_size: (height, width) of the pictures.
        """
        super().__init__()
        self.backbone = backbone
        self.aggregator = aggregator
        self.projection = projection
        self.input_size = input_size
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(backbone, name)).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    @property
    def descriptor_size(self) -> int:
        """Length D of the descriptor."""
        if self.projection is not None:
            return self.projection.out_features
        return self.aggregator.descriptor_size

    def fix_input_size(self) -> None:
        """Prepare for export: work that depends on the input's size alone is done once."""
        self.backbone.fix_size(*self.input_size)

    def normalise(self, rgb: Tensor) -> Tensor:
        """Return what the backbone takes, (B, 3, H, W), of uint8 RGB pictures (B, H, W, 3)."""
        # Permuted (B, H, W, 3) is already in channels-last order, the fast one on a CPU.
        return (rgb.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def features(self, rgb: Tensor) -> Tensor:
        """Compute the feature map (B, C, h, w), float32, of uint8 RGB pictures (B, H, W, 3)."""
        return self.backbone(self.normalise(rgb)).float()

    def forward(self, rgb: Tensor) -> Tensor:
        """Describe pictures.

        Args:
            rgb: uint8 RGB (B, H, W, 3) of the size that the network was built for.

        Returns:
            float32 (B, D) of unit norm.
        """
        return self.aggregate(self.features(rgb))

    def aggregate(self, features: Tensor) -> Tensor:
        """Turn a feature map (B, C, h, w) into descriptors (B, D) of unit norm."""
        # The mixers amplify rounding on flat maps: they stay in float32 under autocast.
        with torch.autocast(features.device.type, enabled=False):
            descriptors = self.aggregator(features)
            if self.projection is not None:
                descriptors = functional.normalize(self.projection(descriptors), dim=-1)
            return descriptors


def build_network(config: TrainConfig) -> Network:
    """Build the network that the settings describe, with random weights.

    Raises:
        ValueError: Unknown names, or a size that the backbone's stride does not divide.
    """
    backbone = build_backbone(
        config.backbone, resnet_layers=config.resnet_layers, stages=config.backbone_stages
    )
    grid = backbone.grid(config.height, config.width)
    aggregator = build_aggregator(config, backbone.channels, grid)
    projection = None
    if config.projected_size:
        projection = nn.Linear(aggregator.descriptor_size, config.projected_size)
    size = (config.height, config.width)
    return Network(backbone, aggregator, projection, input_size=size)


def build_aggregator(config: TrainConfig, channels: int, grid: tuple[int, int]) -> nn.Module:
    """Build the aggregator that the settings name, for maps of `channels` on `grid`.

    Raises:
        ValueError: An unknown name, or channels that do not suit it.
    """
    if config.aggregator == 'gem':
        return GeM(channels)
    if config.aggregator == 'convap':
        return ConvAP(channels, out_channels=config.out_channels, grid=config.pooled_grid)
    if config.aggregator == 'clusvpr':
        return ClusVPR(
            channels, clusters=config.clusters, groups=config.groups, depth=config.mix_depth
        )
    if config.aggregator == 'netvlad':
        return NetVLAD(channels, clusters=config.clusters)
    if config.aggregator == 'mixvpr':
        side = config.mixer_grid
        return MixVPR(
            channels,
            (side, side) if side else grid,
            out_channels=config.out_channels,
            out_rows=config.out_rows,
            mix_depth=config.mix_depth,
            mlp_ratio=config.mlp_ratio,
            resample=bool(side),
        )
    known = ['clusvpr', 'convap', 'gem', 'mixvpr', 'netvlad']
    raise ValueError(f'unknown aggregator {config.aggregator!r}; there are {known}')
