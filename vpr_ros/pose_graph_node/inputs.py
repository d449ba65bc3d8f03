# SPDX-License-Identifier: Apache-2.0
"""The parameters of every node that takes odometry and closures; no rclpy."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_ros.node_common.mounting import MountedCameras
from vpr_ros.pose_graph.graph import PoseGraphConfig
from vpr_ros.pose_graph.odometry import OdometryNoise
from vpr_ros.pose_graph.optimizer import ClosureNoise
from vpr_ros.settings import setting

NOISE = (0.0, 100.0)
FLOOR = (1e-4, 100.0)


@dataclass(frozen=True)
class OdometryAndClosures(MountedCameras):
    """How both come, and how much they err."""

    odom_reliability: str = setting(
        'reliable',
        'QoS reliability of the odometry; best_effort for publishers that offer no more',
        choices=('reliable', 'best_effort'),
    )
    max_odom_gap_s: float = setting(
        PoseGraphConfig.max_odom_gap_s,
        'Seconds between two odometry poses within which a picture is still placed',
        range=(0.001, 60.0),
    )
    odom_translation_noise: float = setting(
        OdometryNoise.translation, 'Error of odometry after one metre, m', range=NOISE
    )
    odom_rotation_noise: float = setting(
        OdometryNoise.rotation, 'Error of odometry after one metre, rad', range=NOISE
    )
    odom_turn_noise: float = setting(
        OdometryNoise.turn, 'Error of odometry after turning by 1 rad, rad', range=NOISE
    )
    closure_translation_noise: float = setting(
        ClosureNoise.translation, 'Added to what closures say of themselves, m', range=FLOOR
    )
    closure_rotation_noise: float = setting(
        ClosureNoise.rotation, 'Added to what closures say of themselves, rad', range=FLOOR
    )

    @property
    def odometry_noise(self) -> OdometryNoise:
        """The same for the core."""
        return OdometryNoise(
            translation=self.odom_translation_noise,
            rotation=self.odom_rotation_noise,
            turn=self.odom_turn_noise,
        )

    @property
    def closure_noise(self) -> ClosureNoise:
        """The same for the core."""
        return ClosureNoise(
            translation=self.closure_translation_noise, rotation=self.closure_rotation_noise
        )
