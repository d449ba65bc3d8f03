# SPDX-License-Identifier: Apache-2.0
"""Backbones: normalised picture to feature map."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from training.models.backbones.base import Backbone
from training.models.backbones.dinov2 import TIMM_NAMES, DinoV2
from training.models.backbones.efficientnet import EfficientNetB0, EfficientNetLite
from training.models.backbones.mobilenetv2 import MobileNetV2, MobileNetV2Lightweight
from training.models.backbones.resnet import VARIANTS, ResNet
from training.models.backbones.vgg import VGG16
from training.models.backbones.xfeat import XFeat

BACKBONES: dict[str, Callable[[], Backbone]] = {
    'mobilenetv2': MobileNetV2,
    'mobilenetv2_lightweight': MobileNetV2Lightweight,
    'efficientnet_b0': EfficientNetB0,
    **{f'efficientnet_lite{n}': partial(EfficientNetLite, n) for n in (0, 1, 2)},
    **{f'dinov2_{name}': partial(DinoV2, name) for name in TIMM_NAMES},
    'vgg16': VGG16,
    'xfeat': XFeat,
}
RESNETS = {f'resnet{depth}': depth for depth in VARIANTS}


def build_backbone(name: str, *, resnet_layers: int = 3, stages: int = 0) -> Backbone:
    """Build a backbone with random weights.

    Args:
        name: One of BACKBONES or RESNETS.
        resnet_layers: Of a ResNet's four layers, how many stay.
        stages: Of its stages, how many stay; 0: all.

    Raises:
        ValueError: There is no backbone of this name, or it has fewer stages.
    """
    if name not in BACKBONES and name not in RESNETS:
        raise ValueError(f'unknown backbone {name!r}; there are {sorted({*BACKBONES, *RESNETS})}')
    if name in RESNETS:
        backbone: Backbone = ResNet(RESNETS[name], layers=resnet_layers)
    else:
        backbone = BACKBONES[name]()
    if stages:
        backbone.crop(stages)
    return backbone


__all__ = ['BACKBONES', 'RESNETS', 'Backbone', 'build_backbone']
