# SPDX-License-Identifier: Apache-2.0
"""DINOv2's vision transformers (Oquab et al., TMLR 2024), as DINO-Mix uses them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.backbones.base import Backbone, download_weights

PATCH = 14
PRETRAINED_GRID = 37  # of the released position embedding, made for 518x518
INTERPOLATION_OFFSET = 0.1  # DINOv2's own, kept so that released weights see what they know
WEIGHTS_URL = 'https://dl.fbaipublicfiles.com/dinov2/dinov2_{0}/dinov2_{0}_pretrain.pth'
TIMM_NAMES = {
    'vits14': 'vit_small_patch14_dinov2',
    'vitb14': 'vit_base_patch14_dinov2',
    'vitl14': 'vit_large_patch14_dinov2',
    'vitg14': 'vit_giant_patch14_dinov2',
}


class DinoV2(Backbone):
    """ViT-S, B, L or g with patches of 14: the patch tokens of the last block as a map.

    As in DINO-Mix, the tokens are those before the final norm, which the network does not have.
    """

    stride = size_multiple = PATCH

    def __init__(self, variant: str) -> None:
        """Build the layers with random weights.

        Args:
            variant: vits14, vitb14, vitl14 or vitg14.
        """
        super().__init__()
        self._variant = variant
        # Named as in the released checkpoints.
        self.dino_model = timm.create_model(
            TIMM_NAMES[variant], pretrained=False, num_classes=0, dynamic_img_size=True
        )
        self.dino_model.norm = nn.Identity()
        self.channels = self.dino_model.embed_dim

    def stages(self) -> list[nn.Module]:
        """Return the embedding, the blocks, and what makes a map of the tokens."""
        return [_Embedding(self.dino_model), *self.dino_model.blocks]

    def forward(self, rgb: Tensor) -> Tensor:
        """Compute the map (B, C, H / 14, W / 14) of the patch tokens."""
        height, width = self.grid(*map(int, rgb.shape[2:]))
        tokens = super().forward(rgb)[:, 1:]
        return tokens.transpose(1, 2).unflatten(2, (height, width))

    def load_pretrained(self) -> None:
        """Download DINOv2's weights; they are on no package index."""
        weights = download_weights(WEIGHTS_URL.format(self._variant))
        self.dino_model.load_state_dict(from_released(weights))

    @torch.no_grad()
    def fix_size(self, height: int, width: int) -> None:
        """Interpolate the position embedding once: the network takes this size only, then."""
        positions = resample_positions(self.dino_model.pos_embed, self.grid(height, width))
        self.dino_model.pos_embed = nn.Parameter(positions.clone())


class _Embedding(nn.Module):
    """Picture to tokens (B, 1 + h * w, C): patches, class token, positions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.patch_embed = model.patch_embed
        self.cls_token = model.cls_token
        self.pos_embed = model.pos_embed

    def forward(self, rgb: Tensor) -> Tensor:
        patches = self.patch_embed(rgb)  # (B, h, w, C)
        grid = int(patches.shape[1]), int(patches.shape[2])
        positions = resample_positions(self.pos_embed, grid)
        tokens = torch.cat(
            (self.cls_token.expand(rgb.shape[0], -1, -1), patches.flatten(1, 2)), dim=1
        )
        return tokens + positions


def resample_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring a position embedding (1, 1 + n * n, C) to another grid, as DINOv2 does.

    Returns:
        (1, 1 + h * w, C); `positions` itself where it already has as many.
    """
    count = positions.shape[1] - 1
    if count == math.prod(grid):
        return positions
    side = math.isqrt(count)
    square = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = tuple((length + INTERPOLATION_OFFSET) / side for length in grid)
    resampled = functional.interpolate(square, scale_factor=scale, mode='bicubic')
    return torch.cat((positions[:, :1], resampled.flatten(2).transpose(1, 2)), dim=1)


def from_released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the released keys of DINOv2 to timm's; leave out what is not used here."""
    unused = ('mask_token', 'norm.weight', 'norm.bias')
    return {
        key.replace('mlp.w12.', 'mlp.fc1.').replace('mlp.w3.', 'mlp.fc2.'): value
        for key, value in weights.items()
        if key not in unused
    }
