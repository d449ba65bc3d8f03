# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node `pose_graph`: odometry and loop closures in, a corrected path out.

`node` wires topics, timers and the worker; `worker` owns the graph; `tf_output` says map to odom.
`parameters`, `messages` and `diagnostics` know nothing of rclpy.
"""

from __future__ import annotations


def main(args: list[str] | None = None) -> int:
    """Run the node; the console script `pose_graph`."""
    from vpr_ros.pose_graph_node.node import main as run

    return run(args)
