# SPDX-License-Identifier: Apache-2.0
"""ClusVPR: weighted transformers over the map, then locally aggregated descriptors of groups.

Xu et al., ClusVPR: Efficient Visual Place Recognition with Clustering-based Weighted Transformer,
arXiv 2310.04099. Written from the paper; parameter names are those of the published code, which
does not run as published. What differs from it, on purpose: the exponent of the attention's GeM
is one number, not one a position, so that any picture size works; the two halves of the map have
a batch norm each; odd maps are padded before they are halved.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.aggregators.netvlad import EPS, Vlad

NEIGHBOURS = 10  # k of the density of a token
HEADS = 2


class ClusVPR(Vlad):
    """Feature map (B, in_channels, h, w) of any size to descriptor (B, clusters * group_size)."""

    def __init__(
        self, in_channels: int = 512, *, clusters: int = 64, groups: int = 8, depth: int = 4
    ) -> None:
        """Build the layers.

        Args:
            in_channels: C of the feature map, even.
            clusters: K, centroids.
            groups: G, into which twice the channels are divided.
            depth: Number of weighted transformer layers.

        Raises:
            ValueError: The channels cannot be divided so.
        """
        if in_channels % 2 or 2 * in_channels % groups:
            raise ValueError(
                f'ClusVPR halves its channels and divides twice as many into {groups} groups: '
                f'{in_channels} do not go'
            )
        super().__init__(2 * in_channels // groups, clusters)
        self.groups = groups
        self.vit_layer = nn.Sequential(*(CWTNet(in_channels) for _ in range(depth)))
        self.linear1 = nn.Linear(in_channels, 2 * in_channels, bias=False)
        self.GeM_pool = ChannelGeM()

    def local_descriptors(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, h * w * G, S) local descriptors and their attention, 0 to 1."""
        x = self.vit_layer(features)
        x = functional.normalize(x, dim=1).flatten(2).transpose(1, 2)  # (B, h * w, C)
        x = self.linear1(x).unflatten(2, (self.groups, -1))
        attention = torch.sigmoid(self.GeM_pool(x))
        return x.flatten(1, 2), attention.flatten(1, 2)


class ChannelGeM(nn.Module):
    """Generalised mean over the channels of each local descriptor."""

    def __init__(self, p: float = 3.0) -> None:
        """Build the layer; `p` is learnt."""
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))

    def forward(self, x: Tensor) -> Tensor:
        """Pool (..., S) to (...)."""
        return x.clamp(min=EPS).pow(self.p).mean(dim=-1).pow(1.0 / self.p)


class CWTNet(nn.Module):
    """One layer: half of the channels by convolution, half by the weighted transformer."""

    def __init__(self, channels: int) -> None:
        """Build the layers for maps of `channels`."""
        super().__init__()
        half = channels // 2

        def depthwise() -> nn.Conv2d:
            return nn.Conv2d(half, half, kernel_size=3, padding=1, groups=half, bias=False)

        self.local_dwconvl = depthwise()
        self.local_dwconvg = depthwise()
        self.global_dwconv = depthwise()
        self.global_cwt = WeightedTransformer(half)
        self.local_bn = nn.BatchNorm2d(half)
        self.global_bn = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, h, w) from the same shape."""
        near, far = x.chunk(2, dim=1)
        mixed = (
            self.local_bn(self.local_dwconvl(near) + self.global_dwconv(far)),
            self.global_bn(self.local_dwconvg(near) + self.global_cwt(far)),
        )
        return torch.cat(mixed, dim=1).relu()


class WeightedTransformer(nn.Module):
    """A transformer block over the map at half its size, added to the map."""

    def __init__(self, channels: int) -> None:
        """Build the layers for maps of `channels`."""
        super().__init__()
        self.transformer = _Transformer(channels)
        self.transpose = nn.ConvTranspose2d(
            channels, channels, kernel_size=2, stride=2, groups=channels, bias=False
        )
        self.point_conv = nn.Conv2d(channels, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, h, w) from the same shape."""
        height, width = x.shape[2:]
        halved = functional.avg_pool2d(x, 2, ceil_mode=True)
        upsampled = self.point_conv(self.transpose(self.transformer(halved)))
        return x + upsampled[:, :, :height, :width]


class _Transformer(nn.Module):
    """Map to tokens and a class token, one block, and back; nested as the published names are."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.embeddings.patch_embeddings = nn.Conv2d(channels, channels, kernel_size=1)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList([WeightedBlock(channels)])

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embeddings.patch_embeddings(x)
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.embeddings.cls_token.expand(tokens.shape[0], -1, -1)
        tokens = self.encoder.layer[0](torch.cat((first, tokens), dim=1))
        return tokens[:, 1:].transpose(1, 2).reshape(patches.shape)


class WeightedBlock(nn.Module):
    """Attention whose values are weighted by how much their tokens stand out, then an MLP."""

    def __init__(self, channels: int) -> None:
        """Build the layers for tokens of `channels`."""
        super().__init__()
        self.attn = WeightedAttention(channels)
        self.ffn = _FeedForward(channels, 2 * channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute (B, N, C) from the same shape."""
        tokens = tokens + self.attn(tokens)
        return tokens + self.ffn(tokens)


class WeightedAttention(nn.Module):
    """Multi-head attention; the values of a token are scaled by 0.5 + its weight."""

    def __init__(self, channels: int) -> None:
        """Build the layers for tokens of `channels`."""
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute (B, N, C) from the same shape."""
        values = self.value(tokens) * (0.5 + distinctness(tokens))[..., None]
        heads = [
            x.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for x in (self.query(tokens), self.key(tokens), values)
        ]
        attended = functional.scaled_dot_product_attention(*heads)
        return self.out(attended.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(functional.gelu(self.fc1(x)))))


def distinctness(tokens: Tensor) -> Tensor:
    """Return (B, N) weights, 0 to 1: large where few tokens are like this one.

    A token's density is exp(-mean squared distance to its k nearest others); the weight is one
    minus that, brought to 0..1 over the picture. No gradient passes: it is a statement about the
    picture, not a thing to learn.
    """
    x = tokens.detach()
    squares = (x * x).sum(dim=-1)
    distance = squares[:, :, None] + squares[:, None] - 2.0 * x @ x.transpose(1, 2)
    count = min(NEIGHBOURS, x.shape[1] - 1)
    nearest = distance.clamp(min=0.0).topk(count + 1, dim=-1, largest=False).values[..., 1:]
    density = torch.exp(-_to_unit_range(nearest.flatten(1)).view(nearest.shape).mean(dim=-1))
    return _to_unit_range(1.0 - density)


def _to_unit_range(x: Tensor) -> Tensor:
    """Bring each row of (B, N) to 0..1."""
    least, most = x.amin(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)
    return (x - least) / (most - least).clamp(min=EPS)
