# SPDX-License-Identifier: Apache-2.0
"""The node `pose_graph`: topics, timers, services; the work is in the worker's thread."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger
from vpr_msgs.msg import LoopClosure

from vpr_ros.conversions import stamp_msg_from_ns
from vpr_ros.errors import PoseGraphError
from vpr_ros.node_common.clock_jumps import on_jump_back
from vpr_ros.node_common.declared import config_of, declare
from vpr_ros.node_common.ros_logging import forward_to
from vpr_ros.node_common.running import run_node
from vpr_ros.node_common.service_thread import ServiceThread
from vpr_ros.pose_graph.closure import Decision, Outcome
from vpr_ros.pose_graph_node.diagnostics import Inputs, diagnostic_array
from vpr_ros.pose_graph_node.messages import path, rejected, transform_stamped
from vpr_ros.pose_graph_node.parameters import PARAMETERS, NodeConfig
from vpr_ros.pose_graph_node.tf_output import make_broadcaster
from vpr_ros.pose_graph_node.worker import GraphWorker, Snapshot

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

_ODOM_DEPTH = 2000  # holds what comes while GTSAM keeps Python's lock


class PoseGraphNode(Node):
    """Corrects odometry by loop closures."""

    def __init__(self) -> None:
        """Declare everything and start the worker.

        Raises:
            ParameterError: The parameter file or the command line is wrong.
            PoseGraphError: GTSAM is not installed.
        """
        super().__init__('pose_graph')
        self._name = self.get_fully_qualified_name()
        self._log_handler = forward_to(self.get_logger())
        values = declare(self, PARAMETERS)
        self._config: NodeConfig = config_of(NodeConfig, values)
        self._num_odometry = self._num_closures = 0
        self._num_served = 0  # listeners that have got a path
        self._send_tf = make_broadcaster(self) if self._config.publish_tf else None
        self._path = self.create_publisher(Path, '~/path', 10)
        self._rejected = self.create_publisher(LoopClosure, '~/rejected', 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self._odom = self.create_subscription(
            Odometry,
            'odom',
            self._on_odometry,
            QoSProfile(
                depth=_ODOM_DEPTH,
                reliability=ReliabilityPolicy[self._config.odom_reliability.upper()],
            ),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_mismatch),
        )
        self._closures = self.create_subscription(
            LoopClosure, 'localizer/loop_closures', self._on_closure, 1000
        )
        self._thread = ServiceThread(self)
        self.create_service(Trigger, '~/save', self._on_save, callback_group=self._thread.group)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(
            self._config.diagnostics_period_s, self._publish_diagnostics, clock=steady
        )
        if self._send_tf is not None:
            self.create_timer(self._config.tf_period_s, self._publish_tf, clock=steady)
        self._jump_handle = on_jump_back(self, self._on_clock_jump)
        self.get_logger().info(
            f'configuration: {json.dumps(dataclasses.asdict(self._config))}; listening to '
            f'{self._odom.topic_name} and {self._closures.topic_name}'
        )
        # Last: a signal makes anything above fail, and a node that is not made is not closed.
        self._worker = GraphWorker(
            self._config,
            on_update=self._on_update,
            on_decision=self._on_decision,
            warn=lambda text: self.get_logger().warning(text),
        )

    def close(self) -> None:
        """Stop the worker and let go of everything."""
        self._worker.stop()
        self._thread.close()
        logging.getLogger('vpr_ros').removeHandler(self._log_handler)
        self.destroy_node()

    # What comes.

    def _on_odometry(self, msg: Odometry) -> None:
        self._num_odometry += 1
        self._worker.put(msg)

    def _on_mismatch(self, _: Any) -> None:
        self.get_logger().warning(
            f'a publisher of {self._odom.topic_name} offers best effort alone: nothing comes from '
            'it; start with -p odom_reliability:=best_effort'
        )

    def _on_closure(self, msg: LoopClosure) -> None:
        self._num_closures += 1
        self._worker.put(msg)

    def _on_clock_jump(self, jump: Any) -> None:
        back_s = -jump.delta.nanoseconds * 1e-9
        self._worker.reset(f'the clock jumped back by {back_s:.3f} s')

    async def _on_save(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        return await self._thread.run(self._save, request, response)

    def _save(self, _: Trigger.Request, response: Trigger.Response) -> None:
        folder = self._config.save_folder
        if not folder:
            response.message = 'save_folder is not set: start with -p save_folder:=DIRECTORY'
            return
        try:
            response.message = self._worker.save(folder)
            response.success = True
        except (OSError, PoseGraphError) as error:
            response.message = f'not saved in {folder}: {error}'
        if response.success:  # rclpy ties a line of code to its level
            self.get_logger().info(response.message)
        else:
            self.get_logger().error(response.message)

    # What goes; the first two in the worker's thread.

    def _on_update(self, snapshot: Snapshot) -> None:
        listeners = self._path.get_subscription_count()
        if snapshot.trajectory is not None and listeners and self.context.ok():
            self._path.publish(path(snapshot.trajectory, self._config.map_frame_id))
            self._num_served = listeners

    def _on_decision(self, msg: LoopClosure, decision: Decision) -> None:
        if decision.outcome is Outcome.REJECTED and self.context.ok():
            closure = decision.closure
            self.get_logger().info(
                f'rejected the closure of {closure.query_stamp_ns * 1e-9:.3f} s with '
                f'{closure.match_stamp_ns * 1e-9:.3f} s: {decision.reason}'
            )
            self._rejected.publish(rejected(msg, decision))

    def _publish_tf(self) -> None:
        snapshot = self._worker.snapshot
        if self._send_tf is None or snapshot.last_odometry_ns is None:
            return
        ahead_ns = round(self._config.tf_tolerance_s * 1e9)
        stamp = stamp_msg_from_ns(self.get_clock().now().nanoseconds + ahead_ns)
        target, source = self._config.map_frame_id, snapshot.odom_frame_id
        self._send_tf(transform_stamped(snapshot.map_from_odom, stamp, target, source))

    def _publish_diagnostics(self) -> None:
        odom, closures = self._odom.topic_name, self._closures.topic_name
        inputs = Inputs(
            odom_topic=odom,
            odom_publishers=self.count_publishers(odom),
            odom_received=self._num_odometry,
            closure_topic=closures,
            closure_publishers=self.count_publishers(closures),
            closures_received=self._num_closures,
        )
        self._serve_newcomers()
        now = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_array(self._name, inputs, self._worker.snapshot, now))

    def _serve_newcomers(self) -> None:
        """Let a path be made for who began to listen after the last one."""
        listeners = self._path.get_subscription_count()
        if listeners > self._num_served and self._worker.snapshot.trajectory is not None:
            self._worker.publish_again()
        self._num_served = min(self._num_served, listeners)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code of the process."""
    return run_node('pose_graph', PoseGraphNode, args)
