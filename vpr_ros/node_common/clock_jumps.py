# SPDX-License-Identifier: Apache-2.0
"""Tell a node when its clock jumps back, as it does when a bag starts again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import JumpHandle, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node

_BACKWARD = Duration(seconds=-0.1)  # /clock may come a little out of order


def on_jump_back(node: Node, callback: Callable[[Any], None]) -> JumpHandle:
    """Call back after each jump of the node's clock; hold on to the handle as long as wanted."""
    return node.get_clock().create_jump_callback(
        JumpThreshold(min_forward=None, min_backward=_BACKWARD, on_clock_change=False),
        post_callback=callback,
    )
