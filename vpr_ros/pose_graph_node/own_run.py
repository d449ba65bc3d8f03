# SPDX-License-Identifier: Apache-2.0
"""Which closures join two pictures of this run; no rclpy.

Stamps alone do not say it: under simulated time those of a loaded map may lie within the run.
"""

from __future__ import annotations

from vpr_msgs.msg import LoopClosure

_UNNAMED = 'odom'  # what the localizer calls the frame of an odometry without one
_MAX_EARLY = 1000


class OwnRun:
    """Knows the frame of the odometry, which is that of all that is learnt on this run."""

    def __init__(self) -> None:
        """Begin without odometry."""
        self._frame_id = ''
        self._early: list[LoopClosure] = []

    @property
    def num_early(self) -> int:
        """Closures that wait for the first odometry."""
        return len(self._early)

    def forget(self) -> None:
        """Let go of the closures that wait: another run has begun."""
        self._early.clear()

    def see(self, odom_frame_id: str) -> list[LoopClosure]:
        """Take over the frame of an odometry; returns the closures that waited for it."""
        self._frame_id = odom_frame_id or _UNNAMED
        early, self._early = self._early, []
        return early

    def keep(self, msg: LoopClosure) -> bool:
        """Keep a closure until odometry has come; False: nothing to wait for, or no room."""
        if self._frame_id or len(self._early) >= _MAX_EARLY:
            return False
        self._early.append(msg)
        return True

    def refusal(self, msg: LoopClosure) -> str:
        """Say why a closure is not of this run, '' if it is; counted, not logged."""
        if not self._frame_id:
            return 'no odometry has come, and too many closures wait for it'
        if msg.map_frame_id != self._frame_id:
            return f'of another map: {msg.map_frame_id!r} is not {self._frame_id!r}, the odometry'
        return ''
