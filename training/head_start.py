# SPDX-License-Identifier: Apache-2.0
"""Start a head from the training places instead of at random.

MixVPR starts as whitened band pooling, which already recognises places. The mixers begin as the
identity, each output row as the average of a horizontal band of the picture (a step to the side
keeps a thing in its band), and the channel projection as the linear discriminant of the training
places: directions in which different places differ most compared with views of one place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.models import Network
from training.models.aggregators import ClusVPR, MixVPR

SHRINKAGE = 0.5  # share of the mean variance that is added to every direction within a place


def horizontal_bands(rows: int, shape: tuple[int, int]) -> Tensor:
    """Return (rows, h * w) weights of overlapping horizontal bands, each summing to one."""
    height, width = shape
    y = torch.linspace(0.0, 1.0, height)
    centres = torch.linspace(0.0, 1.0, rows) if rows > 1 else torch.tensor([0.5])
    reach = 1.5 / max(1, rows - 1)
    bands = (1.0 - (y[None] - centres[:, None]).abs() / reach).clamp(min=0.0)
    bands = bands[:, :, None].expand(rows, height, width).reshape(rows, -1)
    return bands / bands.sum(dim=1, keepdim=True)


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
    bands = horizontal_bands(rows, head.in_shape)
    pooled, labels = [], []
    network.eval()
    for views, label in tqdm(batches, desc='pooling start', unit='batch'):
        with torch.autocast('cpu', torch.bfloat16):
            features = network.features(views.flatten(0, 1))
        pooled.append(torch.einsum('ncp,rp->nrc', features.flatten(2), bands))
        labels.append(label.flatten()[:, None] * rows + torch.arange(rows))
    vectors = torch.cat(pooled).flatten(0, 1).double().numpy()
    projection = discriminant(
        vectors, torch.cat(labels).flatten().numpy(), head.channel_proj.out_features
    )
    # The overall scale is lost in the final norm: take the one of a fresh linear layer.
    projection *= head.channel_proj.weight.std().item() / projection.std()
    bias = -projection @ vectors.mean(axis=0)
    head.start_as_pooling(bands, torch.from_numpy(projection), torch.from_numpy(bias))


@torch.no_grad()
def start_from_clusters(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set centroids and assignment of a ClusVPR head from some batches of training places.

    Args:
        network: Network with a ClusVPR aggregator; its backbone has its pretrained weights.
        batches: (P, K, H, W, 3) uint8 RGB views and (P, K) labels.
    """
    head = network.aggregator
    if not isinstance(head, ClusVPR):
        raise TypeError(f'only ClusVPR can start from clusters, not {type(head).__name__}')
    network.eval()
    head.start_from_clusters(network.features(views.flatten(0, 1)) for views, _ in batches)
