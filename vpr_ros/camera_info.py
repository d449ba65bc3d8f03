# SPDX-License-Identifier: Apache-2.0
"""From sensor_msgs/CameraInfo to the intrinsics of the pictures, for the node and for bags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vpr_ros.cameras import Calibration, resized
from vpr_ros.errors import VprError
from vpr_ros.verification.camera import Intrinsics

# Distortion model to the numbers of coefficients that OpenCV takes in the same order.
_COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14)}
_FISHEYES = ('equidistant', 'fisheye', 'kannala_brandt')


class CalibrationError(VprError):
    """A calibration that does not describe the pictures; the text begins with a code."""


def intrinsics_from_msg(msg: Any, width: int, height: int, *, is_rectified: bool) -> Intrinsics:
    """Return the intrinsics of pictures of a size.

    Binning and region of interest are applied as the message defines them. Pictures of another
    size but of the same shape have been resized, and the intrinsics with them; anything else has
    been cropped, and where is not known.

    Args:
        msg: sensor_msgs/CameraInfo; that of `rosbags` serves as well as that of rclpy.
        width: Of the pictures, pixels.
        height: Likewise.
        is_rectified: Whether their distortion was removed already: then they are what the
            projection matrix P describes, else K and the distortion.

    Raises:
        CalibrationError: uncalibrated, unsupported (another lens model) or size.
    """
    matrix, distortion = _lens(msg, is_rectified)
    if not (msg.width and msg.height):
        raise CalibrationError(
            f'size: camera_info says {msg.width}x{msg.height} pixels, so that it cannot be told '
            'which pictures it is about; let the driver fill in width and height'
        )
    size = _size(msg)
    if (width, height) == (msg.width, msg.height) != size:
        size = width, height  # the driver told of a region and sent the whole
    else:
        matrix = _of_region(matrix, msg)
    intrinsics = checked_intrinsics(matrix, distortion)
    try:
        return Calibration(intrinsics, *size).at_size(width, height)
    except ValueError as error:
        raise CalibrationError(f'size: {error}; calibrate at that size') from None


def checked_distortion(distortion: Sequence[float] | np.ndarray, model: str) -> np.ndarray:
    """Return coefficients as OpenCV takes them: (D,) float64, empty if there is no distortion.

    Raises:
        CalibrationError: unsupported.
    """
    coefficients = np.asarray(distortion, np.float64).ravel()
    if not coefficients.any() and not np.isnan(coefficients).any():
        return np.zeros(0)  # whatever the model: simulators leave it empty
    if model not in _COEFFICIENTS:
        remedy = f'accepted: {", ".join(_COEFFICIENTS)}'
        if model in _FISHEYES:  # another formula
            remedy = 'rectify the pictures first and give those, with their own calibration'
        raise CalibrationError(f'unsupported: distortion model {model!r}; {remedy}')
    if len(coefficients) not in _COEFFICIENTS[model]:
        numbers = ' or '.join(map(str, _COEFFICIENTS[model]))
        raise CalibrationError(
            f'unsupported: {model} with {len(coefficients)} coefficients; it has {numbers}'
        )
    return coefficients


def checked_intrinsics(matrix: np.ndarray, distortion: np.ndarray) -> Intrinsics:
    """Make intrinsics.

    Raises:
        CalibrationError: uncalibrated.
    """
    try:
        return Intrinsics(matrix, distortion)
    except ValueError as error:
        raise CalibrationError(f'uncalibrated: {error}') from None


def is_of_rectified(picture_topic: str) -> bool:
    """Whether a topic is called as image_proc calls rectified pictures, such as `image_rect`."""
    last = picture_topic.removesuffix('/compressed').rpartition('/')[2]
    return 'rect' in last.split('_')


def _lens(msg: Any, is_rectified: bool) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and distortion of the whole picture at full resolution."""
    if is_rectified:
        name, matrix = 'P', np.array(msg.p, np.float64).reshape(3, 4)[:, :3]
    else:
        name, matrix = 'K', np.array(msg.k, np.float64).reshape(3, 3)
    if matrix[0, 0] == 0 or matrix[1, 1] == 0:
        raise CalibrationError(
            f'uncalibrated: the matrix {name} of camera_info is zero; calibrate the camera, or '
            'give its driver the calibration file (camera_info_url)'
        )
    if is_rectified:
        return matrix, np.zeros(0)
    return matrix, checked_distortion(msg.d, msg.distortion_model)


def _size(msg: Any) -> tuple[int, int]:
    """Width and height of the pictures that the message is about."""
    return (
        (msg.roi.width or msg.width) // max(msg.binning_x, 1),
        (msg.roi.height or msg.height) // max(msg.binning_y, 1),
    )


def _of_region(matrix: np.ndarray, msg: Any) -> np.ndarray:
    """Move the principal point into the region of interest, and bin."""
    moved = matrix.copy()
    moved[:2, 2] -= (msg.roi.x_offset, msg.roi.y_offset)
    return resized(moved, 1 / max(msg.binning_x, 1), 1 / max(msg.binning_y, 1))
