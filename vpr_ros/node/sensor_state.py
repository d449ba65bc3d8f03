# SPDX-License-Identifier: Apache-2.0
"""What odometry and camera_info lack, in sentences for the operator; no rclpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpr_ros.odometry import OdometryState, Placement

_JUMP_SHOWN_S = 30.0  # so long a jump stays a warning


@dataclass(frozen=True)
class OdometryView:
    """What is known about odometry.

    Attributes:
        topic: Full name of its topic.
        is_needed: Whether the mode learns keyframes, which want odometry.
        publishers: How many publish on the topic.
        received: Messages so far.
        refused: Of these, without a pose.
        refusal: Why the last message was refused, '' if it was not.
        frame_id: Frame of the poses.
        child_frame_id: What they are poses of.
        is_mounted: Whether it is known where the cameras are on the body.
        state: Of the buffer.
        placement: Of the last picture; None before the first.
        placements: Reason code to pictures; `placed` for those with a pose.
        silent_s: Seconds since the last message, or since the subscription.
        since_break_s: Seconds since the last interruption, by the clock on the wall; inf: none.
        absence: Why nothing comes and what to do, '' if something came or is not yet due.
    """

    topic: str
    is_needed: bool
    publishers: int
    received: int
    refused: int
    refusal: str
    frame_id: str
    child_frame_id: str
    is_mounted: bool
    state: OdometryState
    placement: Placement | None
    placements: Mapping[str, int]
    silent_s: float
    since_break_s: float
    absence: str

    @property
    def problem(self) -> tuple[str, str]:
        """A name and a sentence for what is wrong, both '' if nothing is."""
        if self.refusal:
            return 'refused', f'refused: a message on {self.topic}: {self.refusal}'
        if self.absence and self.is_needed:
            return 'missing', (
                f'missing: no odometry on {self.topic}: {self.absence}; without it keyframes are '
                'chosen by how pictures change, and what is learnt has no positions'
            )
        code = self.placement.code if self.placement is not None else ''
        if self.placement is not None and code in ('lagging', 'gap', 'before'):
            return code, (
                f'{self.placement.reason}; the last message on {self.topic} came '
                f'{self.silent_s:.1f} s ago: {_REMEDIES[code]}'
            )
        if self.since_break_s < _JUMP_SHOWN_S:
            return 'jumped', self.jump
        if self.is_needed and self.received and not self.is_mounted:
            return 'unmounted', (
                f'unmounted: body_from_camera is not set: {self.topic} serves for distances '
                'alone, and what is learnt has no positions'
            )
        return '', ''

    @property
    def jump(self) -> str:
        """What the last interruption was."""
        turns = ''
        if self.publishers > 1:
            turns = f'; {self.publishers} publishers take turns on {self.topic}: leave one'
        return (
            f'jumped: {self.state.break_reason}; {self.state.drive} interruptions of '
            f'{self.topic} so far, poses before and after are not joined{turns}'
        )

    @property
    def summary(self) -> str:
        """One sentence for when nothing is wrong."""
        if not self.received:
            return f'none on {self.topic}; mode localize works without'
        mounted = 'placed' if self.is_mounted else 'distances only: body_from_camera is not set'
        rate = 1 / self.state.period_s if self.state.period_s > 0 else math.nan
        return f'{rate:.1f} poses per second, {mounted}'

    @property
    def values(self) -> dict[str, Any]:
        """Keys and values of the diagnostics."""
        lag_s = self.placement.lag_s if self.placement is not None else math.nan
        return {
            'topic': self.topic,
            'publishers': self.publishers,
            'received': self.received,
            'refused': self.refused,
            'seconds since the last': self.silent_s,
            'period s': self.state.period_s,
            'behind the last picture s': lag_s,
            'frame': self.frame_id,
            'child frame': self.child_frame_id,
            'camera on the body': 'known' if self.is_mounted else 'unknown',
            'interruptions': self.state.drive,
            'last interruption': self.state.break_reason,
            'last interruption, stamp s': (
                math.nan if self.state.break_ns is None else f'{self.state.break_ns * 1e-9:.3f}'
            ),
            **{f'pictures {code}': n for code, n in sorted(self.placements.items())},
        }


_REMEDIES = {
    'lagging': 'raise its rate, synchronise the clocks, or see why it stopped',
    'gap': 'see why it pauses, or raise max_odom_gap_s',
    'before': 'synchronise the clocks of camera and odometry',
}


@dataclass(frozen=True)
class CameraInfoView:
    """What is known about one camera's intrinsics.

    Attributes:
        camera: Its name, '' for a single unnamed one.
        topic: Full name of the topic.
        publishers: How many publish on it.
        received: Messages so far.
        refusal: Why the last message does not serve, `code: sentence`; '' if it does.
        size: Of the calibration, `640x480`.
        absence: Why nothing comes and what to do, '' if something came or is not yet due.
    """

    camera: str
    topic: str
    publishers: int
    received: int
    refusal: str
    size: str
    absence: str

    @property
    def problem(self) -> tuple[str, str]:
        """A name and a sentence for what is wrong, both '' if nothing is."""
        if self.absence:
            return 'missing', (
                f'missing: no camera_info on {self.topic}: {self.absence}; without it closures '
                'have no relative pose'
            )
        if self.refusal:
            code, _, sentence = self.refusal.partition(': ')
            return code, f'{code}: {self.topic}: {sentence}; without it there is no relative pose'
        return '', ''

    @property
    def values(self) -> dict[str, Any]:
        """Keys and values of the diagnostics."""
        return {
            'topic': self.topic,
            'publishers': self.publishers,
            'received': self.received,
            'size': self.size,
        }
