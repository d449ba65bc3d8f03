# SPDX-License-Identifier: Apache-2.0
"""Pictures through the real node, over DDS: starts it, plays, listens, counts."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from vpr_msgs.msg import LoopClosure, MapInfo

from vpr_ros.conversions import stamp_ns_from_msg
from vpr_ros.demo.node_process import NodeError, NodeProcess
from vpr_ros.demo.scoring import Answer, Counts
from vpr_ros.replay import Event, Player, Replay, Sent

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 10.0
_POLL_S = 0.05
_RELIABLE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@dataclass(frozen=True)
class LiveRun:
    """What came of a live run.

    Attributes:
        answers: One for each picture that was processed, in the order in which they came.
        counts: Pictures on their way.
        replay: What the player did.
    """

    answers: list[Answer]
    counts: Counts
    replay: Replay


def run_live(
    events: Callable[[], Iterable[Event]],
    *,
    map_directory: Path,
    model: Path,
    log: Path,
    rate: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> LiveRun:
    """Play events to a fresh node and collect what it says.

    Args:
        events: Makes the recording, once the node is ready.
        map_directory: The map that the node loads.
        model: The model that the node loads.
        log: File for the node's own output.
        rate: Speed of the player.
        progress: Is told after every picture how many were sent.

    Raises:
        NodeError: The node did not start, died, or gave no answer.
    """
    parameters = {
        'map': map_directory.resolve(),
        'model': model.resolve(),
        'diagnostics_period_s': 0.5,
    }
    domain_id = random.SystemRandom().randint(1, 101)
    environment = _private_environment(domain_id)
    with (
        NodeProcess(parameters, log=log, environment=environment) as process,
        _listener(domain_id) as listener,
    ):
        player = Player(listener.node, rate=rate)
        listener.wait_until_ready(player, process)

        def sent(picture: Sent) -> None:
            listener.remember(picture)
            process.check()
            if progress is not None:
                progress(picture.picture + 1)

        replay = player.play(events(), sent)
        listener.wait_for_last_answer(process)
        return LiveRun(listener.answers, listener.counts(), replay)


def _private_environment(domain_id: int) -> dict[str, str]:
    """Keep to this machine and to a domain of our own; this process follows the same rules."""
    environment = {'ROS_DOMAIN_ID': str(domain_id)}
    for name, value in (
        ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'),
        ('ROS_LOCALHOST_ONLY', '1'),
    ):
        if name == 'ROS_LOCALHOST_ONLY' and os.environ.get('ROS_DISTRO') != 'humble':
            continue  # deprecated since Iron
        os.environ.setdefault(name, value)
        environment[name] = os.environ[name]
    return environment


class Listener:
    """Subscribes to what the node publishes; its callbacks run in the executor's thread.

    Attributes:
        node: The ROS node of the demo.
        answers: What the node has said so far.
    """

    def __init__(self, node: Node) -> None:
        """Subscribe."""
        self.node = node
        self.answers: list[Answer] = []
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._sent: dict[int, Sent] = {}
        self._diagnostics: dict[str, str] = {}
        self._map_is_loaded = False
        node.create_subscription(
            LoopClosure, '/localizer/loop_closures', self._on_answer, _RELIABLE
        )
        node.create_subscription(MapInfo, '/localizer/map_info', self._on_map, _LATCHED)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, _RELIABLE)

    def remember(self, sent: Sent) -> None:
        """Note a picture, so that its answer can be told from others."""
        with self._lock:
            self._sent[sent.stamp_ns] = sent

    def wait_until_ready(self, player: Player, process: NodeProcess) -> None:
        """Wait until the node has its map, hears the pictures and is heard.

        Raises:
            NodeError: It died, or it took too long; the text says what is missing.
        """
        image = player.publishers['image']

        def missing() -> str:
            if not self._map_is_loaded:
                return 'it has not announced its map on /localizer/map_info'
            if image.get_subscription_count() == 0:
                return f'it does not listen to {image.topic_name}'
            if self.node.count_publishers('/localizer/loop_closures') == 0:
                return 'it does not offer /localizer/loop_closures'
            return ''

        if self._wait(lambda: not missing(), START_TIMEOUT_S, process):
            raise NodeError(
                f'the node was not ready after {START_TIMEOUT_S:.0f} s: {missing()}; '
                f'{process.log_tail()}'
            )

    def wait_for_last_answer(self, process: NodeProcess) -> None:
        """Wait for the answer to the last picture, which no newer one replaced, and the counts.

        Raises:
            NodeError: The last picture stays unanswered, or the node died.
        """
        if not self._sent:
            raise NodeError('no picture was played: the source is empty')
        last = max(sent.picture for sent in self._sent.values())

        def answered() -> bool:
            return any(answer.picture == last for answer in reversed(self.answers))

        def done() -> bool:
            return answered() and self._count('processed') >= len(self.answers)

        if self._wait(done, ANSWER_TIMEOUT_S, process) and not answered():
            raise NodeError(
                f'the node did not answer the last picture, number {last}, within '
                f'{ANSWER_TIMEOUT_S:g} s ({len(self.answers)} of {len(self._sent)} pictures were '
                f'answered); {process.log_tail()}'
            )

    def counts(self) -> Counts:
        """Pictures on their way, by the node's own count."""
        with self._lock:
            return Counts(
                sent=len(self._sent),
                received=self._count('received'),
                processed=len(self.answers),
                dropped=self._count('dropped, a newer one came'),
            )

    def _count(self, key: str) -> int:
        return int(self._diagnostics.get(key, '0'))

    def _wait(self, done: Callable[[], bool], timeout_s: float, process: NodeProcess) -> bool:
        """Wait for a change that makes `done` true; returns whether time ran out."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not done():
                process.check()
                if time.monotonic() > deadline:
                    return True
                self._changed.wait(_POLL_S)  # discovery changes without a message
        return False

    def _on_map(self, _: MapInfo) -> None:
        with self._changed:
            self._map_is_loaded = True
            self._changed.notify_all()

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        with self._changed:
            for status in msg.status:
                if status.name.startswith('localizer: '):
                    self._diagnostics |= {value.key: value.value for value in status.values}
            self._changed.notify_all()

    def _on_answer(self, msg: LoopClosure) -> None:
        now_s = time.monotonic()
        with self._changed:
            sent = self._sent.get(stamp_ns_from_msg(msg.header.stamp))
            if sent is not None:
                self.answers.append(_answer(msg, sent, now_s))
            self._changed.notify_all()


def _answer(msg: Any, sent: Sent, now_s: float) -> Answer:
    return Answer(
        picture=sent.picture,
        accepted=msg.status != LoopClosure.REJECTED,
        place_ids=tuple(match.place_id for match in msg.matches),
        similarity=msg.matches[0].similarity if msg.matches else float('nan'),
        latency_s=now_s - sent.monotonic_s,
        age_s=msg.age_s,
        reason=msg.reason,
    )


@contextmanager
def _listener(domain_id: int) -> Iterator[Listener]:
    """A listener whose callbacks run in a thread until the block ends."""
    context = Context()
    rclpy.init(context=context, domain_id=domain_id)
    node = Node('vpr_demo', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    stopped = threading.Event()

    def spin() -> None:
        while not stopped.is_set():  # ending a bare `spin` from outside is a race in rclpy
            executor.spin_once(timeout_sec=_POLL_S)

    thread = threading.Thread(target=spin, name='listener', daemon=True)
    try:
        listener = Listener(node)
        thread.start()
        yield listener
    finally:
        stopped.set()
        if thread.is_alive():
            thread.join()
        node.destroy_node()
        context.try_shutdown()
