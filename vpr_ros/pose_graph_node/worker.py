# SPDX-License-Identifier: Apache-2.0
"""The thread that owns the pose graph; callbacks only put messages into its inbox."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from vpr_msgs.msg import LoopClosure

from vpr_ros.conversions import pose_from_msg, stamp_ns_from_msg
from vpr_ros.errors import PoseGraphError
from vpr_ros.node_common.mounting import Mountings, UnknownCameraError
from vpr_ros.pose_graph.closure import Decision, Outcome
from vpr_ros.pose_graph.export import save
from vpr_ros.pose_graph.graph import PoseGraph
from vpr_ros.pose_graph_node.messages import closure_from_msg, refusal
from vpr_ros.pose_graph_node.own_run import OwnRun
from vpr_ros.pose_graph_node.parameters import NodeConfig
from vpr_ros.poses import Trajectory

_MAX_INBOX = 100_000  # about twenty minutes of odometry: only a graph that stands still gets there
_STOPS = 'the node stops'
_FAILURE_SHOWN_S = 10.0  # diagnostics look every diagnostics_period_s


@dataclass(frozen=True)
class Snapshot:
    """What the graph was after the last optimisation.

    Attributes:
        map_from_odom: (4, 4).
        trajectory: Corrected poses of the base.
        odom_frame_id: Frame of the odometry.
        outcomes: Number of closures by outcome; the rejected also by the code of their reason.
        refused: Number of closures that were not for the graph, by why.
        last_rejection: The newest reason.
        last_odometry_ns: Stamp of the newest odometry pose; None before one.
        num_bad: Odometry poses that are none.
        num_late: Odometry poses that came after a newer one.
        num_jumps: Odometry steps faster than can be.
        num_resets: How often the run began anew.
        update_s: How long the last optimisation took.
        failure: Why the worker failed in the last seconds, '' if it works.
    """

    map_from_odom: np.ndarray = field(default_factory=lambda: np.eye(4))
    trajectory: Trajectory | None = None
    odom_frame_id: str = ''
    outcomes: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    last_rejection: str = ''
    last_odometry_ns: int | None = None
    num_bad: int = 0
    num_late: int = 0
    num_jumps: int = 0
    num_resets: int = 0
    update_s: float = 0.0
    failure: str = ''


@dataclass(frozen=True)
class _Task:
    """Something to do with the graph, and where the answer goes."""

    work: Callable[[], str]
    answer: Future[str] = field(default_factory=Future)

    def run(self) -> None:
        """Do it; all that goes wrong reaches who asked.

        Raises:
            Exception: The graph failed; OSError alone, of a disk, says nothing of the graph.
        """
        try:
            self.answer.set_result(self.work())
        except OSError as error:
            self.answer.set_exception(error)
        except Exception as error:
            told = PoseGraphError(f'the pose graph failed and begins anew: {error!r}')
            self.answer.set_exception(told)
            raise


class GraphWorker:
    """Feeds the graph in the order of arrival and optimises now and then.

    Attributes:
        snapshot: What the other threads see; replaced as a whole.
    """

    def __init__(
        self,
        config: NodeConfig,
        *,
        on_update: Callable[[Snapshot], None],
        on_decision: Callable[[LoopClosure, Decision], None],
        warn: Callable[[str], None],
    ) -> None:
        """Start the thread.

        Args:
            config: The parameters.
            on_update: Called in the worker's thread after an optimisation.
            on_decision: Called there with every closure whose decision is new or has changed.
            warn: Writes a warning.

        Raises:
            PoseGraphError: GTSAM is not installed.
        """
        self._config = config
        self._on_update, self._on_decision, self._warn = on_update, on_decision, warn
        self._graph = PoseGraph(config.graph)
        self._mountings = Mountings(config)
        self._messages: dict[int, LoopClosure] = {}
        self._own = OwnRun()
        self._inbox: deque[Any] = deque()
        self._wake = threading.Condition()
        self._refused: Counter[str] = Counter()
        self._num_bad = 0
        self._odom_frame_id = self._base_frame_id = ''
        self._last_rejection = ''
        self._warned: set[str] = set()
        self._failure, self._failed_s = '', 0.0
        self._asked = self._stopped = False
        self.snapshot = Snapshot()
        self._thread = threading.Thread(target=self._run, name='pose_graph', daemon=True)
        self._thread.start()

    def put(self, msg: Odometry | LoopClosure) -> None:
        """Hand over a message; returns at once."""
        with self._wake:
            if len(self._inbox) < _MAX_INBOX:
                self._inbox.append(msg)
            else:
                self._refused['inbox full: the graph cannot keep up'] += 1

    def save(self, folder: str) -> str:
        """Weigh all closures, write the folder and return what was written; waits for it.

        Raises:
            OSError: It cannot be written.
            PoseGraphError: The graph failed, or the node stops.
        """
        answer: Future[str] = Future()
        with self._wake:
            if self._stopped:
                raise PoseGraphError(_STOPS)
            self._inbox.append(_Task(lambda: self._save(folder), answer))
            self._asked = True
            self._wake.notify()
        return answer.result()

    def publish_again(self) -> None:
        """Call `on_update` soon, also if nothing comes."""
        with self._wake:
            self._inbox.append(_Task(str))

    def reset(self, cause: str) -> None:
        """Forget the run."""
        with self._wake:
            self._inbox.append(_Task(lambda: self._reset(cause)))

    def stop(self) -> None:
        """End the thread after what it is doing."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, _Task):
                item.answer.set_exception(PoseGraphError(_STOPS))

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._stopped or self._asked, self._config.update_period_s
                )
                if self._stopped:
                    return
                inbox, self._inbox = self._inbox, deque()
                self._asked = False
            if inbox:
                self._work(inbox)

    def _work(self, inbox: deque[Any]) -> None:
        start = time.monotonic()
        for item in inbox:
            self._guard(self._take, item)
        self._guard(lambda: self._tell(self._graph.update()))
        self._guard(self._publish, start)

    def _guard(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do a part of the work; the thread must not die of it, nor in silence."""
        try:
            work(*arguments)
        except Exception as error:
            self._warn(f'the pose graph failed and begins anew: {traceback.format_exc()}')
            self._note_failure(f'the pose graph failed and began anew: {error!r}')
            self._reset('failure')

    def _note_failure(self, text: str) -> None:
        self._failure, self._failed_s = text, time.monotonic()

    def _take(self, item: Odometry | LoopClosure | _Task) -> None:
        if isinstance(item, Odometry):
            self._add_odometry(item)
        elif isinstance(item, LoopClosure):
            self._add_closure(item)
        else:
            item.run()

    def _reset(self, cause: str) -> str:
        self._graph.reset(cause)
        self._messages.clear()
        self._own.forget()
        return ''

    def _save(self, folder: str) -> str:
        self._tell(self._graph.settle())
        return save(self._graph, folder)

    def _add_odometry(self, msg: Odometry) -> None:
        self._odom_frame_id = msg.header.frame_id
        self._base_frame_id = msg.child_frame_id
        resets = self._graph.num_resets
        try:
            self._graph.add_odometry(
                stamp_ns_from_msg(msg.header.stamp), *pose_from_msg(msg.pose.pose)
            )
        except ValueError as error:
            self._num_bad += 1
            if self._num_bad == 1:
                self._warn(f'odometry that is no pose is left out: {error}')
        if self._graph.num_resets != resets:
            self._messages.clear()
        for early in self._own.see(msg.header.frame_id):
            self._add_closure(early)

    def _add_closure(self, msg: LoopClosure) -> None:
        why = refusal(msg, self._config.min_status)
        if not why and self._own.keep(msg):
            return
        if why := why or self._own.refusal(msg):
            self._refused[why] += 1
            return
        self._check_extrinsic(msg)
        try:
            closure = closure_from_msg(msg, self._mountings)
        except UnknownCameraError as error:
            self._refused['unknown camera'] += 1
            self._warn_once(str(error))
            return
        except ValueError as error:
            self._refused['malformed'] += 1
            self._warn(f'a loop closure whose relative pose is none is left out: {error}')
            return
        self._messages[self._graph.add_closure(closure)] = msg

    def _check_extrinsic(self, msg: LoopClosure) -> None:
        text = self._config.mounting_warning(msg.header.frame_id, self._base_frame_id)
        if text:
            self._warn_once(text)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)

    def _tell(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if decision.outcome is Outcome.REJECTED:
                self._last_rejection = decision.reason
            msg = self._messages.get(decision.closure_id)
            if msg is not None:
                self._call(self._on_decision, msg, decision)
            if decision.outcome is Outcome.REDUNDANT:  # for good
                self._messages.pop(decision.closure_id, None)

    def _call(self, publish: Callable[..., None], *arguments: Any) -> None:
        """Call a publisher; the graph is none the worse if it fails."""
        try:
            publish(*arguments)
        except Exception as error:
            text = f'the pose graph cannot publish: {error!r}'
            self._warn_once(text)
            self._note_failure(text)

    def _publish(self, start_s: float) -> None:
        graph = self._graph
        outcomes: Counter[str] = Counter()
        for decision in graph.decisions.values():
            outcomes[decision.outcome.value] += 1
            if decision.outcome is Outcome.REJECTED:
                outcomes[f'rejected {decision.code}'] += 1
        outcomes[Outcome.WAITING.value] += self._own.num_early
        failed_lately = time.monotonic() - self._failed_s < _FAILURE_SHOWN_S
        self.snapshot = Snapshot(
            map_from_odom=graph.map_from_odom,
            trajectory=graph.trajectory() if graph.nodes else None,
            odom_frame_id=self._odom_frame_id,
            outcomes=dict(outcomes),
            refused=dict(self._refused),
            last_rejection=self._last_rejection,
            last_odometry_ns=graph.last_odometry_ns,
            num_bad=self._num_bad,
            num_late=graph.num_late,
            num_jumps=graph.num_jumps,
            num_resets=graph.num_resets,
            update_s=time.monotonic() - start_s,
            failure=self._failure if failed_lately else '',
        )
        self._call(self._on_update, self.snapshot)
