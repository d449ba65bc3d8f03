# SPDX-License-Identifier: Apache-2.0
"""Several networks as one: what one overlooks another sees."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.backbones.base import chain
from training.models.network import Network


class Ensemble(nn.Module):
    """The descriptors of several networks side by side: each similarity is a mean of theirs.

    First stages that networks have in common, because each kept them frozen, are passed once.
    A projection, see `training.whitening`, may follow.
    """

    def __init__(self, members: Sequence[Network], shares: Sequence[float] = ()) -> None:
        """Join networks.

        Args:
            members: The networks.
            shares: What each counts in the mean, positive; none given: all alike.

        Raises:
            ValueError: They take pictures of different sizes, or the shares are not theirs.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        shares = list(shares) or [1.0] * len(members)
        if len(shares) != len(members) or not min(shares) > 0:
            raise ValueError(f'{len(members)} networks want a positive share each, not {shares}')
        self._lengths = [math.sqrt(share) for share in shares]
        self._trunks = find_trunks(members)
        self.projection: nn.Linear | None = None
        sizes = [member.input_size for member in members]
        if len(set(sizes)) > 1:
            raise ValueError(
                f'the networks take pictures (height, width) of {sizes}; train them at one size'
            )
        self.input_size = sizes[0]

    @property
    def descriptor_size(self) -> int:
        """Length D of the descriptor."""
        if self.projection is not None:
            return self.projection.out_features
        return sum(member.descriptor_size for member in self.members)

    def fix_input_size(self) -> None:
        """Prepare for export: work that depends on the input's size alone is done once."""
        for member in self.members:
            member.fix_input_size()

    def forward(self, rgb: Tensor) -> Tensor:
        """Describe pictures: uint8 RGB (B, H, W, 3) to float32 (B, D) of unit norm."""
        descriptors: dict[int, Tensor] = {}
        for depth, numbers in self._trunks:
            networks = [self.members[number] for number in numbers]
            first = networks[0]
            trunk = chain(first.backbone.stages()[:depth], first.normalise(rgb)) if depth else rgb
            for number, network in zip(numbers, networks, strict=True):
                length = self._lengths[number]
                descriptors[number] = length * _describe(network, trunk, depth)
        joined = torch.cat([descriptors[number] for number in range(len(self.members))], dim=-1)
        if self.projection is not None:
            joined = self.projection(joined)
        return functional.normalize(joined, dim=-1)


def find_trunks(members: Sequence[Network]) -> list[tuple[int, list[int]]]:
    """Group networks whose backbones begin alike.

    Returns:
        For each group how many first stages are the same, and which networks are in it.
    """
    trunks: list[tuple[int, list[int]]] = []
    for number, member in enumerate(members):
        for position, (depth, numbers) in enumerate(trunks):
            if common := min(depth, common_stages(members[numbers[0]], member)):
                trunks[position] = (common, [*numbers, number])
                break
        else:
            trunks.append((common_stages(member, member), [number]))
    return [(depth if len(numbers) > 1 else 0, numbers) for depth, numbers in trunks]


def common_stages(one: Network, other: Network) -> int:
    """Count the first stages that two networks have in common, to the last bit."""
    backbones = one.backbone, other.backbone
    if type(backbones[0]) is not type(backbones[1]) or not backbones[0].is_chain:
        return 0
    pairs = zip(*(backbone.kept_stages() for backbone in backbones), strict=False)
    alike = itertools.takewhile(lambda pair: _have_equal_weights(*pair), pairs)
    return sum(1 for _ in alike)


def _have_equal_weights(one: nn.Module, other: nn.Module) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(
        torch.equal(weights[key], others[key])
        for key in weights
        if not key.endswith('num_batches_tracked')
    )


def _describe(network: Network, trunk: Tensor, depth: int) -> Tensor:
    """Go on after the first `depth` stages; at 0 `trunk` is the picture itself."""
    if depth == 0:
        return network(trunk)
    return network.aggregate(chain(network.backbone.kept_stages()[depth:], trunk).float())
