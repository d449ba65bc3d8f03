# SPDX-License-Identifier: Apache-2.0
"""The subscription to odometry."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node

from vpr_ros.conversions import pose_from_msg, stamp_ns_from_msg
from vpr_ros.node.parameters import NodeConfig
from vpr_ros.node.sensor_state import OdometryView
from vpr_ros.node.silence import explain_other
from vpr_ros.node.topic_input import TopicInput
from vpr_ros.odometry import OdometryBuffer, OdometryPose, Placement

_TYPE = 'nav_msgs/msg/Odometry'
_DEPTH = 200  # a second of fast odometry, while something else keeps Python's lock
_THROTTLE_S = 5.0


class OdometryInput(TopicInput):
    """Keeps the last seconds of odometry and places pictures on it."""

    def __init__(self, node: Node, config: NodeConfig) -> None:
        """Prepare; `open` subscribes.

        Args:
            node: The node that subscribes.
            config: Mode and limits.
        """
        super().__init__(
            node, Odometry, node.resolve_topic_name('odom'), self._on_odometry, depth=_DEPTH
        )
        self._is_needed = config.learns
        self._is_mounted = bool(config.body_from_camera)
        self._timeout_s = config.input_timeout_s
        self._buffer = OdometryBuffer(
            max_gap_s=config.max_odom_gap_s, max_speed=config.max_odom_speed
        )
        self._frames = ('', '')
        self._received = self._refused = 0
        self._refusal = ''
        self._last_arrival_s = time.monotonic()
        self._last_break_s = self._told_break_s = -math.inf
        self._placement: Placement | None = None
        self._placements: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def frame_id(self) -> str:
        """Frame of the last odometry, '' before the first."""
        return self._frames[0]

    def open(self) -> None:
        """Subscribe."""
        self._last_arrival_s = time.monotonic()
        super().open()

    def at(self, stamp_ns: int, body_from_camera: np.ndarray | None) -> OdometryPose | None:
        """Place a picture, from any thread; None, and said in the diagnostics, if unknown."""
        placement = self._buffer.at(stamp_ns, body_from_camera)
        with self._lock:
            self._placement = placement
            self._placements[placement.code or 'placed'] += 1
        return placement.pose

    def view(self) -> OdometryView:
        """What is known, for the operator."""
        with self._lock:
            placement, placements = self._placement, dict(self._placements)
        now = time.monotonic()
        publishers = self.publishers()
        return OdometryView(
            topic=self.topic,
            is_needed=self._is_needed,
            publishers=len(publishers),
            received=self._received,
            refused=self._refused,
            refusal=self._refusal,
            frame_id=self.frame_id,
            child_frame_id=self._frames[1],
            is_mounted=self._is_mounted,
            state=self._buffer.state,
            placement=placement,
            placements=placements,
            silent_s=now - self._last_arrival_s,
            since_break_s=now - self._last_break_s,
            absence=(
                ''
                if self._received or now - self._last_arrival_s < self._timeout_s
                else explain_other(
                    self.topic, 'odom', _TYPE, publishers=publishers, topics=self.topics()
                )
            ),
        )

    def _on_odometry(self, msg: Odometry) -> None:
        self._received += 1
        self._last_arrival_s = time.monotonic()
        stamp_ns = stamp_ns_from_msg(msg.header.stamp)
        reason = self._follow_frames(msg, stamp_ns)
        try:
            reason = self._buffer.add(stamp_ns, *pose_from_msg(msg.pose.pose)) or reason
        except ValueError as error:
            self._refused += 1
            self._refusal = str(error)
            return
        self._refusal = ''
        if reason:
            self._tell_break()

    def _tell_break(self) -> None:
        self._last_break_s = time.monotonic()
        if self._last_break_s - self._told_break_s >= _THROTTLE_S:
            self._told_break_s = self._last_break_s
            self._node.get_logger().warning(f'odometry {self.view().jump}')

    def _follow_frames(self, msg: Odometry, stamp_ns: int) -> str:
        """Remember the frames; other ones are another odometry."""
        frames = (msg.header.frame_id, msg.child_frame_id)
        before, self._frames = self._frames, frames
        if before == frames or self._received == 1:
            return ''
        reason = f'its frames changed from {" to ".join(before)} to {" to ".join(frames)}'
        self._buffer.interrupt(stamp_ns, reason)
        return reason
