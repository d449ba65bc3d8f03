# SPDX-License-Identifier: Apache-2.0
"""The parameters of the adapters, all fixed while they run; no rclpy.

`python -m vpr_ros.adapters.parameters` prints the tables of docs/slam.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from vpr_ros.adapters.rtabmap import LinkConfig
from vpr_ros.node_common.declared import markdown_table, of_fields
from vpr_ros.node_common.mounting import MountedCameras
from vpr_ros.pose_graph.graph import PoseGraphConfig
from vpr_ros.pose_graph_node.inputs import OdometryAndClosures
from vpr_ros.settings import setting


@dataclass(frozen=True)
class RtabmapConfig(OdometryAndClosures):
    """Parameters of `rtabmap_links`."""

    max_way_m: float = setting(
        LinkConfig.max_way_m,
        'A picture further from the nearest node of RTAB-Map, by odometry, is not linked, m',
        range=(0.0, 100.0),
    )
    node_wait_s: float = setting(
        LinkConfig.node_wait_s,
        "Seconds that a closure waits for RTAB-Map's node after its query",
        range=(0.0, 600.0),
    )
    diagnostics_period_s: float = setting(
        1.0, 'Seconds between messages on /diagnostics', range=(0.1, 60.0)
    )

    @property
    def links(self) -> LinkConfig:
        """The same for the core."""
        return LinkConfig(
            max_way_m=self.max_way_m,
            max_odom_gap_s=self.max_odom_gap_s,
            node_wait_s=self.node_wait_s,
            odometry=self.odometry_noise,
            closure=self.closure_noise,
        )


@dataclass(frozen=True)
class InitialPoseConfig(MountedCameras):
    """Parameters of `initial_pose`."""

    map_poses_of: str = setting(
        'camera',
        "What the poses of the localizer's map are of: the camera, or the body (a map from "
        'odometry or a pose topic), which needs no moving',
        choices=('camera', 'body'),
    )
    max_age_s: float = setting(
        2.0, 'Seconds by which the newest verified pose may be old', range=(0.0, 3600.0)
    )


@dataclass(frozen=True)
class RecorderConfig(OdometryAndClosures):
    """Parameters of `closure_recorder`."""

    file: str = setting('', 'CSV file that closures are appended to; must be set')
    g2o_file: str = setting('', 'File that ~/save_g2o writes; empty: ~/save_g2o refuses')
    keyframe_distance_m: float = setting(
        PoseGraphConfig.keyframe_distance_m, 'A vertex after so many metres', range=(0.001, 1000.0)
    )
    keyframe_angle_rad: float = setting(
        PoseGraphConfig.keyframe_angle_rad, 'or after so much turn', range=(0.001, 3.2)
    )
    flush_period_s: float = setting(
        1.0, 'Seconds between flushes to the disk', range=(0.05, 600.0)
    )


PARAMETERS = {
    executable: {p.name: p for p in of_fields(config, read_only=True)}
    for executable, config in {
        'rtabmap_links': RtabmapConfig,
        'initial_pose': InitialPoseConfig,
        'closure_recorder': RecorderConfig,
    }.items()
}

if __name__ == '__main__':
    for executable, parameters in PARAMETERS.items():
        sys.stdout.write(
            f'### `{executable}`\n\n' + '\n'.join(markdown_table(parameters)) + '\n\n'
        )
