# SPDX-License-Identifier: Apache-2.0
"""Pictures of a made drive: where odometry has them, how they look, what features they have."""

from __future__ import annotations

import numpy as np
from made_keyframes import CAMERA, made_features
from scipy.spatial.transform import Rotation

from vpr_ros.odometry import OdometryPose
from vpr_ros.picture import Picture

S = 10**9
SIZE = 64


class _Given:
    """Finds the features that were made for a picture."""

    kind = 'xfeat'

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def extract(self, rgb: np.ndarray):
        return made_features(self._seed)


def at(x: float, *, piece: int = 0) -> OdometryPose:
    return OdometryPose(np.array([x, 0.0, 0.0]), np.array([0.0, 0, 0, 1]), True, piece)


def heading(x: float, degrees: float) -> OdometryPose:
    turned = Rotation.from_rotvec([0, 0, degrees], degrees=True).as_quat()
    return OdometryPose(np.array([x, 0.0, 0.0]), turned, True, 0)


def descriptor(look: float) -> np.ndarray:
    """Unit vector; two looks a apart have the cosine cos(a) within one radian, else near 0."""
    whole, rest = divmod(look, 1.0)
    found = np.zeros(SIZE, np.float32)
    found[2 * int(whole) % SIZE] = np.cos(rest)
    found[(2 * int(whole) + 1) % SIZE] = np.sin(rest)
    return found


def picture(
    second: float,
    *,
    camera: int = 0,
    look: float = 0.0,
    odometry: OdometryPose | None = None,
) -> Picture:
    """A picture of so many seconds, with features of that number."""
    rgb = np.full((36, 48, 3), int(second) % 256, np.uint8)
    return Picture(
        rgb,
        round(second * S),
        camera,
        odometry,
        CAMERA,
        '',
        descriptor(look),
        {},
        _Given(int(second)),
    )
