# SPDX-License-Identifier: Apache-2.0
"""Files of the published systems as they are published, but for the values: these are random."""

from __future__ import annotations

import numpy as np
import torch

from training.config import config_from_dict
from training.models import build_network
from training.sample_pictures import made_pictures
from vpr_ros.preprocess import Preprocess


def released(name: str, device: str = 'cpu', *, settle: bool = False) -> dict[str, torch.Tensor]:
    """Return weights as the published file of a preset names and shapes them.

    Args:
        name: The preset.
        device: `meta` for shapes alone.
        settle: Bring the batch norms to the scale of the random weights, as training would: on
            flat maps the mixers amplify rounding.
    """
    config = config_from_dict({'preset': name, 'projected_size': 0})
    with torch.device(device):
        network = build_network(config)
        if settle:
            resize = Preprocess(config.height, config.width)
            batch = np.stack([resize(rgb) for rgb in made_pictures(2)])
            with torch.no_grad():
                network.train()(torch.from_numpy(batch))
        weights = dict(network.state_dict())
        if 'efficientnet-b0' in name:
            weights['backbone.model.classifier.weight'] = torch.zeros(1000, 1280)
            weights['backbone.model.classifier.bias'] = torch.zeros(1000)
        if name.startswith('dinomix'):
            width = weights['backbone.dino_model.cls_token'].shape[-1]
            weights['backbone.dino_model.mask_token'] = torch.zeros(1, width)
        if 'vitg' in name:
            for key in [key for key in weights if '.mlp.fc' in key]:
                renamed = key.replace('.mlp.fc1.', '.mlp.w12.').replace('.mlp.fc2.', '.mlp.w3.')
                weights[renamed] = weights.pop(key)
        if name.startswith('clusvpr'):
            weights['aggregator.GeM_pool.p'] = torch.full((1200,), 3.0)
            weights = {
                key.replace('backbone.base.', 'base_model.base.').replace(
                    'aggregator.', 'net_vlad.'
                ): value
                for key, value in weights.items()
            }
    return weights
