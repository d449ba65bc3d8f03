# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node `pose_graph`, all fixed while it runs; no rclpy.

`python -m vpr_ros.pose_graph_node.parameters` prints the table of docs/pose_graph.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from vpr_ros.node_common.declared import markdown_table, of_fields
from vpr_ros.pose_graph.graph import PoseGraphConfig
from vpr_ros.pose_graph.odometry import OdometryNoise
from vpr_ros.pose_graph.optimizer import ClosureNoise
from vpr_ros.pose_graph_node.inputs import FLOOR, NOISE, OdometryAndClosures
from vpr_ros.settings import setting

_SHARE = (0.5, 0.999999)
STATUSES = ('verified', 'consistent', 'candidate')


@dataclass(frozen=True)
class NodeConfig(OdometryAndClosures):
    """What the user sets."""

    map_frame_id: str = setting('map', 'Frame of the corrected path')
    min_status: str = setting(
        'verified',
        'Least checked status of a closure that is used; below verified, closures without a '
        'relative pose count as near that place',
        choices=STATUSES,
    )
    keyframe_distance_m: float = setting(
        PoseGraphConfig.keyframe_distance_m, 'A node after so many metres', range=(0.001, 1000.0)
    )
    keyframe_angle_rad: float = setting(
        PoseGraphConfig.keyframe_angle_rad, 'or after so much turn', range=(0.001, 3.2)
    )
    stamp_tolerance_s: float = setting(
        PoseGraphConfig.stamp_tolerance_s,
        'Seconds before the first odometry pose that are taken for it',
        range=(0.0, 60.0),
    )
    closure_wait_s: float = setting(
        PoseGraphConfig.closure_wait_s,
        'Seconds that a closure may be ahead of odometry',
        range=(0.0, 3600.0),
    )
    gate: float = setting(
        PoseGraphConfig.gate,
        'Probability with which a right closure agrees with odometry alone',
        range=_SHARE,
    )
    confidence: float = setting(
        PoseGraphConfig.confidence,
        'Probability with which a right closure agrees with the others',
        range=_SHARE,
    )
    odom_still_translation_noise: float = setting(
        OdometryNoise.still_translation, 'Error of odometry after one second, m', range=NOISE
    )
    odom_still_rotation_noise: float = setting(
        OdometryNoise.still_rotation, 'Error of odometry after one second, rad', range=NOISE
    )
    odom_max_speed: float = setting(
        OdometryNoise.max_speed,
        'A step of odometry that is faster, m/s, is a jump and not believed',
        range=(0.1, 1000.0),
    )
    place_radius: float = setting(
        ClosureNoise.place_radius,
        'How near a closure without a relative pose is, m (standard deviation)',
        range=FLOOR,
    )
    update_period_s: float = setting(
        0.5, 'Seconds between two optimisations, when something has come', range=(0.01, 60.0)
    )
    diagnostics_period_s: float = setting(
        1.0, 'Seconds between messages on /diagnostics', range=(0.1, 60.0)
    )
    publish_tf: bool = setting(
        False, 'Publish the transform from the map frame to that of the odometry'
    )
    tf_period_s: float = setting(0.05, 'Seconds between transforms', range=(0.01, 10.0))
    tf_tolerance_s: float = setting(
        0.1, 'Seconds by which a transform is dated ahead', range=(0.0, 10.0)
    )
    save_folder: str = setting('', 'Folder that ~/save writes and replaces; empty: ~/save refuses')

    @property
    def graph(self) -> PoseGraphConfig:
        """The same for the core."""
        return PoseGraphConfig(
            keyframe_distance_m=self.keyframe_distance_m,
            keyframe_angle_rad=self.keyframe_angle_rad,
            max_odom_gap_s=self.max_odom_gap_s,
            stamp_tolerance_s=self.stamp_tolerance_s,
            closure_wait_s=self.closure_wait_s,
            gate=self.gate,
            confidence=self.confidence,
            odometry=replace(
                self.odometry_noise,
                still_translation=self.odom_still_translation_noise,
                still_rotation=self.odom_still_rotation_noise,
                max_speed=self.odom_max_speed,
            ),
            closure=replace(self.closure_noise, place_radius=self.place_radius),
        )


PARAMETERS = {p.name: p for p in of_fields(NodeConfig, read_only=True)}

if __name__ == '__main__':
    sys.stdout.write('\n'.join(markdown_table(PARAMETERS)) + '\n')
