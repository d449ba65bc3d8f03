# SPDX-License-Identifier: Apache-2.0
"""The node `initial_pose`: the newest verified pose to AMCL and Nav2, when it is asked for."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from std_srvs.srv import Trigger
from vpr_msgs.msg import LoopClosure

from vpr_ros.adapters.initial_pose import MapPose, VerifiedPoses, of_base
from vpr_ros.adapters.messages import initial_pose_msg, map_pose, why_not_metric
from vpr_ros.adapters.parameters import PARAMETERS, InitialPoseConfig
from vpr_ros.conversions import stamp_ns_from_msg
from vpr_ros.node_common.clock_jumps import on_jump_back
from vpr_ros.node_common.declared import config_of, declare
from vpr_ros.node_common.mounting import Mountings, UnknownCameraError
from vpr_ros.node_common.running import run_node


class InitialPose(Node):
    """Answers ~/send_initialpose."""

    def __init__(self) -> None:
        """Declare everything.

        Raises:
            ParameterError: The parameter file or the command line is wrong.
        """
        super().__init__('initial_pose')
        self._config: InitialPoseConfig = config_of(
            InitialPoseConfig, declare(self, PARAMETERS['initial_pose'])
        )
        self._mountings = Mountings(self._config)
        self._poses = VerifiedPoses()
        self._publisher = self.create_publisher(PoseWithCovarianceStamped, 'initialpose', 1)
        self.create_subscription(PoseWithCovarianceStamped, 'localizer/pose', self._on_pose, 100)
        self.create_subscription(LoopClosure, 'localizer/loop_closures', self._on_closure, 100)
        self.create_service(Trigger, '~/send_initialpose', self._on_send)
        self._jump_handle = on_jump_back(self, self._on_clock_jump)

    def close(self) -> None:
        """Let go of everything."""
        self.destroy_node()

    def _on_clock_jump(self, _: Any) -> None:
        self.get_logger().warning('the clock jumped back: the poses so far are forgotten')
        self._poses.clear()

    def _on_pose(self, msg: PoseWithCovarianceStamped) -> None:
        try:
            self._poses.add_pose(map_pose(msg))
        except ValueError as error:
            self.get_logger().warning(f'a pose that is none is left out: {error}')

    def _on_closure(self, msg: LoopClosure) -> None:
        if not why_not_metric(msg):
            stamp_ns = stamp_ns_from_msg(msg.header.stamp)
            self._poses.add_verified(stamp_ns, msg.map_frame_id, msg.camera)

    def _on_send(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        now_ns = self.get_clock().now().nanoseconds
        found, why = self._poses.newest(now_ns, self._config.max_age_s)
        pose = None
        if found is not None:
            try:
                pose = self._of_body(*found)
            except UnknownCameraError as error:
                why = str(error)
        if pose is not None and not self._publisher.get_subscription_count():
            why = f'nobody listens to {self._publisher.topic_name}: is AMCL running?'
        elif pose is not None:
            self._publisher.publish(initial_pose_msg(pose))
            x, y, z = pose.map_from_body[:3, 3]
            response.success = True
            response.message = (
                f'sent x {x:.3f} y {y:.3f} z {z:.3f} in {pose.frame_id!r}, of '
                f'{(now_ns - pose.stamp_ns) * 1e-9:.2f} s ago, to {self._publisher.topic_name}'
            )
        if why:
            response.message = f'nothing sent: {why}'
        if response.success:  # rclpy ties a line of code to its level
            self.get_logger().info(response.message)
        else:
            self.get_logger().warning(response.message)
        return response

    def _of_body(self, pose: MapPose, camera: str) -> MapPose:
        if self._config.map_poses_of == 'body':
            return pose
        return of_base(pose, self._mountings.of(camera))


def main(args: list[str] | None = None) -> int:
    """Run the node; the console script `initial_pose`."""
    return run_node('initial_pose', InitialPose, args)
