# SPDX-License-Identifier: Apache-2.0
"""The picture that local features are looked for in: checked, and smaller than the camera's."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Rows of what a map keeps of a picture, and in which its local features are looked for, live and
# when maps are made: so the cost is bounded and an error of so many pixels means the same for
# every camera.
PICTURE_HEIGHT = 480


@dataclass(frozen=True)
class WorkingPicture:
    """A picture made smaller, and the way back.

    Attributes:
        rgb: uint8 RGB (h, w, 3).
        scale: (2,) pixels of the camera's picture a pixel of this one, x and y.
    """

    rgb: np.ndarray
    scale: np.ndarray

    def to_camera(self, keypoints: np.ndarray) -> np.ndarray:
        """Return keypoints (K, 2) of this picture as float32 pixels of the camera's.

        In both, the centre of the first pixel lies at 0, 0.
        """
        return ((keypoints + 0.5) * self.scale - 0.5).astype(np.float32)


def working_size(
    height: int, width: int, max_height: int, *, multiple: int = 1
) -> tuple[int, int]:
    """Return rows and columns that `working_picture` gives a picture."""
    factor = min(1.0, max_height / height) if max_height else 1.0
    rows, columns = (
        max(multiple, round(side * factor / multiple) * multiple) for side in (height, width)
    )
    return rows, columns


def working_picture(rgb: np.ndarray, max_height: int, *, multiple: int = 1) -> WorkingPicture:
    """Make a picture smaller.

    Args:
        rgb: uint8 RGB (H, W, 3).
        max_height: Rows that it may have; 0: any number.
        multiple: What both sides are made a multiple of.

    Raises:
        ValueError: `rgb` is no such picture.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f'a picture is uint8 RGB (H, W, 3), not {rgb.dtype} {rgb.shape}')
    height, width = rgb.shape[:2]
    rows, columns = working_size(height, width, max_height, multiple=multiple)
    scale = np.array([width / columns, height / rows])
    if (rows, columns) == (height, width):
        return WorkingPicture(rgb, scale)
    method = cv2.INTER_AREA if rows * columns < height * width else cv2.INTER_LINEAR
    return WorkingPicture(cv2.resize(rgb, (columns, rows), interpolation=method), scale)
