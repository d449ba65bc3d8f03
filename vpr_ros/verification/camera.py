# SPDX-License-Identifier: Apache-2.0
"""What a camera does to rays."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

_ORDINARY_FOCAL = 0.9  # of the width of the picture


@dataclass(frozen=True)
class Intrinsics:
    """A calibrated camera, as in sensor_msgs/CameraInfo.

    Attributes:
        matrix: (3, 3) float64, focal lengths and principal point, pixels.
        distortion: (D,) float64 in OpenCV's order (plumb_bob, rational_polynomial); may be empty.
    """

    matrix: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        """Refuse what is no camera: an uncalibrated driver sends a matrix of zeros.

        Raises:
            ValueError: Wrong shape, not finite, or a focal length that is not positive.
        """
        matrix = np.asarray(self.matrix, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise ValueError(f'intrinsics need a finite 3x3 matrix, not {self.matrix}')
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise ValueError(
                f'focal lengths must be positive, not {matrix[0, 0]:g} and {matrix[1, 1]:g}: '
                'is the camera calibrated?'
            )
        if not np.isfinite(self.distortion).all():
            raise ValueError(f'the distortion is not finite: {self.distortion}')

    @property
    def focal_px(self) -> float:
        """Mean of both focal lengths, pixels: what turns angles into pixels."""
        return float(self.matrix[0, 0] + self.matrix[1, 1]) / 2

    def rays(self, keypoints: np.ndarray) -> np.ndarray:
        """Undistort.

        Args:
            keypoints: (K, 2) pixels.

        Returns:
            (K, 2) float64: x and y of each ray at z = 1 in the camera's optical frame (x right,
            y down, z forward).
        """
        if len(keypoints) == 0:
            return np.zeros((0, 2))
        points = np.asarray(keypoints, np.float64).reshape(-1, 1, 2)
        distortion = self.distortion if len(self.distortion) else None
        return cv2.undistortPoints(points, self.matrix, distortion).reshape(-1, 2)


def ordinary_camera(width: int, height: int) -> Intrinsics:
    """Return what a camera that nobody calibrated may be like: 58 degrees wide, no distortion.

    Good for limits, never for a motion.
    """
    focal_px = _ORDINARY_FOCAL * width
    centre = (width - 1) / 2, (height - 1) / 2
    return Intrinsics(np.array([[focal_px, 0, centre[0]], [0, focal_px, centre[1]], [0, 0, 1]]))
