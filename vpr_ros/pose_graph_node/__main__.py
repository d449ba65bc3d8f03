# SPDX-License-Identifier: Apache-2.0
"""`python -m vpr_ros.pose_graph_node --ros-args …` is the installed executable `pose_graph`."""

import sys

from vpr_ros.pose_graph_node.node import main

sys.exit(main())
