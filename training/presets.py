# SPDX-License-Identifier: Apache-2.0
"""The published configurations by name: what to build, not how to train it (configs/*.yaml).

`python benchmarks/zoo.py` prints their sizes, parameters, operations and latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MIXVPR = {
    'aggregator': 'mixvpr', 'height': 320, 'width': 320, 'mix_depth': 4, 'mlp_ratio': 1.0,
    'out_rows': 4, 'mixer_grid': 0, 'projected_size': 0,
}  # fmt: skip
_RESNET50 = {**_MIXVPR, 'backbone': 'resnet50', 'resnet_layers': 3, 'frozen_stages': 3}
_DINO = {
    **_MIXVPR, 'height': 224, 'width': 224, 'mix_depth': 2, 'out_channels': 1024,
    'frozen_stages': 9,
}  # fmt: skip

PRESETS: Mapping[str, Mapping[str, Any]] = {
    'mixvpr-resnet50-4096': {**_RESNET50, 'out_channels': 1024},
    'mixvpr-resnet50-512': {**_RESNET50, 'out_channels': 256, 'out_rows': 2},
    'mixvpr-resnet50-128': {**_RESNET50, 'out_channels': 64, 'out_rows': 2},
    'lightweight-efficientnet-b0-128': {
        **_MIXVPR, 'backbone': 'efficientnet_b0', 'frozen_stages': 7, 'out_channels': 32,
    },
    'lightweight-mobilenetv2-1024': {
        **_MIXVPR, 'backbone': 'mobilenetv2_lightweight', 'frozen_stages': 0,
        'out_channels': 256,
    },
    'lightweight-resnet18-512': {
        **_MIXVPR, 'backbone': 'resnet18', 'resnet_layers': 3, 'frozen_stages': 0,
        'out_channels': 128,
    },
    **{
        f'dinomix-vit{size}14-4096': {**_DINO, 'backbone': f'dinov2_vit{size}14'}
        for size in 'sblg'
    },
    'clusvpr-vgg16-4096': {
        'backbone': 'vgg16', 'frozen_stages': 24, 'aggregator': 'clusvpr',
        'height': 480, 'width': 640,
        'clusters': 64, 'groups': 8, 'mix_depth': 4, 'projected_size': 4096,
    },
}  # fmt: skip
"""Each is a dict of `TrainConfig` fields; `preset: NAME` in a config takes them as defaults."""
