# SPDX-License-Identifier: Apache-2.0
"""The parameters that say where cameras sit on the body; no rclpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.node_common.declared import ParameterError
from vpr_ros.poses import POSE_NUMBERS, matrix_of_pose
from vpr_ros.settings import setting


class UnknownCameraError(ValueError):
    """A closure of a camera of which nobody said where it sits."""


def mountings_of(numbers: Sequence[float], num_cameras: int) -> tuple[np.ndarray, ...]:
    """Return the pose (4, 4) of every camera in the body; () if no number is given.

    Raises:
        ParameterError: Not seven numbers for each, or no rotation.
    """
    if len(numbers) not in (0, POSE_NUMBERS * num_cameras):
        raise ParameterError(
            f'body_from_camera: {len(numbers)} numbers for {num_cameras} cameras; it has '
            f'{POSE_NUMBERS} for each (x y z qx qy qz qw), or none'
        )
    starts = range(0, len(numbers), POSE_NUMBERS)
    try:
        return tuple(matrix_of_pose(numbers[start : start + POSE_NUMBERS]) for start in starts)
    except ValueError as error:
        raise ParameterError(f'body_from_camera: {error}') from None


@dataclass(frozen=True)
class MountedCameras:
    """Where the cameras of the localizer sit; a base of what other parameters a node has."""

    cameras: tuple[str, ...] = setting(
        (),
        'Names of several cameras, as the localizer has them; empty for a single one',
        items=str,
    )
    body_from_camera: tuple[float, ...] = setting(
        (),
        "Pose of each camera's optical frame (z ahead) in the body that odometry places: x y z "
        '(m) qx qy qz qw, as the localizer has it; empty, of a single camera: both are the same',
        items=float,
    )

    def __post_init__(self) -> None:
        """Refuse mountings that are none.

        Raises:
            ParameterError: Not seven numbers for each camera, or no rotation.
        """
        mountings_of(self.body_from_camera, max(1, len(self.cameras)))
        if len(self.cameras) > 1 and not self.body_from_camera:
            raise ParameterError(
                f'body_from_camera: empty, which cannot be right for {len(self.cameras)} cameras '
                f'({", ".join(self.cameras)}): give {POSE_NUMBERS} numbers for each'
            )

    def mounting_warning(self, camera_frame: str, body_frame: str) -> str:
        """Say what is wrong if the frames differ and no mounting is set; '' if nothing."""
        if self.body_from_camera or not (camera_frame and body_frame):
            return ''
        if camera_frame == body_frame:
            return ''
        return (
            f'pictures are in frame {camera_frame!r}, the body is {body_frame!r}, and '
            'body_from_camera is empty, which says that both are the same: set it to the pose of '
            'the camera (optical frame) in the body, or every closure is turned and shifted'
        )


class Mountings:
    """Looks up where the cameras that closures name sit on the body."""

    def __init__(self, config: MountedCameras) -> None:
        """Take over the parameters; of a single camera the name is learnt from the first use."""
        poses = mountings_of(config.body_from_camera, max(1, len(config.cameras)))
        self._of_single = None if config.cameras else (poses[0] if poses else np.eye(4))
        self._by_name = dict(zip(config.cameras, poses or (np.eye(4),), strict=False))

    def of(self, camera: str) -> np.ndarray:
        """Return the pose (4, 4) of a camera's optical frame in the body.

        Raises:
            UnknownCameraError: Nobody said where it sits.
        """
        if self._of_single is not None and not self._by_name:
            self._by_name[camera] = self._of_single
        if camera not in self._by_name:
            known = ', '.join(repr(name) for name in self._by_name)
            raise UnknownCameraError(
                f'where camera {camera!r} sits is not known, only {known}: give cameras and '
                'body_from_camera as the localizer has them'
            )
        return self._by_name[camera]
