# SPDX-License-Identifier: Apache-2.0
"""The node `closure_recorder`: every closure into a CSV, and a g2o file when asked."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger
from vpr_msgs.msg import LoopClosure

from vpr_ros.adapters.closure_file import ClosureFile
from vpr_ros.adapters.messages import closure_row, why_not_metric
from vpr_ros.adapters.parameters import PARAMETERS, RecorderConfig
from vpr_ros.adapters.raw_graph import raw_graph
from vpr_ros.conversions import pose_from_msg, stamp_ns_from_msg
from vpr_ros.node_common.declared import ParameterError, config_of, declare
from vpr_ros.node_common.mounting import Mountings
from vpr_ros.node_common.running import run_node
from vpr_ros.node_common.service_thread import ServiceThread
from vpr_ros.pose_graph.closure import Closure
from vpr_ros.pose_graph.export import write_g2o
from vpr_ros.pose_graph.odometry import OdometryTrack
from vpr_ros.pose_graph.transforms import transform
from vpr_ros.pose_graph_node.messages import closure_from_msg
from vpr_ros.pose_graph_node.own_run import OwnRun


class ClosureRecorder(Node):
    """Writes down what the localizer publishes."""

    def __init__(self) -> None:
        """Declare everything and open the file.

        Raises:
            ParameterError: The parameter file or the command line is wrong.
            ClosureFileError: The file cannot be written.
        """
        super().__init__('closure_recorder')
        self._config: RecorderConfig = config_of(
            RecorderConfig, declare(self, PARAMETERS['closure_recorder'])
        )
        if not self._config.file:
            raise ParameterError('file is not set: start with -p file:=closures.csv')
        self._mountings = Mountings(self._config)
        self._own = OwnRun()
        self._file = ClosureFile(Path(self._config.file))
        if self._file.num_cut:
            self.get_logger().warning(
                f'{self._file.path}: {self._file.num_cut} bytes of a torn last line are cut off'
            )
        self._begin()
        self.create_subscription(LoopClosure, 'localizer/loop_closures', self._on_closure, 1000)
        self.create_subscription(
            Odometry,
            'odom',
            self._on_odometry,
            QoSProfile(
                depth=1000,
                reliability=ReliabilityPolicy[self._config.odom_reliability.upper()],
            ),
        )
        self._thread = ServiceThread(self)
        self.create_service(
            Trigger, '~/save_g2o', self._on_save, callback_group=self._thread.group
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._config.flush_period_s, self._flush, clock=steady)
        self.get_logger().info(f'appending closures to {self._file.path.resolve()}')

    def close(self) -> None:
        """Close the file and let go of everything."""
        self._thread.close()
        self._keep(self._file.close)
        self.destroy_node()

    def _begin(self) -> None:
        self._track = OdometryTrack(self._config.odometry_noise)
        self._closures: list[Closure] = []
        self._left_out: Counter[str] = Counter()

    def _flush(self) -> None:
        self._keep(self._file.flush)

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self.get_logger().error(
                f'the disk may not keep {self._file.path}: {error}', throttle_duration_sec=10.0
            )

    def _on_closure(self, msg: LoopClosure) -> None:
        try:
            self._file.append(closure_row(msg))
        except OSError as error:
            self.get_logger().error(f'a closure was not written: {error}')
        if not (why_not_metric(msg) or self._own.keep(msg)):
            self._take(msg)

    def _take(self, msg: LoopClosure) -> None:
        """Take a verified closure into the g2o file if it is of this run."""
        if why := self._own.refusal(msg):
            self._left_out[why] += 1
            return
        try:
            self._closures.append(closure_from_msg(msg, self._mountings))
        except ValueError as error:
            self.get_logger().warning(f'a closure is not for the g2o file: {error}')

    def _on_odometry(self, msg: Odometry) -> None:
        stamp_ns = stamp_ns_from_msg(msg.header.stamp)
        position, orientation = pose_from_msg(msg.pose.pose)
        try:
            transform(position, orientation)
        except ValueError as error:
            self.get_logger().warning(f'odometry that is no pose is left out: {error}')
            return
        if self._track.is_set_back(stamp_ns):
            self.get_logger().warning(
                'odometry stamps jumped back: the g2o file begins anew (the CSV goes on)'
            )
            self._begin()
        self._track.add(stamp_ns, position, orientation)
        for early in self._own.see(msg.header.frame_id):
            self._take(early)

    async def _on_save(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        config = self._config
        if not config.g2o_file:
            response.message = 'g2o_file is not set: start with -p g2o_file:=closures.g2o'
            return response
        if not len(self._track):
            response.message = 'no odometry has come: remap with -r odom:=TOPIC'
            return response
        as_it_is = self._track.copy(), list(self._closures), dict(self._left_out)
        save = functools.partial(self._save, *as_it_is)
        return await self._thread.run(save, request, response)

    def _save(
        self,
        track: OdometryTrack,
        closures: list[Closure],
        left_out: dict[str, int],
        _: Trigger.Request,
        response: Trigger.Response,
    ) -> None:
        config = self._config
        vertices, edges, num_outside = raw_graph(
            track,
            closures,
            config.closure_noise,
            distance_m=config.keyframe_distance_m,
            angle_rad=config.keyframe_angle_rad,
            max_gap_s=config.max_odom_gap_s,
        )
        try:
            write_g2o(Path(config.g2o_file), vertices, edges)
        except OSError as error:
            response.message = f'not saved in {config.g2o_file}: {error}'
            return
        response.success = True
        response.message = '; '.join(
            [
                f'{len(vertices)} vertices, {len(closures) - num_outside} closures in '
                f'{config.g2o_file}',
                f'{num_outside} verified ones lie outside the odometry',
                *(f'{number} not used, {why}' for why, number in sorted(left_out.items())),
            ]
        )


def main(args: list[str] | None = None) -> int:
    """Run the node; the console script `closure_recorder`."""
    return run_node('closure_recorder', ClosureRecorder, args)
