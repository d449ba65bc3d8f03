# SPDX-License-Identifier: Apache-2.0
"""What local features are, whoever finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class LocalFeatures:
    """The local features of one picture, strongest first.

    Attributes:
        kind: What found them; features of two kinds cannot be compared.
        keypoints: (K, 2) float32, pixels: x right, y down, the centre of the first pixel at 0, 0.
        descriptors: (K, D), float32 of unit norm (compared by cosine) or uint8 (bits, compared by
            Hamming distance).
        width: Of the picture, pixels.
        height: Of the picture, pixels.
    """

    kind: str
    keypoints: np.ndarray
    descriptors: np.ndarray
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together.

        Raises:
            ValueError: A shape or type is wrong.
        """
        n = len(self.keypoints)
        if self.keypoints.shape != (n, 2) or self.descriptors.shape[:1] != (n,):
            raise ValueError(
                f'keypoints {self.keypoints.shape} and descriptors {self.descriptors.shape} must '
                'be (K, 2) and (K, D)'
            )
        if self.descriptors.ndim != 2 or self.descriptors.dtype not in (np.float32, np.uint8):
            raise ValueError(
                'descriptors must be (K, D) float32 or uint8, not '
                f'{self.descriptors.shape} {self.descriptors.dtype}'
            )

    def __len__(self) -> int:
        """Return K, the number of features."""
        return len(self.keypoints)


class FeatureExtractor(Protocol):
    """What finds local features."""

    @property
    def kind(self) -> str:
        """Name, as in `LocalFeatures.kind`."""
        ...

    def extract(self, rgb: np.ndarray) -> LocalFeatures:
        """Find the features of a picture, uint8 RGB (H, W, 3)."""
        ...
