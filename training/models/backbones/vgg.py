# SPDX-License-Identifier: Apache-2.0
"""VGG-16 without its last ReLU and pooling: ClusVPR's backbone (Simonyan, Zisserman, 2015)."""

from __future__ import annotations

import torchvision
from torch import nn

from training.models.backbones.base import Backbone


class VGG16(Backbone):
    """VGG-16 up to `conv5_3`."""

    channels = 512
    stride = size_multiple = 16

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.base = torchvision.models.vgg16(weights=None).features[:-2]

    def stages(self) -> list[nn.Module]:
        """Return the 29 layers; the first 24 end before `conv5`."""
        return list(self.base)

    def load_pretrained(self) -> None:
        """Download torchvision's IMAGENET1K_V1 weights; they are on no package index."""
        weights = torchvision.models.VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
        kept = self.base.state_dict().keys()
        prefix = 'features.'
        self.base.load_state_dict({key: weights[prefix + key] for key in kept})
