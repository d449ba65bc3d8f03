# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node `localizer`: the only package that imports rclpy.

`localizer` wires topics, services and lifecycle; what they call lives beside it, small and
without rclpy: `engine` (model, map, recognition), `parameters`, `mailbox`, `statistics`,
`messages`, `markers`, `debug_image`, `diagnostics`, `silence` (why no picture arrives).
"""

from vpr_ros.node.localizer import main

__all__ = ['main']
