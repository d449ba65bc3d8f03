# SPDX-License-Identifier: Apache-2.0
"""Several networks as one: what one overlooks another sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.network import Network


class Ensemble(nn.Module):
    """The descriptors of several networks side by side: each similarity is the mean of theirs.

    A projection, see `training.whitening`, may follow.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        """Join networks.

        Raises:
            ValueError: They take pictures of different sizes.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
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
        joined = torch.cat([member(rgb) for member in self.members], dim=-1)
        if self.projection is not None:
            joined = self.projection(joined)
        return functional.normalize(joined, dim=-1)
