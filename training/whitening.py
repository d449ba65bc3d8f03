# SPDX-License-Identifier: Apache-2.0
"""Project descriptors to fewer values by PCA, whitened; it becomes a layer of the network.

Jégou and Chum, Negative Evidences and Co-occurences in Image Retrieval, ECCV 2012; NetVLAD and
all VLADs since end so.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

LEAST_VARIANCE = 1e-10  # less is the rounding of float32
FULL_WHITENING = 0.5  # power of the variances
SHRINKAGE = 1e-3  # share of the mean variance that is added to all: rare directions stay small


def fit_projection(
    descriptors: np.ndarray, size: int, *, power: float = FULL_WHITENING
) -> nn.Linear:
    """Fit the projection onto the directions of the largest variance.

    Args:
        descriptors: (N, D) of unit norm, of pictures like those of the map.
        size: Values to keep.
        power: Of the variances by which the directions are divided: 0.5 whitens them fully, 0
            leaves them as they are.

    Returns:
        Linear layer (D to size); its output wants to be normalised.

    Raises:
        ValueError: There are not as many directions in the descriptors.
    """
    count, width = descriptors.shape
    if size > min(count - 1, width):
        raise ValueError(
            f'{count} descriptors of {width} values span at most {min(count - 1, width)} '
            f'directions, not {size}; give more pictures or ask for fewer values'
        )
    mean = descriptors.mean(axis=0, dtype=np.float64)
    _, scale, directions = np.linalg.svd(descriptors - mean, full_matrices=False)
    variance = scale**2 / (count - 1)
    if variance[size - 1] < LEAST_VARIANCE:
        raise ValueError(
            f'the descriptors of the {count} pictures differ in fewer than {size} directions: is '
            'the network trained, do the pictures show different places?'
        )
    variance += SHRINKAGE * variance.mean()
    weight = directions[:size] / variance[:size, None] ** power
    weight /= np.abs(weight).max()  # the scale is lost in the norm; this one suits half precision
    layer = nn.Linear(width, size)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(-weight @ mean))
    return layer
