# SPDX-License-Identifier: Apache-2.0
"""A real hand-held run (7-Scenes RedKitchen) as pictures with stamps, true odometry and lens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.odometry import OdometryPose
from vpr_ros.picture_folder import PictureFolder, read_picture
from vpr_ros.pose_files import read_poses
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import FeatureExtractor, LocalFeatures

HZ = 30.0
START_NS = 10**18
# The colour camera's focal length is about 525 at 640x480; the pictures are 480x360.
LENS = Intrinsics(np.array([[393.75, 0, 240], [0, 393.75, 180], [0, 0, 1]]))


@dataclass(frozen=True)
class Shot:
    """A picture of the run.

    Attributes:
        number: Of the picture in the run.
        rgb: uint8 RGB (360, 480, 3).
        stamp_ns: 30 pictures a second.
        odometry: The true pose of the camera.
    """

    number: int
    rgb: np.ndarray
    stamp_ns: int
    odometry: OdometryPose

    def later(self, seconds: float) -> Shot:
        return replace(self, stamp_ns=self.stamp_ns + round(seconds * 1e9))

    def in_drive(self, drive: int, offset_m: float = 0.0) -> Shot:
        """The same with odometry of another piece, whose frame lies elsewhere."""
        offset = np.array([offset_m, 0.0, 0.0])
        moved = replace(self.odometry, position=self.odometry.position + offset, drive=drive)
        return replace(self, odometry=moved)


class Kitchen:
    """The run, read from disk once a picture."""

    def __init__(self, data: Path) -> None:
        self._folder = PictureFolder(data / 'red_kitchen' / 'rgb')
        self._poses = read_poses(data / 'red_kitchen' / 'poses_tum.txt')
        self._shots: dict[int, Shot] = {}

    def __getitem__(self, number: int) -> Shot:
        if number not in self._shots:
            odometry = OdometryPose(
                self._poses.positions[number],
                self._poses.orientations_xyzw[number],
                of_camera=True,
                drive=0,
            )
            stamp_ns = START_NS + round(number / HZ * 1e9)
            rgb = read_picture(self._folder.files[number])
            self._shots[number] = Shot(number, rgb, stamp_ns, odometry)
        return self._shots[number]

    def shots(self, *numbers: int) -> list[Shot]:
        return [self[number] for number in numbers]

    def away(self, first: int, other: int) -> tuple[float, float]:
        """Metres and degrees between two pictures."""
        one, two = (self[number].odometry for number in (first, other))
        turn = Rotation.from_quat(one.orientation_xyzw).inv() * Rotation.from_quat(
            two.orientation_xyzw
        )
        return float(np.linalg.norm(one.position - two.position)), float(
            np.degrees(turn.magnitude())
        )

    def number_of(self, stamp_ns: int) -> int:
        return round((stamp_ns - START_NS) * 1e-9 * HZ)


class Remembering(DescriptorExtractor):
    """The real model, which describes each picture once; many tests share pictures."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, device='cpu')
        self._known: dict[bytes, np.ndarray] = {}

    def extract(self, rgb: np.ndarray) -> np.ndarray:
        key = rgb.tobytes()
        if key not in self._known:
            self._known[key] = super().extract(rgb)
        return self._known[key]


class RememberingFeatures:
    """Real local features, found once a picture."""

    def __init__(self, local: FeatureExtractor) -> None:
        self._local = local
        self._known: dict[bytes, LocalFeatures] = {}

    @property
    def kind(self) -> str:
        return self._local.kind

    def extract(self, rgb: np.ndarray) -> LocalFeatures:
        key = rgb.tobytes()
        if key not in self._known:
            self._known[key] = self._local.extract(rgb)
        return self._known[key]
