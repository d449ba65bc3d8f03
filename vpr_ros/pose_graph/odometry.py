# SPDX-License-Identifier: Apache-2.0
"""What odometry told: poses over time, and how uncertain the way between two of them is."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.pose_graph.transforms import difference
from vpr_ros.poses import NS_PER_S, rotation_angle, slerp

_MIN_INTERVAL_NS = 10_000_000  # 100 poses a second are as good as more
_JUMP_BACK_NS = NS_PER_S  # less is a message that was overtaken, more another run
_LOOK_AHEAD = 64  # poses that are compared with a keyframe at once
_COLUMNS = 9  # x y z qx qy qz qw, then the variances so far


@dataclass(frozen=True)
class OdometryNoise:
    """A random walk: variances grow in proportion to the way, the turn and the time.

    Attributes:
        translation: m after one metre.
        rotation: rad after one metre.
        turn: rad after turning by one radian.
        still_translation: m after one second.
        still_rotation: rad after one second.
        max_speed: m/s; a faster step is a jump of the odometry and is believed in as far as it
            is long, which is not at all.
    """

    translation: float = 0.05
    rotation: float = 0.05
    turn: float = 0.05
    still_translation: float = 0.002
    still_rotation: float = 0.001
    max_speed: float = 50.0


class Arrival(Enum):
    """What a new odometry pose is."""

    KEPT = 'kept'
    DENSE = 'dense'  # so close to the one before that it is left out
    LATE = 'late'  # not newer than the newest
    JUMPED = 'jumped'  # kept; faster than can be


@dataclass(frozen=True)
class OdometryPose:
    """Where the odometry was at one time.

    Attributes:
        stamp_ns: When.
        position: (3,) metres.
        orientation_xyzw: (4,) unit quaternion.
        variances: (2,) of translation (m²) and rotation (rad²), summed since the first pose.
    """

    stamp_ns: int
    position: np.ndarray
    orientation_xyzw: np.ndarray
    variances: np.ndarray


def has_moved(
    keyframe: np.ndarray, poses: np.ndarray, distance_m: float, angle_rad: float
) -> np.ndarray:
    """Tell which poses (..., 4, 4) are so far or so much turned from a keyframe (4, 4): (...)."""
    moved = difference(keyframe, poses)
    return (np.linalg.norm(moved[..., :3], axis=-1) >= angle_rad) | (
        np.linalg.norm(moved[..., 3:], axis=-1) >= distance_m
    )


class OdometryTrack:
    """All poses of one run, 80 bytes each; stamps increase."""

    def __init__(self, noise: OdometryNoise) -> None:
        self._noise = noise
        self._stamps_ns = array('q')
        self._rows = array('d')

    def __len__(self) -> int:
        """Return how many poses are kept."""
        return len(self._stamps_ns)

    @property
    def first_ns(self) -> int:
        """Stamp of the first pose."""
        return self._stamps_ns[0]

    @property
    def last_ns(self) -> int:
        """Stamp of the newest pose that is kept."""
        return self._stamps_ns[-1]

    def is_set_back(self, stamp_ns: int) -> bool:
        """Tell whether a stamp lies so far before the newest that another run has begun."""
        return len(self) > 0 and stamp_ns < self.last_ns - _JUMP_BACK_NS

    def copy(self) -> OdometryTrack:
        """Return the track as it is now, for another thread."""
        other = OdometryTrack(self._noise)
        other._stamps_ns, other._rows = self._stamps_ns[:], self._rows[:]
        return other

    def add(self, stamp_ns: int, position: np.ndarray, orientation_xyzw: np.ndarray) -> Arrival:
        """Take over a pose: position (3,) metres, unit quaternion (4,)."""
        arrival = Arrival.KEPT
        variances = np.zeros(2)
        if len(self):
            elapsed_ns = stamp_ns - self.last_ns
            if elapsed_ns <= 0:
                return Arrival.LATE
            if elapsed_ns < _MIN_INTERVAL_NS:
                return Arrival.DENSE
            last = self[len(self) - 1]
            way = float(np.linalg.norm(position - last.position))
            turn = rotation_angle(orientation_xyzw, last.orientation_xyzw)
            variances = last.variances + self._step(way, turn, elapsed_ns / NS_PER_S)
            if way > self._noise.max_speed * elapsed_ns / NS_PER_S:
                arrival = Arrival.JUMPED
                variances = variances + np.array([way**2, np.pi**2])
        self._stamps_ns.append(stamp_ns)
        self._rows.extend([*position.tolist(), *orientation_xyzw.tolist(), *variances.tolist()])
        return arrival

    def __getitem__(self, index: int) -> OdometryPose:
        """Return the pose with this number, 0 is the first."""
        row = np.array(self._rows[_COLUMNS * index : _COLUMNS * (index + 1)])
        return OdometryPose(self._stamps_ns[index], row[:3], row[3:7], row[7:])

    def gap_s(self, stamp_ns: int) -> float:
        """Seconds between the poses around a stamp, 0.0 at a pose; the stamp is in the track."""
        after = bisect_left(self._stamps_ns, stamp_ns)
        if self._stamps_ns[after] == stamp_ns:
            return 0.0
        return (self._stamps_ns[after] - self._stamps_ns[after - 1]) / NS_PER_S

    def at(self, stamp_ns: int) -> OdometryPose:
        """Interpolate at a stamp between the first and the last pose."""
        after = bisect_left(self._stamps_ns, stamp_ns)
        end = self[after]
        if end.stamp_ns == stamp_ns:
            return end
        begin = self[after - 1]
        share = (stamp_ns - begin.stamp_ns) / (end.stamp_ns - begin.stamp_ns)
        return OdometryPose(
            stamp_ns,
            begin.position + share * (end.position - begin.position),
            slerp(begin.orientation_xyzw[None], end.orientation_xyzw[None], np.array([share]))[0],
            begin.variances + share * (end.variances - begin.variances),
        )

    def keyframes(self, distance_m: float, angle_rad: float) -> list[int]:
        """Return the stamps of the first pose and of each that `has_moved` from the one before."""
        poses = self._matrices()
        found = [0] if len(poses) else []
        look = 1
        while look < len(poses):
            ahead = poses[look : look + _LOOK_AHEAD]
            moved = has_moved(poses[found[-1]], ahead, distance_m, angle_rad)
            if moved.any():
                look += int(np.argmax(moved))
                found.append(look)
                look += 1
            else:
                look += len(ahead)
        return [self._stamps_ns[i] for i in found]

    def _matrices(self) -> np.ndarray:
        rows = np.array(self._rows).reshape(-1, _COLUMNS)
        poses = np.tile(np.eye(4), (len(rows), 1, 1))
        if len(rows):
            poses[:, :3, :3] = Rotation.from_quat(rows[:, 3:7]).as_matrix()
            poses[:, :3, 3] = rows[:, :3]
        return poses

    def _step(self, way_m: float, turn_rad: float, elapsed_s: float) -> np.ndarray:
        noise = self._noise
        return np.array(
            [
                noise.translation**2 * way_m + noise.still_translation**2 * elapsed_s,
                noise.rotation**2 * way_m
                + noise.turn**2 * turn_rad
                + noise.still_rotation**2 * elapsed_s,
            ]
        )
