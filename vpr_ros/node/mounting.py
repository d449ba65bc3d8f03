# SPDX-License-Identifier: Apache-2.0
"""The parameter that says where the one camera of a node sits on the body; no rclpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.node.declared import ParameterError
from vpr_ros.poses import matrix_of_pose
from vpr_ros.settings import setting


@dataclass(frozen=True)
class MountedCamera:
    """Where the camera sits; a base of what other parameters a node has."""

    body_from_camera: tuple[float, ...] = setting(
        (),
        "Pose of the camera's optical frame (z ahead) in the body that odometry places: x y z (m) "
        'qx qy qz qw, as the localizer has it; empty: both are the same',
        items=float,
    )

    @property
    def base_from_camera(self) -> np.ndarray:
        """(4, 4) pose of the camera in the body.

        Raises:
            ParameterError: Not seven numbers, or no rotation.
        """
        if not self.body_from_camera:
            return np.eye(4)
        try:
            return matrix_of_pose(self.body_from_camera)
        except ValueError as error:
            raise ParameterError(f'body_from_camera: {error}') from None

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
