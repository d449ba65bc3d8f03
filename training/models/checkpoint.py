# SPDX-License-Identifier: Apache-2.0
"""Read checkpoints: our own, and released ones that are recognised by what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.models.backbones import ResNet50
from training.models.mixvpr import MixVPR
from training.models.network import Network


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU, as plain tensors and values only.

    Raises:
        FileNotFoundError: There is no such file.
        pickle.UnpicklingError: The file holds more than tensors and plain values.
    """
    return torch.load(path, map_location='cpu', weights_only=True)


def network_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights, keys `backbone.*` and `aggregator.*`, whatever they are wrapped in.

    Bare state dicts, Lightning checkpoints and the prefixes `network.`, `model.` and `module.`
    are understood.

    Raises:
        ValueError: There are no such keys.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    for prefix in ('', 'network.', 'model.', 'module.'):
        found = {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith((f'{prefix}backbone.', f'{prefix}aggregator.'))
        }
        if found:
            return found
    raise ValueError(
        f'no weights called backbone.* or aggregator.* among {len(weights)} keys, '
        f'the first of which are {list(weights)[:3]}'
    )


def load_released_mixvpr(weights: Mapping[str, Tensor]) -> Network:
    """Build the network that a released MixVPR checkpoint belongs to, and fill it.

    Depth, sizes and widths are read off the shapes.

    Args:
        weights: As `network_weights` returns them.

    Raises:
        ValueError: The weights are not those of a ResNet-50 with MixVPR.
    """
    if 'backbone.model.layer3.5.conv3.weight' not in weights:
        raise ValueError(
            'the weights are not those of the released MixVPR: backbone.model.layer3.5.conv3 '
            f'of its ResNet-50 is absent; the keys begin with {list(weights)[:3]}'
        )
    hidden, positions = weights['aggregator.mix.0.mix.1.weight'].shape
    side = round(positions**0.5)
    if side * side != positions:
        raise ValueError(f'{positions} positions are no square map; its shape cannot be known')
    out_channels, in_channels = weights['aggregator.channel_proj.weight'].shape
    head = MixVPR(
        in_channels,
        (side, side),
        out_channels=out_channels,
        out_rows=weights['aggregator.row_proj.weight'].shape[0],
        mix_depth=sum(key.endswith('.mix.0.weight') for key in weights),
        mlp_ratio=hidden / positions,
    )
    network = Network(ResNet50(), head)
    network.load_state_dict(dict(weights))
    return network
