# SPDX-License-Identifier: Apache-2.0
"""The thread that owns the pose graph; callbacks only put messages into its inbox."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from vpr_msgs.msg import LoopClosure

from vpr_ros.conversions import stamp_ns_from_msg
from vpr_ros.node.mounting import Mountings, UnknownCameraError
from vpr_ros.pose_graph.closure import Decision, Outcome
from vpr_ros.pose_graph.export import save
from vpr_ros.pose_graph.graph import PoseGraph
from vpr_ros.pose_graph_node.messages import closure_from_msg, pose_arrays, refusal
from vpr_ros.pose_graph_node.parameters import NodeConfig
from vpr_ros.poses import Trajectory

_MAX_INBOX = 100_000  # about twenty minutes of odometry: only a graph that stands still gets there


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
        failure: Why the worker failed, '' if it works.
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
        self._inbox: deque[Any] = deque()
        self._wake = threading.Condition()
        self._refused: Counter[str] = Counter()
        self._num_bad = 0
        self._odom_frame_id = self._base_frame_id = ''
        self._last_rejection = ''
        self._warned: set[str] = set()
        self._stopped = False
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
            TimeoutError: The worker did not get round to it.
        """
        return self._ask(lambda: self._save(folder))

    def reset(self, cause: str) -> None:
        """Forget the run."""
        with self._wake:
            self._inbox.append(lambda: self._reset(cause))

    def stop(self) -> None:
        """End the thread after what it is doing."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    def _ask(self, task: Callable[[], str], timeout_s: float = 60.0) -> str:
        done = threading.Event()
        answer: list[str | BaseException] = []

        def run() -> None:
            try:
                answer.append(task())
            except OSError as error:
                answer.append(error)
            finally:
                done.set()

        with self._wake:
            self._inbox.append(run)
            self._wake.notify()
        if not done.wait(timeout_s):
            raise TimeoutError(f'the pose graph did not answer within {timeout_s:g} s')
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait(self._config.update_period_s)
                if self._stopped:
                    return
                inbox, self._inbox = self._inbox, deque()
            try:
                if inbox:
                    self._work(inbox)
            except Exception:  # the thread must not die in silence
                self._fail(traceback.format_exc())

    def _fail(self, text: str) -> None:
        self._warn(f'the pose graph failed and begins anew: {text}')
        self._reset('failure')
        self._publish(time.monotonic(), failure=text.strip().splitlines()[-1])

    def _work(self, inbox: deque[Any]) -> None:
        start = time.monotonic()
        for item in inbox:
            if isinstance(item, Odometry):
                self._add_odometry(item)
            elif isinstance(item, LoopClosure):
                self._add_closure(item)
            else:
                self._tell(self._graph.update())  # what came before it is in what it sees
                item()
        self._tell(self._graph.update())
        self._publish(start)

    def _reset(self, cause: str) -> None:
        self._graph.reset(cause)
        self._messages.clear()

    def _save(self, folder: str) -> str:
        self._tell(self._graph.settle())
        return save(self._graph, folder)

    def _add_odometry(self, msg: Odometry) -> None:
        self._odom_frame_id = msg.header.frame_id
        self._base_frame_id = msg.child_frame_id
        resets = self._graph.num_resets
        try:
            self._graph.add_odometry(
                stamp_ns_from_msg(msg.header.stamp), *pose_arrays(msg.pose.pose)
            )
        except ValueError as error:
            self._num_bad += 1
            if self._num_bad == 1:
                self._warn(f'odometry that is no pose is left out: {error}')
        if self._graph.num_resets != resets:
            self._messages.clear()

    def _add_closure(self, msg: LoopClosure) -> None:
        if why := refusal(msg, self._config.min_status):
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
                self._on_decision(msg, decision)

    def _publish(self, start_s: float, failure: str = '') -> None:
        graph = self._graph
        outcomes: Counter[str] = Counter()
        for decision in graph.decisions.values():
            outcomes[decision.outcome.value] += 1
            if decision.outcome is Outcome.REJECTED:
                outcomes[f'rejected {decision.code}'] += 1
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
            failure=failure,
        )
        self._on_update(self.snapshot)
