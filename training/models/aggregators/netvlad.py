# SPDX-License-Identifier: Apache-2.0
"""Vectors of locally aggregated descriptors, and the simplest network of them.

Arandjelović et al., NetVLAD: CNN Architecture for Weakly Supervised Place Recognition, CVPR 2016.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-6
SAMPLES = 16_384  # local descriptors of a batch that k-means sees


class Vlad(nn.Module, ABC):
    """Local descriptors' residuals to centroids, summed: (B, C, h, w) to (B, clusters * size).

    Attributes:
        start_ratio: How many times the second best the best centroid weighs at the start, on
            average of the logarithms.
    """

    start_ratio = 100.0  # NetVLAD's

    def __init__(self, size: int, clusters: int) -> None:
        """Build the layers.

        Args:
            size: S, values of a local descriptor.
            clusters: K, centroids.
        """
        super().__init__()
        self.descriptor_size = clusters * size
        self.conv = nn.Conv2d(size, clusters, kernel_size=1, bias=False)
        self.centroids = nn.Parameter(torch.rand(clusters, size))

    @abstractmethod
    def local_descriptors(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute what is aggregated of a feature map (B, C, h, w).

        Returns:
            (B, N, S) local descriptors and (B, N) what each weighs.
        """

    def forward(self, features: Tensor) -> Tensor:
        """Describe (B, C, h, w) as (B, K * S) of unit norm."""
        return self.aggregate(*self.local_descriptors(features))

    def aggregate(self, local: Tensor, weight: Tensor) -> Tensor:
        """Sum the residuals to the centroids, each as far as it belongs there; (B, K * S)."""
        share = functional.linear(local, self.conv.weight.flatten(1)).softmax(dim=-1)
        share = share * weight[..., None]
        # sum over n of share * (local - centroid), without the (B, N, K, S) residuals
        sums = share.transpose(1, 2) @ local - share.sum(dim=1)[..., None] * self.centroids
        vlad = functional.normalize(sums, dim=2)
        return functional.normalize(vlad.flatten(1), dim=1)

    @torch.no_grad()
    def start_from_clusters(self, maps: Iterable[Tensor], *, seed: int = 0) -> None:
        """Set centroids and assignment from k-means over local descriptors, as NetVLAD does.

        Args:
            maps: Batches of feature maps (B, C, h, w).
            seed: Of k-means.
        """
        from sklearn.cluster import KMeans

        generator = torch.Generator().manual_seed(seed)
        kept = []
        for features in maps:
            local = self.local_descriptors(features)[0].flatten(0, 1)
            kept.append(local[torch.randperm(len(local), generator=generator)[:SAMPLES]])
        local = torch.cat(kept)
        clusters, size = self.centroids.shape
        if len(local) < clusters:
            raise ValueError(f'{len(local)} local descriptors cannot make {clusters} clusters')
        means = KMeans(clusters, n_init=1, random_state=seed).fit(local.numpy()).cluster_centers_
        centroids = torch.from_numpy(means).to(local)
        directions = functional.normalize(centroids, dim=1)
        best = (local @ directions.T).topk(2, dim=1).values
        margin = max(EPS, (best[:, 0] - best[:, 1]).mean().item())
        sharpness = math.log(self.start_ratio) / margin
        self.centroids.copy_(centroids)
        self.conv.weight.copy_((sharpness * directions).view(clusters, size, 1, 1))


class NetVLAD(Vlad):
    """Feature map (B, in_channels, h, w) of any size to descriptor (B, clusters * in_channels).

    A local descriptor weighs as much as it is long; published, all weigh alike. The start is soft,
    too: XFeat's descriptors lie between several centroids, and recognise less when divided hard.
    """

    start_ratio = 2.5

    def __init__(self, in_channels: int, *, clusters: int = 64) -> None:
        """Build the layers.

        Args:
            in_channels: C of the feature map.
            clusters: K, centroids.
        """
        super().__init__(in_channels, clusters)

    def local_descriptors(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the directions (B, h * w, C) and the lengths (B, h * w) of a map."""
        local = features.flatten(2).transpose(1, 2)
        return functional.normalize(local, dim=2), local.norm(dim=2)
