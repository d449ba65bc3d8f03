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
    """Keeps poses whose picture was verified: what comes on two topics meets by its stamp."""

    def __init__(self, camera: str) -> None:
        """Serve one camera; '' where the closures name none."""
        self._camera = camera
        self._poses: OrderedDict[int, list[MapPose]] = OrderedDict()
        self._verified: OrderedDict[int, set[str]] = OrderedDict()

    def clear(self) -> None:
        """Forget everything: the clock was set back."""
        self._poses.clear()
        self._verified.clear()

    def add_pose(self, pose: MapPose) -> None:
        """Take over any pose."""
        self._poses.setdefault(pose.stamp_ns, []).append(pose)
        _trim(self._poses)

    def add_verified(self, stamp_ns: int, camera: str) -> None:
        """Take over that the picture of this stamp was verified with a metric pose."""
        self._verified.setdefault(stamp_ns, set()).add(camera)
        _trim(self._verified)

    def newest(self, now_ns: int, max_age_s: float) -> tuple[MapPose | None, str]:
        """Return the newest verified pose, or None and why there is none to send."""
        stamps = self._poses.keys() & self._verified.keys()
        if not stamps:
            if not self._verified:
                return None, 'no picture was verified with a metric pose yet'
            return None, 'pictures were verified, but their poses do not come: is ~/pose remapped?'
        stamp_ns = max(stamps)
        fault = self._fault(stamp_ns, (now_ns - stamp_ns) / NS_PER_S, max_age_s)
        return (None, fault) if fault else (self._poses[stamp_ns][0], '')

    def _fault(self, stamp_ns: int, age_s: float, max_age_s: float) -> str:
        """Say why the pose of a stamp must not be sent, '' if it may."""
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
        if fault := self._camera_fault(self._verified[stamp_ns]):
            return fault
        poses = self._poses[stamp_ns]
        if len(poses) > 1:
            return (
                'several cameras gave poses of the same stamp, and a pose does not say of which '
                'camera it is: let one camera alone localise'
            )
        numbers = np.concatenate([poses[0].map_from_body.ravel(), poses[0].covariance.ravel()])
        return '' if np.isfinite(numbers).all() else 'the newest verified pose is not finite'

    def _camera_fault(self, cameras: set[str]) -> str:
        if cameras == {self._camera}:
            return ''
        names = ', '.join(repr(name) for name in sorted(cameras))
        return (
            f'the newest verified picture is of camera {names}, and the parameters camera_* are '
            f'of camera {self._camera!r}: set the parameter camera'
        )


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


def _trim(store: OrderedDict[int, Any]) -> None:
    while len(store) > _KEPT:
        store.popitem(last=False)
