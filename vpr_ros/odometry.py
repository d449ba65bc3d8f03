# SPDX-License-Identifier: Apache-2.0
"""Where odometry was when a picture was taken, or why that is not known."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.poses import NS_PER_S, SWAPPED_NS, checked_pose, rotation_angle, slerp

MAX_GAP_S = 0.5
MAX_SPEED = 50.0
_KEEP_NS = 20 * NS_PER_S  # pictures are never that late
_DENSE_NS = 5_000_000  # poses closer than this add nothing
_RESTART_NS = 2 * NS_PER_S  # no odometry restarts faster, and a restarted one begins anew
_SHORTEST_S = 0.01  # stamps jitter: a speed is not measured over less
_MAX_TURN_RATE = 20.0  # rad/s; drones and hands turn at 10 at most
_BRIDGED_S = 0.05  # pictures overtake the odometry of the same moment by that much
_BRIDGED_PERIODS = 1.5  # the next pose is due after one; messages jitter
_PERIODS = 10  # measured over so many intervals


@dataclass(frozen=True)
class OdometryPose:
    """Where odometry says that a camera, or its carrier, was.

    Attributes:
        position: (3,) float64, metres, in the odometry frame.
        orientation_xyzw: (4,) float64, unit quaternion.
        of_camera: True: of the camera's optical frame. False: of the body, because it is not
            known how the camera is mounted; good for distances only.
        drive: Number of the uninterrupted piece of odometry; poses of two drives are not in one
            frame.
    """

    position: np.ndarray
    orientation_xyzw: np.ndarray
    of_camera: bool
    drive: int

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4) float64, from the camera (or the body) to the odometry frame."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(self.orientation_xyzw).as_matrix()
        matrix[:3, 3] = self.position
        return matrix


@dataclass(frozen=True)
class Placement:
    """A stamp on the odometry.

    Attributes:
        pose: Where; None if that is not known.
        reason: '' with a pose, else `code: sentence`, with code missing, lagging, gap or before.
        lag_s: Seconds from the newest odometry to the stamp; negative where there is newer,
            NaN without any.
    """

    pose: OdometryPose | None
    reason: str
    lag_s: float

    @property
    def code(self) -> str:
        """The code of the reason, '' with a pose."""
        return self.reason.partition(':')[0]


@dataclass(frozen=True)
class OdometryState:
    """What has come so far.

    Attributes:
        newest_ns: Stamp of the newest pose; None before the first.
        period_s: Seconds between poses, median of the last few; NaN before the second.
        drive: Number of the current drive; so often the odometry was interrupted.
        break_ns: Stamp at which the current drive began; None in the first.
        break_reason: Why it began, '' in the first.
    """

    newest_ns: int | None
    period_s: float
    drive: int
    break_ns: int | None
    break_reason: str


@dataclass(frozen=True)
class _Row:
    position: np.ndarray
    orientation_xyzw: np.ndarray
    drive: int


class OdometryBuffer:
    """The last seconds of odometry; safe between threads, bounded in memory."""

    def __init__(self, *, max_gap_s: float = MAX_GAP_S, max_speed: float = MAX_SPEED) -> None:
        """Begin empty.

        Args:
            max_gap_s: Between two poses further apart in time nothing is placed, seconds.
            max_speed: A faster step is a jump, m/s.
        """
        self._max_gap_ns = round(max_gap_s * NS_PER_S)
        self._max_speed = max_speed
        self._stamps_ns: list[int] = []
        self._rows: list[_Row] = []
        self._drive = 0
        self._break_ns: int | None = None
        self._break_reason = ''
        self._lock = threading.Lock()

    @property
    def state(self) -> OdometryState:
        """What has come so far."""
        with self._lock:
            return OdometryState(
                newest_ns=self._stamps_ns[-1] if self._stamps_ns else None,
                period_s=self._period_s(),
                drive=self._drive,
                break_ns=self._break_ns,
                break_reason=self._break_reason,
            )

    def add(self, stamp_ns: int, position: np.ndarray, orientation_xyzw: np.ndarray) -> str:
        """Take over the pose of the body.

        Args:
            stamp_ns: Its stamp, nanoseconds.
            position: (3,) metres.
            orientation_xyzw: (4,) quaternion of length 1.

        Returns:
            Why a new drive begins with this pose, '' if none does.

        Raises:
            ValueError: No pose: not finite, or no rotation.
        """
        position, orientation_xyzw = checked_pose(position, orientation_xyzw)
        with self._lock:
            if self._is_late(stamp_ns):
                return ''
            reason = self._interruption(stamp_ns, position, orientation_xyzw)
            if reason:
                self._begin_drive(stamp_ns, reason)
            self._forget_before(stamp_ns - _KEEP_NS)
            if self._is_dense(stamp_ns):
                del self._stamps_ns[-1], self._rows[-1]
            self._stamps_ns.append(stamp_ns)
            self._rows.append(_Row(position, orientation_xyzw, self._drive))
            return reason

    def interrupt(self, stamp_ns: int, reason: str) -> None:
        """Begin a new drive with the next pose, because of something that poses do not show."""
        with self._lock:
            self._begin_drive(stamp_ns, reason)

    def at(self, stamp_ns: int, body_from_camera: np.ndarray | None = None) -> Placement:
        """Place a stamp, without waiting for what may still come.

        Pictures often arrive before the odometry of the same moment. A lag of up to 50 ms, or
        one and a half periods of the odometry, is bridged by carrying on the last motion: a car
        at 15 m/s that brakes hard (8 m/s²) is then 0.08 m off after 0.1 s, where its last pose
        alone would be 1.4 m off. The motion is measured over at least as long as it is carried
        on, so that the noise of single poses is not multiplied.

        Args:
            stamp_ns: The picture's stamp, nanoseconds.
            body_from_camera: (4, 4) pose of the camera's optical frame (z ahead, x right) in the
                body's frame, metres; None: unknown, the body itself is placed.
        """
        with self._lock:
            found = self._locate(stamp_ns)
            lag_s = (stamp_ns - self._stamps_ns[-1]) / NS_PER_S if self._stamps_ns else math.nan
        if isinstance(found, str):
            return Placement(None, found, lag_s)
        return Placement(_placed(found, body_from_camera), '', lag_s)

    def _locate(self, stamp_ns: int) -> _Row | str:
        """Return the body's pose, or why there is none."""
        stamps, rows = self._stamps_ns, self._rows
        if not stamps:
            return 'missing: no odometry has come'
        if stamp_ns > stamps[-1]:
            return self._carried_on(stamp_ns)
        after = bisect_left(stamps, stamp_ns)
        if stamps[after] == stamp_ns:
            return rows[after]
        if after == 0:
            early_s = (stamps[0] - stamp_ns) / NS_PER_S
            return f'before: the picture is {early_s:.3f} s older than the oldest odometry kept'
        return self._inside(stamp_ns, after)

    def _inside(self, stamp_ns: int, after: int) -> _Row | str:
        """Interpolate between the poses before and after."""
        begin, end = self._rows[after - 1], self._rows[after]
        gap_ns = self._stamps_ns[after] - self._stamps_ns[after - 1]
        if begin.drive != end.drive:
            return f'gap: {gap_ns / NS_PER_S:.3f} s around the picture, where odometry jumped'
        if gap_ns > self._max_gap_ns:
            return (
                f'gap: no odometry for {gap_ns / NS_PER_S:.3f} s around the picture, more than '
                f'{self._max_gap_ns / NS_PER_S:g} s'
            )
        return _between(begin, end, (stamp_ns - self._stamps_ns[after - 1]) / gap_ns)

    def _carried_on(self, stamp_ns: int) -> _Row | str:
        stamps, rows = self._stamps_ns, self._rows
        newest_ns, newest = stamps[-1], rows[-1]
        ahead_ns = stamp_ns - newest_ns
        if ahead_ns > self._bridged_ns():
            return (
                f'lagging: the newest odometry is {ahead_ns / NS_PER_S:.3f} s older than the '
                f'picture, more than {self._bridged_ns() / NS_PER_S:.3f} s'
            )
        if newest.drive != self._drive:
            return 'gap: odometry was interrupted and has not come since'
        base = bisect_right(stamps, newest_ns - ahead_ns) - 1
        if base < 0 or rows[base].drive != newest.drive:
            return newest
        span_ns = newest_ns - stamps[base]
        if span_ns > max(self._max_gap_ns, ahead_ns):
            return newest
        return _between(rows[base], newest, 1 + ahead_ns / span_ns)

    def _bridged_ns(self) -> int:
        period_s = self._period_s()
        periods_s = 0.0 if math.isnan(period_s) else _BRIDGED_PERIODS * period_s
        return min(round(max(_BRIDGED_S, periods_s) * NS_PER_S), self._max_gap_ns)

    def _period_s(self) -> float:
        last = self._stamps_ns[-_PERIODS - 1 :]
        return float(np.median(np.diff(last))) / NS_PER_S if len(last) > 1 else math.nan

    def _is_late(self, stamp_ns: int) -> bool:
        """Whether a pose is only swapped with its neighbours, or came twice."""
        return bool(self._stamps_ns) and 0 <= self._stamps_ns[-1] - stamp_ns <= SWAPPED_NS

    def _is_dense(self, stamp_ns: int) -> bool:
        """Whether the newest pose can be replaced without a loss."""
        if len(self._rows) < 2 or not self._rows[-1].drive == self._rows[-2].drive == self._drive:
            return False
        return stamp_ns - self._stamps_ns[-2] < _DENSE_NS

    def _interruption(self, stamp_ns: int, position: np.ndarray, orientation: np.ndarray) -> str:
        """Why a pose is not in one frame with the one before it, '' if it is."""
        if not self._stamps_ns:
            return ''
        elapsed_ns, last = stamp_ns - self._stamps_ns[-1], self._rows[-1]
        if elapsed_ns < 0:
            return f'its stamps went back by {-elapsed_ns / NS_PER_S:.3f} s'
        if last.drive != self._drive:
            return ''
        if elapsed_ns > max(_RESTART_NS, self._max_gap_ns):
            return f'it was silent for {elapsed_ns / NS_PER_S:.3f} s'
        way_m = float(np.linalg.norm(position - last.position))
        turn_rad = rotation_angle(orientation, last.orientation_xyzw)
        elapsed_s = max(elapsed_ns / NS_PER_S, _SHORTEST_S)
        if way_m > self._max_speed * elapsed_s or turn_rad > _MAX_TURN_RATE * elapsed_s:
            return (
                f'it moved {way_m:.2f} m and turned {math.degrees(turn_rad):.1f}° within '
                f'{elapsed_ns / NS_PER_S:.3f} s'
            )
        return ''

    def _begin_drive(self, stamp_ns: int, reason: str) -> None:
        self._drive += 1
        self._break_ns, self._break_reason = stamp_ns, reason
        if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
            self._stamps_ns.clear()
            self._rows.clear()

    def _forget_before(self, stamp_ns: int) -> None:
        # Not at every pose, for that moves the whole list.
        if self._stamps_ns and self._stamps_ns[0] < stamp_ns - _KEEP_NS:
            first = bisect_left(self._stamps_ns, stamp_ns)
            del self._stamps_ns[:first], self._rows[:first]


def _between(begin: _Row, end: _Row, share: float) -> _Row:
    """Interpolate, or with a share above 1 carry on."""
    orientation = slerp(
        begin.orientation_xyzw[None], end.orientation_xyzw[None], np.array([share])
    )[0]
    position = begin.position + share * (end.position - begin.position)
    return _Row(position, orientation, end.drive)


def _placed(body: _Row, body_from_camera: np.ndarray | None) -> OdometryPose:
    if body_from_camera is None:
        return OdometryPose(body.position, body.orientation_xyzw, False, body.drive)
    odom_from_body = Rotation.from_quat(body.orientation_xyzw)
    turn = Rotation.from_matrix(body_from_camera[:3, :3])
    return OdometryPose(
        position=body.position + odom_from_body.apply(body_from_camera[:3, 3]),
        orientation_xyzw=(odom_from_body * turn).as_quat(),
        of_camera=True,
        drive=body.drive,
    )
