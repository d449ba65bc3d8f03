# SPDX-License-Identifier: Apache-2.0
"""The node `rtabmap_links`: verified closures to RTAB-Map's add_link, and what became of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure

from vpr_ros.adapters.messages import why_not_metric
from vpr_ros.adapters.parameters import PARAMETERS, RtabmapConfig
from vpr_ros.adapters.rtabmap import Fate, LinkMaker, Report
from vpr_ros.adapters.rtabmap_messages import (
    add_link_request,
    require_rtabmap_msgs,
    see_map_data,
)
from vpr_ros.conversions import pose_from_msg, stamp_ns_from_msg
from vpr_ros.node_common.declared import config_of, declare
from vpr_ros.node_common.mounting import Mountings, UnknownCameraError
from vpr_ros.node_common.running import run_node
from vpr_ros.pose_graph_node.messages import closure_from_msg
from vpr_ros.pose_graph_node.own_run import OwnRun

_LOOKS = 2  # maps that RTAB-Map publishes after a link before it is called not taken
_ANSWER_S = 10.0  # RTAB-Map answers once its optimisation is done
_AGAIN_S = 1.0  # after a call that failed


class RtabmapLinks(Node):
    """Gives RTAB-Map what the localizer has verified."""

    def __init__(self) -> None:
        """Declare everything.

        Raises:
            ParameterError: The parameter file or the command line is wrong.
            RtabmapError: rtabmap_msgs is not installed.
        """
        super().__init__('rtabmap_links')
        self._config: RtabmapConfig = config_of(
            RtabmapConfig, declare(self, PARAMETERS['rtabmap_links'])
        )
        map_data, add_link = require_rtabmap_msgs()
        self._service = add_link
        self._maker = LinkMaker(self._config.links)
        self._mountings = Mountings(self._config)
        self._own = OwnRun()
        self._received: Counter[str] = Counter()
        self._fates: Counter[str] = Counter()
        self._queue: deque[Report] = deque()
        self._sending: tuple[Report, Future, float] | None = None  # to be given up then
        self._pause_until_s = 0.0
        self._unseen: list[tuple[Report, int]] = []
        self._last_reason = self._body_frame = ''
        self._warned = False
        self._client = self.create_client(add_link, 'rtabmap/add_link')
        self.create_subscription(map_data, 'rtabmap/mapData', self._on_map, 10)
        self.create_subscription(
            Odometry,
            'odom',
            self._on_odometry,
            QoSProfile(
                depth=1000,
                reliability=ReliabilityPolicy[self._config.odom_reliability.upper()],
            ),
        )
        self.create_subscription(LoopClosure, 'localizer/loop_closures', self._on_closure, 1000)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.1, self._work, clock=steady)
        self.create_timer(self._config.diagnostics_period_s, self._publish, clock=steady)

    def close(self) -> None:
        """Let go of everything."""
        self.destroy_node()

    # What comes.

    def _on_odometry(self, msg: Odometry) -> None:
        self._received['odometry'] += 1
        self._body_frame = msg.child_frame_id
        try:
            self._maker.add_odometry(
                stamp_ns_from_msg(msg.header.stamp), *pose_from_msg(msg.pose.pose)
            )
        except ValueError as error:
            self._received['odometry that is no pose'] += 1
            if self._received['odometry that is no pose'] == 1:
                self.get_logger().warning(f'odometry that is no pose is left out: {error}')
        for early in self._own.see(msg.header.frame_id):
            self._take(early)

    def _on_closure(self, msg: LoopClosure) -> None:
        self._received['closures'] += 1
        if why := why_not_metric(msg):
            self._fates[f'not used, {why}'] += 1
        elif not self._own.keep(msg):
            self._take(msg)

    def _take(self, msg: LoopClosure) -> None:
        """Take a verified closure over if it is of this run."""
        if why := self._own.refusal(msg):
            self._fates[f'not used, {why}'] += 1
            return
        warning = self._config.mounting_warning(msg.header.frame_id, self._body_frame)
        if warning and not self._warned:
            self._warned = True
            self.get_logger().warning(warning)
        try:
            self._maker.add_closure(closure_from_msg(msg, self._mountings))
        except UnknownCameraError as error:
            self._fates['not used, unknown camera'] += 1
            self.get_logger().warning(str(error), once=True)
        except ValueError as error:
            self._fates['not used, malformed'] += 1
            self.get_logger().warning(f'a closure whose pose is none is left out: {error}')

    def _on_map(self, msg: Any) -> None:
        self._received['maps'] += 1
        see_map_data(self._maker, msg)
        unseen, self._unseen = self._unseen, []
        for report, looks in unseen:
            assert report.link is not None
            if self._maker.is_linked(report.link):
                self._tell(report, Fate.LINKED, '')
            elif looks < _LOOKS:
                self._unseen.append((report, looks + 1))
            else:
                self._tell(
                    report,
                    Fate.NOT_TAKEN,
                    "not_taken: RTAB-Map's graph does not have it; its log says why, for example "
                    'RGBD/OptimizeMaxError',
                )

    # What goes.

    def _work(self) -> None:
        for report in self._maker.update():
            if report.fate is Fate.SENT:
                self._queue.append(report)
            else:
                self._tell(report, report.fate, report.reason)
        now_s = time.monotonic()
        if self._sending is not None and now_s > self._sending[2]:
            _, call, _ = self._sending
            self._client.remove_pending_request(call)
            self._send_again(f'has not answered within {_ANSWER_S:g} s')
        may_send = self._sending is None and now_s > self._pause_until_s
        if self._queue and may_send and self._client.service_is_ready():
            self._send(self._queue.popleft())

    def _send(self, report: Report) -> None:
        assert report.link is not None
        if self._maker.is_linked(report.link):  # an earlier call was taken, its answer was lost
            self._look_for(report)
            return
        call = self._client.call_async(add_link_request(report.link, self._service))
        self._sending = report, call, time.monotonic() + _ANSWER_S
        call.add_done_callback(self._on_answer)

    def _on_answer(self, call: Future) -> None:
        if self._sending is None or self._sending[1] is not call:
            return  # it was given up
        if error := call.exception():
            self._send_again(f'failed: {error!r}')
        else:
            report, *_ = self._sending
            self._sending = None
            self._look_for(report)

    def _send_again(self, why: str) -> None:
        assert self._sending is not None
        self.get_logger().warning(
            f'{self._client.srv_name} {why}: the link is sent again; is RTAB-Map running?'
        )
        self._fates['calls that failed'] += 1
        self._queue.appendleft(self._sending[0])
        self._sending = None
        self._pause_until_s = time.monotonic() + _AGAIN_S

    def _look_for(self, report: Report) -> None:
        """Wait for RTAB-Map's graph to show the link: the answer itself is empty."""
        self._fates[Fate.SENT.value] += 1
        self._unseen.append((report, 1))

    def _tell(self, report: Report, fate: Fate, reason: str) -> None:
        code = reason.partition(':')[0]
        self._fates[f'{fate.value} {code}' if fate is Fate.REFUSED else fate.value] += 1
        ids = '' if report.link is None else f' (nodes {report.link.from_id}, {report.link.to_id})'
        self.get_logger().info(
            f'closure of {report.closure.query_stamp_ns * 1e-9:.3f} s with '
            f'{report.closure.match_stamp_ns * 1e-9:.3f} s{ids}: {reason or fate.value}'
        )
        self._last_reason = reason or self._last_reason

    def _publish(self) -> None:
        level, message = self._state()
        values = {
            'nodes of RTAB-Map': self._maker.num_nodes,
            'waiting for nodes or odometry': self._maker.num_waiting + self._own.num_early,
            'waiting for the service': len(self._queue),
            **{f'{name} received': number for name, number in sorted(self._received.items())},
            **dict(sorted(self._fates.items())),
            'last reason': self._last_reason,
        }
        status = DiagnosticStatus(
            level=level,
            name=f'{self.get_fully_qualified_name().lstrip("/")}: links',
            message=message,
            hardware_id='vpr_ros',
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))

    def _state(self) -> tuple[bytes, str]:
        if not self._client.service_is_ready():
            return DiagnosticStatus.ERROR, (
                f'no service {self._client.srv_name}: is RTAB-Map running? remap with '
                '-r rtabmap/add_link:=NAME'
            )
        if not self._received['maps']:
            return DiagnosticStatus.WARN, (
                "no map of RTAB-Map's has come: remap with -r rtabmap/mapData:=NAME"
            )
        if not self._received['odometry']:
            return DiagnosticStatus.WARN, (
                'no odometry: its frame tells which closures are of this run; remap with '
                '-r odom:=TOPIC'
            )
        if not self._received['closures']:
            return DiagnosticStatus.WARN, 'no closure from the localizer yet'
        linked, sent = self._fates[Fate.LINKED.value], self._fates[Fate.SENT.value]
        return DiagnosticStatus.OK, f'{linked} of {sent} links are in the graph of RTAB-Map'


def main(args: list[str] | None = None) -> int:
    """Run the node; the console script `rtabmap_links`."""
    return run_node('rtabmap_links', RtabmapLinks, args)
