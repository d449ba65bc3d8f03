# SPDX-License-Identifier: Apache-2.0
"""What is known of the cameras of a map: lens and place on the robot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.poses import matrix_of_pose
from vpr_ros.verification.camera import Intrinsics

_ASPECT_TOLERANCE = 0.01  # halving an odd number of rows changes the aspect a little


@dataclass(frozen=True)
class Calibration:
    """Intrinsics, and the size of the pictures that they are of.

    Attributes:
        intrinsics: Focal lengths, principal point and distortion.
        width: Pixels.
        height: Pixels.
    """

    intrinsics: Intrinsics
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse an empty picture.

        Raises:
            ValueError: A side is below 1.
        """
        if min(self.width, self.height) < 1:
            raise ValueError(f'a calibration is of a picture, not of {self.width}x{self.height}')

    def at_size(self, width: int, height: int) -> Intrinsics:
        """Return the intrinsics of the same pictures resized as a whole.

        Args:
            width: Pixels.
            height: Pixels.

        Raises:
            ValueError: The sides have another ratio: a crop, or another camera.
        """
        x, y = width / self.width, height / self.height
        if abs(x / y - 1) > _ASPECT_TOLERANCE:
            raise ValueError(
                f'the calibration is of pictures of {self.width}x{self.height} pixels, these have '
                f'{width}x{height}: cropped, or of another camera'
            )
        return Intrinsics(resized(self.intrinsics.matrix, x, y), self.intrinsics.distortion)


def resized(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return the matrix (3, 3) for pictures `x` times as wide and `y` times as high."""
    # A pixel's centre has whole coordinates, so the picture's corner is at -0.5.
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]]) @ matrix


# Of a camera whose own poses, of its optical frame, are those of the map.
OPTICAL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class MapCamera:
    """One camera of a map.

    Attributes:
        number: As in the places of the map.
        calibration: Of the pictures before they were made small; None: not known.
        body_from_camera: x y z qx qy qz qw of the camera's optical frame (x right, y down, z
            forward) in the body that the poses of the map are of, metres; None: not known.
    """

    number: int
    calibration: Calibration | None = None
    body_from_camera: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no camera.

        Raises:
            ValueError: A negative number, or a pose that is none.
        """
        if self.number < 0:
            raise ValueError(f'the number of a camera must be 0 or more, not {self.number}')
        self.mounting  # noqa: B018  (raises)

    @property
    def mounting(self) -> np.ndarray | None:
        """(4, 4) float64, `body_from_camera` as a matrix; None: not known."""
        return None if self.body_from_camera is None else matrix_of_pose(self.body_from_camera)

    def pose(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> np.ndarray | None:
        """Return the pose of the optical frame where the body is; None: not known.

        Args:
            position: (3,) metres, of the body in the map; NaN: unknown.
            orientation_xyzw: (4,) unit quaternion; NaN: unknown.

        Returns:
            (4, 4) float64, from the camera's optical frame to the map.
        """
        body, mounting = np.concatenate([position, orientation_xyzw]), self.mounting
        if mounting is None or not np.isfinite(body).all():
            return None
        return matrix_of_pose(body) @ mounting

    def to_json(self) -> dict[str, Any]:
        """Return the camera as JSON values."""
        lens, mounting = self.calibration, self.body_from_camera
        return {
            'number': self.number,
            'intrinsics': None
            if lens is None
            else {
                'width': lens.width,
                'height': lens.height,
                'matrix': np.asarray(lens.intrinsics.matrix, np.float64).tolist(),
                'distortion': np.asarray(lens.intrinsics.distortion, np.float64).tolist(),
            },
            'body_from_camera': None if mounting is None else list(mounting),
        }


def cameras_from_json(values: Any) -> tuple[MapCamera, ...]:
    """Read a list of what `MapCamera.to_json` gave.

    Raises:
        ValueError: Something else; the text says what.
    """
    if not isinstance(values, list):
        raise ValueError(f'cameras must be a list, not {values!r}')
    cameras = tuple(_camera_from_json(value) for value in values)
    if len({camera.number for camera in cameras}) < len(cameras):
        raise ValueError('cameras gives one number twice')
    return cameras


def _camera_from_json(value: Any) -> MapCamera:
    if not isinstance(value, dict) or type(value.get('number')) is not int:
        raise ValueError(f'a camera must be an object with a number, not {value!r}')
    where = f'camera {value["number"]}'
    pose = value.get('body_from_camera')
    if pose is not None:
        pose = tuple(_numbers(pose, f'{where}: body_from_camera').tolist())
    intrinsics = value.get('intrinsics')
    calibration = None
    if intrinsics is not None:
        if not isinstance(intrinsics, dict):
            raise ValueError(f'{where}: intrinsics must be an object or null, not {intrinsics!r}')
        for key in ('width', 'height'):
            if type(intrinsics.get(key)) is not int:
                raise ValueError(f'{where}: {key} must be a whole number')
        calibration = Calibration(
            Intrinsics(
                _numbers(intrinsics.get('matrix'), f'{where}: matrix'),
                _numbers(intrinsics.get('distortion'), f'{where}: distortion'),
            ),
            intrinsics['width'],
            intrinsics['height'],
        )
    return MapCamera(value['number'], calibration, pose)


def _numbers(value: Any, what: str) -> np.ndarray:
    try:
        if not isinstance(value, list):
            raise TypeError
        return np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'{what} must be numbers, not {value!r}') from error
