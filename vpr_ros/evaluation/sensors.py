# SPDX-License-Identifier: Apache-2.0
"""What a recording tells of each picture besides: its camera, and where odometry had it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpr_ros.cameras import MapCamera
from vpr_ros.errors import SourceError
from vpr_ros.frames import Frame
from vpr_ros.odometry import OdometryBuffer, OdometryPose
from vpr_ros.poses import Trajectory
from vpr_ros.verification.camera import Intrinsics


class Sensors:
    """What the node would know when it takes a picture, by the recording's own times.

    Odometry goes through the node's own buffer. It is heard up to the first pose at or after the
    picture, so that every picture is placed between two poses: how far odometry lags behind the
    pictures on the robot is not repeated.

    Attributes:
        cameras: What is known of each camera.
    """

    def __init__(
        self, cameras: Sequence[MapCamera] = (), odometry: Trajectory | None = None
    ) -> None:
        """Take over what is known.

        Args:
            cameras: Lens and mounting of each camera; one that is left out is not known.
            odometry: Poses of the body; those without orientation are of no use. None: none.
        """
        self.cameras = {camera.number: camera for camera in cameras}
        self._odometry = odometry
        self._buffer = OdometryBuffer()
        self._heard = 0

    def intrinsics(self, picture: Frame, rgb: np.ndarray) -> Intrinsics | None:
        """Return those of a picture; None: not known.

        Raises:
            SourceError: The calibration is of other pictures.
        """
        camera = self.cameras.get(picture.camera)
        if camera is None or camera.calibration is None:
            return None
        try:
            return camera.calibration.at_size(rgb.shape[1], rgb.shape[0])
        except ValueError as error:
            raise SourceError(f'{picture.name}: {error}') from error

    def odometry(self, picture: Frame) -> OdometryPose | None:
        """Return where odometry has the camera, or the body where the mounting is not known.

        None: odometry does not tell. Ask in the order of the run.
        """
        if self._odometry is None:
            return None
        self._hear(picture.stamp_ns)
        camera = self.cameras.get(picture.camera)
        mounting = None if camera is None else camera.mounting
        return self._buffer.at(picture.stamp_ns, mounting).pose

    def _hear(self, stamp_ns: int) -> None:
        assert self._odometry is not None  # asked by `odometry` alone
        known = self._odometry
        last = min(int(np.searchsorted(known.stamps_ns, stamp_ns)), len(known) - 1)
        for row in range(self._heard, last + 1):
            if np.isfinite(known.orientations_xyzw[row]).all():
                self._buffer.add(
                    int(known.stamps_ns[row]), known.positions[row], known.orientations_xyzw[row]
                )
        self._heard = max(self._heard, last + 1)
