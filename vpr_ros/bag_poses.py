# SPDX-License-Identifier: Apache-2.0
"""The trajectory that a bag recorded: odometry, poses or GNSS fixes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.bag_messages import NAV_SAT_FIX, ODOMETRY, POSE_WITH_COVARIANCE_STAMPED
from vpr_ros.bags import Bag, Topic
from vpr_ros.conversions import pose_from_msg
from vpr_ros.errors import SourceError
from vpr_ros.poses import NS_PER_S, Trajectory

_UNKNOWN_ORIENTATION = np.full(4, np.nan)
_UNIT_TOLERANCE = 0.05
_MAX_DISORDER_NS = NS_PER_S  # senders on a network overtake each other, but not by a second


@dataclass(frozen=True)
class BagPoses:
    """Poses of one topic.

    Attributes:
        topic: Its name.
        trajectory: The poses; GNSS fixes are east, north, up of `origin`, without orientations.
        skipped: Why messages were left out, and how many.
        origin: (3,) latitude, longitude (degrees, WGS 84) and altitude (m); None: not GNSS.
        frame_id: Frame of the poses; empty: the topic names none (GNSS never does).
        body_frame_id: Frame that the poses place, such as base_link or an antenna's; empty: the
            topic names none.
    """

    topic: str
    trajectory: Trajectory
    skipped: Counter[str]
    origin: np.ndarray | None = None
    frame_id: str = ''
    body_frame_id: str = ''

    def describe(self) -> str:
        """Say of what and in which frame the poses are, for people."""
        body = self.body_frame_id or 'a body that it does not name'
        frame = self.frame_id or 'a frame that it does not name'
        if self.origin is not None:
            frame = 'east, north, up'
        return f'{self.topic} has the poses of {body} in {frame}'


_Row = tuple[int, np.ndarray, np.ndarray, str, str]  # stamp, position, orientation, two frames


def read_bag_poses(bag: Bag, topic: Topic, *, origin: np.ndarray | None = None) -> BagPoses:
    """Read the trajectory of a topic.

    Args:
        bag: An open bag.
        topic: One of `POSE_TYPES`.
        origin: (3,) latitude, longitude (degrees), altitude (m) where a GNSS map has its zero;
            None: the first fix.

    Raises:
        SourceError: The bag is damaged, the clock jumped back, the frame changed, or no message
            can be used.
    """
    skipped: Counter[str] = Counter()
    read = _fixes if topic.msgtype == NAV_SAT_FIX else _poses
    rows = list(read(bag, topic, skipped))
    if not rows:
        reasons = ', '.join(f'{count} {reason}' for reason, count in skipped.items())
        raise SourceError(f'{bag.path}: {topic.name} has no usable pose ({reasons or "empty"})')
    stamps_ns = np.array([row[0] for row in rows], np.int64)
    positions = np.array([row[1] for row in rows], np.float64)
    orientations = np.array([row[2] for row in rows], np.float64)
    _check_clock(bag, topic, stamps_ns)
    frame_id = _the_one(bag, topic, 'frames', [row[3] for row in rows])
    body_frame_id = _the_one(bag, topic, 'bodies', [row[4] for row in rows])
    stamps_ns, first = np.unique(stamps_ns, return_index=True)
    if len(first) < len(rows):
        skipped['with a stamp seen before'] += len(rows) - len(first)
    positions, orientations = positions[first], orientations[first]
    if topic.msgtype == NAV_SAT_FIX:
        from vpr_ros.geodesy import enu_from_geodetic

        origin = positions[0].copy() if origin is None else np.asarray(origin, np.float64)
        positions = enu_from_geodetic(positions, origin)
    else:
        origin = None
    return BagPoses(
        topic.name,
        Trajectory(stamps_ns, positions, orientations),
        skipped,
        origin,
        frame_id,
        body_frame_id,
    )


def _poses(bag: Bag, topic: Topic, skipped: Counter[str]) -> Iterator[_Row]:
    has_covariance = topic.msgtype in (ODOMETRY, POSE_WITH_COVARIANCE_STAMPED)
    for stamp_ns, msg in bag.messages(topic):
        pose = msg.pose.pose if has_covariance else msg.pose
        position, quaternion = pose_from_msg(pose)
        orientation = _orientation(quaternion)
        if orientation is None:
            skipped['without a unit quaternion'] += 1
        elif not np.isfinite(position).all():
            skipped['not finite'] += 1
        else:
            body = msg.child_frame_id if topic.msgtype == ODOMETRY else ''
            yield stamp_ns, position, orientation, _tf2(msg.header.frame_id), _tf2(body)


def _fixes(bag: Bag, topic: Topic, skipped: Counter[str]) -> Iterator[_Row]:
    for stamp_ns, msg in bag.messages(topic):
        fix = np.array([msg.latitude, msg.longitude, msg.altitude])
        if msg.status.status < 0:
            skipped['without a fix'] += 1
        elif not np.isfinite(fix).all():
            skipped['not finite'] += 1
        elif abs(fix[0]) > 90 or abs(fix[1]) > 180:
            skipped['off the globe'] += 1
        else:
            yield stamp_ns, fix, _UNKNOWN_ORIENTATION, '', _tf2(msg.header.frame_id)


def _orientation(quaternion: np.ndarray) -> np.ndarray | None:
    """Return it as a unit; NaN if the sender left it unset (all zero), None if it is wrong."""
    norm = np.linalg.norm(quaternion)
    if norm == 0:
        return _UNKNOWN_ORIENTATION
    return quaternion / norm if abs(norm - 1) <= _UNIT_TOLERANCE else None


def _tf2(frame_id: str) -> str:
    """Drop the slash that frames of ROS 1 began with; tf2 refuses it."""
    return frame_id.removeprefix('/')


def _the_one(bag: Bag, topic: Topic, what: str, names: Sequence[str]) -> str:
    """Refuse poses in two frames, or of two bodies: they are no one trajectory."""
    other = next((i for i, name in enumerate(names) if name != names[0]), None)
    if other is not None:
        raise SourceError(
            f'{bag.path}: {topic.name} mixes the {what} {names[0]!r} and {names[other]!r} (from '
            f'usable pose {other} on); split the recording there, or choose another topic'
        )
    return names[0]


def _check_clock(bag: Bag, topic: Topic, stamps_ns: np.ndarray) -> None:
    """Refuse a recording that spans a restart: two drives would be woven into one."""
    backwards = stamps_ns - np.maximum.accumulate(stamps_ns)
    worst = int(np.argmin(backwards))
    if backwards[worst] < -_MAX_DISORDER_NS:
        raise SourceError(
            f'{bag.path}: the stamps of {topic.name} jump back by '
            f'{-backwards[worst] / NS_PER_S:.1f} s at message {worst} (simulation restarted, or a '
            'bag played in a loop?); split the recording there'
        )
