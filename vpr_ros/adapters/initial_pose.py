# SPDX-License-Identifier: Apache-2.0
"""The newest verified pose, for who asks for an initial one; no ROS."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.pose_graph.transforms import inverse
from vpr_ros.poses import NS_PER_S

_KEPT = 200
_AHEAD_S = 0.1
_Key = tuple[int, str]  # stamp in ns, frame of the map


@dataclass(frozen=True, eq=False)
class MapPose:
    """A pose in the map.

    Attributes:
        stamp_ns: Of the picture.
        frame_id: Of the map.
        map_from_body: (4, 4).
        covariance: (6, 6) as in geometry_msgs/PoseWithCovariance: x y z, then rotations about the
            map's axes.
    """

    stamp_ns: int
    frame_id: str
    map_from_body: np.ndarray
    covariance: np.ndarray


class VerifiedPoses:
    """Keeps poses whose picture was verified: what comes on two topics meets by stamp and map."""

    def __init__(self) -> None:
        """Begin without a pose."""
        self._poses: OrderedDict[_Key, list[MapPose]] = OrderedDict()
        self._cameras: OrderedDict[_Key, set[str]] = OrderedDict()

    def clear(self) -> None:
        """Forget everything: the clock was set back."""
        self._poses.clear()
        self._cameras.clear()

    def add_pose(self, pose: MapPose) -> None:
        """Take over any pose."""
        self._poses.setdefault((pose.stamp_ns, pose.frame_id), []).append(pose)
        _trim(self._poses)

    def add_verified(self, stamp_ns: int, frame_id: str, camera: str) -> None:
        """Take over that the picture was verified, with a metric pose in this map."""
        self._cameras.setdefault((stamp_ns, frame_id), set()).add(camera)
        _trim(self._cameras)

    def newest(self, now_ns: int, max_age_s: float) -> tuple[tuple[MapPose, str] | None, str]:
        """Return the newest verified pose and its camera, or None and why none is to be sent."""
        keys = self._poses.keys() & self._cameras.keys()
        if not keys:
            if not self._cameras:
                return None, 'no picture was verified with a metric pose yet'
            return None, 'pictures were verified, but their poses do not come: is ~/pose remapped?'
        key = max(keys)
        poses, cameras = self._poses[key], self._cameras[key]
        fault = _age_fault((now_ns - key[0]) / NS_PER_S, max_age_s) or _fault(poses, cameras)
        return (None, fault) if fault else ((poses[0], next(iter(cameras))), '')


def _age_fault(age_s: float, max_age_s: float) -> str:
    """Say why a pose of this age must not be sent, '' if it may."""
    if age_s > max_age_s:
        return (
            f'the newest verified pose is {age_s:.1f} s old, more than max_age_s '
            f'{max_age_s:g}: the robot may be elsewhere by now'
        )
    if age_s < -_AHEAD_S:
        return (
            f'the newest verified pose is {-age_s:.1f} s ahead of the clock of this node: '
            'set use_sim_time as the localizer has it'
        )
    return ''


def _fault(poses: list[MapPose], cameras: set[str]) -> str:
    """Say why what came with one stamp must not be sent, '' if it may."""
    if len(poses) > 1 or len(cameras) > 1:
        return (
            'several cameras gave poses of the same stamp, and a pose does not say of which '
            'camera it is: ask again, or let one camera alone localise'
        )
    numbers = np.concatenate([poses[0].map_from_body.ravel(), poses[0].covariance.ravel()])
    return '' if np.isfinite(numbers).all() else 'the newest verified pose is not finite'


def of_base(pose: MapPose, base_from_camera: np.ndarray) -> MapPose:
    """Move a camera's pose to the base that carries it, with its covariance.

    The base stands off the camera, so that an error of rotation becomes one of position too.
    """
    camera_from_base = inverse(base_from_camera)
    x, y, z = pose.map_from_body[:3, :3] @ camera_from_base[:3, 3]
    by = np.eye(6)
    by[:3, 3:] = -np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return MapPose(
        pose.stamp_ns,
        pose.frame_id,
        pose.map_from_body @ camera_from_base,
        by @ pose.covariance @ by.T,
    )


def _trim(store: OrderedDict[_Key, Any]) -> None:
    while len(store) > _KEPT:
        store.popitem(last=False)
