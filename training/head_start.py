# SPDX-License-Identifier: Apache-2.0
"""Start a head from the training places instead of at random.

MixVPR starts as whitened pooling, which already recognises places. The mixers begin as the
identity, each output row as the average of one cell of a grid over the picture, and the channel
projection as the linear discriminant of the training places: directions in which different places
differ most compared with views of one place. NetVLAD and ClusVPR start from clusters of local
descriptors, and the projection behind NetVLAD as the discriminant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from training.models import Network
from training.models.aggregators import MixVPR, Vlad

SHRINKAGE = 0.1  # share of the mean variance that is added to every direction within a place


def picture_cells(count: int, shape: tuple[int, int]) -> Tensor:
    """Return (count, h * w) weights that average the cells of a grid, each summing to one.

    The grid is as square as `count` allows, and rather higher than wide: 4 is 2x2, 6 is 3x2.
    """
    columns = max(n for n in range(1, math.isqrt(count) + 1) if count % n == 0)
    positions = math.prod(shape)
    each = torch.eye(positions).view(positions, 1, *shape)
    cells = functional.adaptive_avg_pool2d(each, (count // columns, columns))
    return cells.view(positions, count).T


def discriminant(vectors: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """Return the linear discriminant projection.

    Args:
        vectors: (N, C).
        labels: (N,), equal for views of one place.
        size: Number of directions to keep.

    Returns:
        (size, C); directions have equal variance within places, most discriminating first.

    Raises:
        ValueError: More directions than C are asked for.
    """
    if size > vectors.shape[1]:
        raise ValueError(f'cannot keep {size} directions of {vectors.shape[1]} channels')
    _, place = np.unique(labels, return_inverse=True)
    sums = np.zeros((place.max() + 1, vectors.shape[1]))
    np.add.at(sums, place, vectors)
    means = sums / np.bincount(place)[:, None]
    within = np.cov(vectors - means[place], rowvar=False)
    within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    # Whiten the differences within places, then keep the largest variances.
    scale, basis = np.linalg.eigh(within)
    whitening = basis / np.sqrt(scale)
    _, directions = np.linalg.eigh(np.cov(vectors @ whitening, rowvar=False))
    return (whitening @ directions[:, ::-1][:, :size]).T


@torch.no_grad()
def start_as_pooling(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the weights of a MixVPR head from some batches of training places.

    Args:
        network: Network with a MixVPR aggregator; its backbone has its ImageNet weights.
        batches: (P, K, H, W, 3) uint8 RGB views and (P, K) labels.
    """
    head = network.aggregator
    if not isinstance(head, MixVPR):
        raise TypeError(f'only MixVPR can start as pooling, not {type(head).__name__}')
    rows = head.row_proj.out_features
    cells = picture_cells(rows, head.in_shape)
    pooled, labels = [], []
    network.eval()
    for views, label in tqdm(batches, desc='pooling start', unit='batch'):
        with torch.autocast('cpu', torch.bfloat16):
            features = network.features(views.flatten(0, 1))
        pooled.append(torch.einsum('ncp,rp->nrc', features.flatten(2), cells))
        labels.append(label.flatten()[:, None] * rows + torch.arange(rows))
    vectors = torch.cat(pooled).flatten(0, 1).double().numpy()
    projection = discriminant(
        vectors, torch.cat(labels).flatten().numpy(), head.channel_proj.out_features
    )
    projection = _at_the_scale_of(head.channel_proj, projection)
    bias = -projection @ vectors.mean(axis=0)
    head.start_as_pooling(cells, torch.from_numpy(projection), torch.from_numpy(bias))


@torch.no_grad()
def start_from_clusters(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set centroids and assignment of a NetVLAD or ClusVPR head from some batches of places.

    Args:
        network: Network with such an aggregator; its backbone has its pretrained weights.
        batches: (P, K, H, W, 3) uint8 RGB views and (P, K) labels.
    """
    head = network.aggregator
    if not isinstance(head, Vlad):
        raise TypeError(f'only VLADs can start from clusters, not {type(head).__name__}')
    network.eval()
    head.start_from_clusters(network.features(views.flatten(0, 1)) for views, _ in batches)


@torch.no_grad()
def start_projection(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the projection behind an aggregator to the linear discriminant of its descriptors.

    Args:
        network: Network with a projection; its other parts have their starting weights.
        batches: (P, K, H, W, 3) uint8 RGB views and (P, K) labels.
    """
    layer = network.projection
    if layer is None:
        raise TypeError('the network has no projection that could start as a discriminant')
    network.eval()
    described = [
        (network.aggregator(network.features(views.flatten(0, 1))), labels.flatten())
        for views, labels in tqdm(batches, desc='discriminant start', unit='batch')
    ]
    vectors = torch.cat([descriptors for descriptors, _ in described]).double().numpy()
    labels = torch.cat([labels for _, labels in described]).numpy()
    projection = _at_the_scale_of(layer, discriminant(vectors, labels, layer.out_features))
    layer.weight.copy_(torch.from_numpy(projection))
    layer.bias.copy_(torch.from_numpy(-projection @ vectors.mean(axis=0)))


def _at_the_scale_of(layer: nn.Linear, projection: np.ndarray) -> np.ndarray:
    """Bring a projection, whose scale is lost in the final norm, to that of a fresh layer."""
    return projection * (layer.weight.std().item() / projection.std())
