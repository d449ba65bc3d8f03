# SPDX-License-Identifier: Apache-2.0
"""Verified closures, carried to other systems; each adapter is a small node of its own.

| executable | takes closures to | core | node |
|---|---|---|---|
| `rtabmap_links` | RTAB-Map's `add_link` | `rtabmap` | `rtabmap_node` |
| `initial_pose` | `initialpose` (AMCL, Nav2) | `initial_pose` | `initial_pose_node` |
| `closure_recorder` | a CSV and a g2o file | `closure_file`, `raw_graph` | `recorder_node` |

The cores know neither rclpy nor a message. They and the nodes are a reference for wiring vpr_ros
to anything else: docs/slam.md.
"""
