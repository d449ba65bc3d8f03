# SPDX-License-Identifier: Apache-2.0
"""Read checkpoints: our own, and released ones that are recognised by what they hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.config import TrainConfig, config_from_dict
from training.models.backbones.dinov2 import from_released
from training.models.network import Network, build_network

# What a data-parallel or a Lightning wrapper puts before the names.
WRAPPERS = ('', 'network.', 'model.', 'module.', 'module.model.', 'model.module.')
DINO_WIDTHS = {384: 's', 768: 'b', 1024: 'l', 1536: 'g'}
RESNET_DEPTHS = {  # (bottleneck blocks, blocks of layer3)
    (False, 2): 18, (False, 6): 34, (True, 6): 50, (True, 23): 101,
}  # fmt: skip
LISTED = 12  # keys that an error names before it counts the rest


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU, as plain tensors and values only.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        first_line = str(error).partition('\n')[0]
        raise ValueError(
            f'{path} cannot be read as a checkpoint of tensors and plain values: {first_line}'
        ) from error


def network_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights with our names, `backbone.*` and `aggregator.*`.

    Bare state dicts, Lightning checkpoints and the prefixes of wrappers are understood, and the
    other names that OpenVPRLab and ClusVPR have for the same layers.

    Raises:
        ValueError: There are no such keys.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    ours = ('backbone.', 'aggregator.', 'projection.')
    for prefix in WRAPPERS:
        bare = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        named = _from_openvprlab(_from_clusvpr(bare))
        found = {key: value for key, value in named.items() if key.startswith(ours)}
        if found:
            return found
    raise ValueError(
        f'no weights called backbone.* or aggregator.* among {len(weights)} keys, '
        f'the first of which are {list(weights)[:3]}'
    )


def load_network(path: Path) -> tuple[Network, TrainConfig]:
    """Build the network of a checkpoint, ours or a released one, and fill it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or neither ours nor of a published system.
    """
    checkpoint = read_checkpoint(path)
    weights = network_weights(checkpoint)
    if 'config' not in checkpoint:
        return load_released(weights)
    config = config_from_dict(checkpoint['config'])
    network = build_network(config)
    load_weights(network, weights)
    return network, config


def load_released(weights: Mapping[str, Tensor]) -> tuple[Network, TrainConfig]:
    """Build the network that released weights belong to, and fill it.

    Args:
        weights: As `network_weights` returns them.

    Returns:
        The network and the settings that build it, all read off names and shapes.

    Raises:
        ValueError: No published system has these weights.
    """
    config = config_from_dict(_recognise(weights))
    network = build_network(config)
    load_weights(network, _without_unused(weights))
    return network, config


def load_weights(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Fill the network, or say exactly what does not fit.

    Raises:
        ValueError: Keys are missing, unexpected or of another shape; each is listed.
    """
    expected = network.state_dict()
    problems = [
        *(f'missing {key} {_shape(value)}' for key, value in expected.items()
          if key not in weights),
        *(f'unexpected {key} {_shape(value)}' for key, value in weights.items()
          if key not in expected),
        *(f'{key} is {_shape(value)}, not {_shape(expected[key])}'
          for key, value in weights.items()
          if key in expected and value.shape != expected[key].shape),
    ]  # fmt: skip
    if problems:
        shown = problems[:LISTED]
        if len(problems) > LISTED:
            shown.append(f'and {len(problems) - LISTED} more')
        raise ValueError('the weights do not fit the network:\n  ' + '\n  '.join(shown))
    network.load_state_dict(dict(weights))


