# SPDX-License-Identifier: Apache-2.0
"""The transform from map to odom, through tf2_ros, or on /tf where there is only tf2_msgs.

The ROS 2 wheels of PyPI have neither; every ROS distribution has both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import TransformStamped

from vpr_ros.node_common.declared import ParameterError

if TYPE_CHECKING:
    from rclpy.node import Node


def make_broadcaster(node: Node) -> Callable[[TransformStamped], None]:
    """Return what publishes a transform.

    Raises:
        ParameterError: Neither tf2_ros nor tf2_msgs is installed.
    """
    try:
        from tf2_ros import TransformBroadcaster
    except ImportError:
        return _on_topic(node)
    send: Callable[[TransformStamped], None] = TransformBroadcaster(node).sendTransform
    return send


def _on_topic(node: Node) -> Callable[[TransformStamped], None]:
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError as error:
        raise ParameterError(
            f'publish_tf: needs tf2_ros or tf2_msgs, and neither is installed ({error}): the ROS '
            'wheels of PyPI do not have them; source a ROS distribution (apt install '
            'ros-$ROS_DISTRO-tf2-ros), or leave publish_tf false and use ~/path'
        ) from error
    publisher: Any = node.create_publisher(TFMessage, '/tf', 100)
    return lambda transform: publisher.publish(TFMessage(transforms=[transform]))
