# SPDX-License-Identifier: Apache-2.0
"""The back end: keyframe poses from odometry and loop closures; no ROS.

`graph` is the road: odometry and closures in, decisions and a corrected trajectory out. `odometry`
keeps what was driven, `closure` says what a closure is and what became of it, `optimizer` is the
only module that knows GTSAM, `export` writes files, `simulation` makes drifted odometry and
closures from true poses.
"""