def _recognise(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the network whose weights these are."""
    backbone, stride = _backbone_settings(weights)
    settings = {**backbone, **_aggregator_settings(weights)}
    if positions := settings.pop('positions', None):
        side = math.isqrt(positions)
        if side * side != positions:
            raise ValueError(f'{positions} positions are no square map; its shape is unknown')
        settings['height'] = settings['width'] = side * stride
    if 'projection.weight' in weights:
        settings['projected_size'] = len(weights['projection.weight'])
    return settings


def _backbone_settings(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], int]:
    """Return the settings of the backbone, and its stride."""
    if 'backbone.dino_model.pos_embed' in weights:
        width = weights['backbone.dino_model.pos_embed'].shape[-1]
        if width in DINO_WIDTHS:
            return {'backbone': f'dinov2_vit{DINO_WIDTHS[width]}14'}, 14
    elif 'backbone.model.conv_stem.weight' in weights:
        return {'backbone': 'efficientnet_b0'}, 32
    elif 'backbone.model.features.18.weight' in weights:
        return {'backbone': 'mobilenetv2_lightweight'}, 16
    elif 'backbone.base.0.weight' in weights:
        return {'backbone': 'vgg16', 'height': 480, 'width': 640}, 16
    elif 'backbone.model.layer3.0.conv1.weight' in weights:
        has_bottlenecks = 'backbone.model.layer3.0.conv3.weight' in weights
        blocks = sum(
            bool(re.fullmatch(r'backbone\.model\.layer3\.\d+\.conv1\.weight', key))
            for key in weights
        )
        depth = RESNET_DEPTHS.get((has_bottlenecks, blocks))
        layers = 4 if 'backbone.model.layer4.0.conv1.weight' in weights else 3
        if depth:
            return {'backbone': f'resnet{depth}', 'resnet_layers': layers}, 2 ** (layers + 1)
    raise ValueError(
        f'no published system has a backbone with these weights: {_some(weights, "backbone.")}'
    )


def _aggregator_settings(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the aggregator; `positions` is the size of MixVPR's map."""
    if 'aggregator.mix.0.mix.1.weight' in weights:
        hidden, positions = weights['aggregator.mix.0.mix.1.weight'].shape
        return {
            'aggregator': 'mixvpr',
            'out_channels': len(weights['aggregator.channel_proj.weight']),
            'out_rows': len(weights['aggregator.row_proj.weight']),
            'mix_depth': sum(key.endswith('.mix.0.weight') for key in weights),
            'mlp_ratio': hidden / positions,
            'positions': positions,
        }
    if 'aggregator.channel_pool.weight' in weights:
        # The grid has no weights; 2 x 2 is that of every released file.
        out_channels = len(weights['aggregator.channel_pool.weight'])
        return {'aggregator': 'convap', 'out_channels': out_channels, 'pooled_grid': 2}
    if 'aggregator.centroids' in weights and 'aggregator.linear1.weight' in weights:
        clusters, size = weights['aggregator.centroids'].shape
        return {
            'aggregator': 'clusvpr',
            'clusters': clusters,
            'groups': len(weights['aggregator.linear1.weight']) // size,
            'mix_depth': sum(key.endswith('.global_cwt.point_conv.weight') for key in weights),
        }
    if 'aggregator.p' in weights:
        return {'aggregator': 'gem'}
    raise ValueError(
        f'no published system has an aggregator with these weights: '
        f'{_some(weights, "aggregator.")}'
    )


def _without_unused(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what released files hold and their networks never use."""
    dino = 'backbone.dino_model.'
    inner = {k.removeprefix(dino): v for k, v in weights.items() if k.startswith(dino)}
    kept = {
        key: value
        for key, value in weights.items()
        if not key.startswith((dino, 'backbone.model.classifier.', 'backbone.model.fc.'))
    }
    return kept | {dino + key: value for key, value in from_released(inner).items()}


def _from_clusvpr(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename ClusVPR's `base_model.base.*` and `net_vlad.*`; other keys stay."""
    renamed = {}
    for key, value in weights.items():
        name = key.replace('base_model.base.', 'backbone.base.', 1)
        renamed[name.replace('net_vlad.', 'aggregator.', 1)] = value
    exponent = 'aggregator.GeM_pool.p'
    if exponent in renamed:
        renamed[exponent] = renamed[exponent].mean().reshape(1)  # published: one a position
    return renamed


def _from_openvprlab(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename OpenVPRLab's ResNet, cut into `frozen_layers` and `unfrozen_layers`.

    Their lists hold, one after the other, the stem (0: conv1, 1: bn1) and layer1, layer2, ...
    """
    pattern = re.compile(r'backbone\.(frozen|unfrozen)_layers\.(\d+)\.(.*)')
    parts = [(pattern.fullmatch(key), key, value) for key, value in weights.items()]
    frozen = len({match[2] for match, *_ in parts if match and match[1] == 'frozen'})
    renamed = {}
    for match, key, value in parts:
        name = key
        if match:
            number = int(match[2]) + (frozen if match[1] == 'unfrozen' else 0)
            rest = match[3]
            if number == 0:
                rest = re.sub(r'^0\.', 'conv1.', re.sub(r'^1\.', 'bn1.', rest))
            name = f'backbone.model.{f"layer{number}." if number else ""}{rest}'
        renamed[name] = value
    return renamed


def _shape(value: Tensor) -> str:
    return str(tuple(value.shape))


def _some(weights: Mapping[str, Tensor], prefix: str) -> str:
    return ', '.join([key for key in weights if key.startswith(prefix)][:3]) or 'there are none'
