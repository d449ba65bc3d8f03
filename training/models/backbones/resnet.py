# SPDX-License-Identifier: Apache-2.0
"""ResNet, cut after any of its four layers (He et al., CVPR 2016)."""

from __future__ import annotations

import torchvision
from torch import nn

from training.models.backbones.base import Backbone, load_subset

VARIANTS = (18, 34, 50, 101)


class ResNet(Backbone):
    """ResNet up to `layerN`; N = 3 is the backbone of the released MixVPR.

    The module names are those of the released checkpoints: `model.conv1`, `model.layer1.0.conv1`.
    """

    def __init__(self, depth: int, *, layers: int = 3) -> None:
        """Build the layers with random weights.

        Args:
            depth: 18, 34, 50 or 101.
            layers: Of the four layers, how many stay.

        Raises:
            ValueError: There is no such network.
        """
        super().__init__()
        if depth not in VARIANTS:
            raise ValueError(f'there is no ResNet-{depth} here, but {VARIANTS}')
        if not 1 <= layers <= 4:
            raise ValueError(f'resnet_layers must be 1 to 4, not {layers}')
        self._depth = depth
        self._layers = layers
        self.model = getattr(torchvision.models, f'resnet{depth}')(weights=None)
        for layer in range(layers + 1, 5):
            setattr(self.model, f'layer{layer}', None)
        self.model.avgpool = self.model.fc = None
        expansion = 4 if depth >= 50 else 1
        self.channels = 64 * expansion * 2 ** (layers - 1)
        self.stride = self.size_multiple = 4 * 2 ** (layers - 1)

    def stages(self) -> list[nn.Module]:
        """Return the stem and the layers."""
        m = self.model
        stem = nn.Sequential(m.conv1, m.bn1, m.relu, m.maxpool)
        return [stem, *(getattr(m, f'layer{i}') for i in range(1, self._layers + 1))]

    def load_pretrained(self) -> None:
        """Download torchvision's IMAGENET1K_V1 weights; they are on no package index."""
        weights = torchvision.models.get_model_weights(f'resnet{self._depth}').IMAGENET1K_V1
        load_subset(self.model, weights.get_state_dict(progress=True))
