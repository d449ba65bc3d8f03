# SPDX-License-Identifier: Apache-2.0
"""Hears what the node says, and waits for what it still has to say."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from vpr_msgs.msg import GlobalDescriptor, LoopClosure, MapInfo

from vpr_ros.conversions import stamp_ns_from_msg
from vpr_ros.errors import VprError
from vpr_ros.evaluation.answers import Answer
from vpr_ros.live.answers import AnswerReader, pose_estimate
from vpr_ros.live.counts import Counts
from vpr_ros.live.node_process import LiveNode, NodeError
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import Recognition, Status
from vpr_ros.replay.player import Sent
from vpr_ros.retrieval_pose import PoseEstimate

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 10.0
SETTLED_S = 4.0  # Fast DDS repeats what was lost after up to 3 s; later nothing more comes
_POLL_S = 0.05
_PICTURE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
_ELSE = ('skipped, max_rate', 'ignored, disabled', 'refused', 'failed')
_RELIABLE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class Listener:
    """Subscribes to what one localizer publishes; its callbacks run in the executor's thread.

    Attributes:
        node: The ROS node that listens.
        max_age_s: Greatest age of an answer, picture stamp to publication, by the node's clock;
            NaN before the first.
    """

    def __init__(
        self, node: Node, name: str, place_map: PlaceMap, *, descriptors: bool = False
    ) -> None:
        """Subscribe.

        Args:
            node: The ROS node that listens.
            name: Full name of the localizer, such as `/localizer`.
            place_map: The map that it should have.
            descriptors: Whether to collect ~/descriptor too.
        """
        self.node = node
        self.max_age_s = math.nan
        self._name = name
        self._map = place_map
        self._reader = AnswerReader(place_map)
        self._descriptors_wanted = descriptors
        self._changed = threading.Condition()
        self._sent: list[Sent] = []
        self._unanswered: defaultdict[int, deque[Sent]] = defaultdict(deque)  # by stamp
        self._answers: dict[int, Answer] = {}  # by picture
        self._poses: dict[int, PoseEstimate] = {}  # by stamp, as the next
        self._descriptors: dict[int, np.ndarray] = {}
        self._map_info: MapInfo | None = None
        self._diagnostics: dict[str, dict[str, str]] = {}
        self._reported_s = -math.inf  # when it last spoke on /diagnostics, monotonic
        self._answered_s = -math.inf  # when its last answer came
        self._counts_before: dict[str, int] = {}
        self._error: VprError | None = None
        listen = node.create_subscription
        listen(LoopClosure, f'{name}/loop_closures', self._on_answer, _RELIABLE)
        listen(PoseWithCovarianceStamped, f'{name}/pose', self._on_pose, _RELIABLE)
        if descriptors:
            listen(GlobalDescriptor, f'{name}/descriptor', self._on_descriptor, _RELIABLE)
        listen(MapInfo, f'{name}/map_info', self._on_map, _LATCHED)
        # The last: once it is heard, the node knows of the subscriptions that were made before.
        listen(DiagnosticArray, '/diagnostics', self._on_diagnostics, _RELIABLE)

    def remember(self, sent: Sent) -> None:
        """Note a picture before it is published, so that its answer can be told from others."""
        with self._changed:
            self._sent.append(sent)
            self._unanswered[sent.stamp_ns].append(sent)

    def check(self) -> None:
        """Raise what went wrong in a callback.

        Raises:
            VprError: An answer, or the map, is not the expected one.
        """
        if self._error is not None:
            raise self._error

    def wait_until_ready(self, topic: str, process: LiveNode) -> None:
        """Wait until the node has its map, hears the pictures and is heard.

        Args:
            topic: Full name of the topic of the pictures.
            process: The node.

        Raises:
            NodeError: It died, it has another map, or it took too long; the text says what is
                missing.
        """
        if self._wait(lambda: not self._missing(topic), START_TIMEOUT_S, process):
            raise NodeError(
                f'{self._name} was not ready after {START_TIMEOUT_S:g} s: {self._missing(topic)}; '
                f'{process.log_tail()}'
            )
        with self._changed:
            self._counts_before = self._counted()

    def wait_for_last_answer(self, process: LiveNode) -> None:
        """Wait until the node has said what became of every picture that reached it.

        One that it never answers is no error: it may be too fast for the node, lost on the way
        or refused, and what was answered stays worth judging.

        Raises:
            NodeError: No picture at all was answered, or the node died.
        """
        if not self._sent:
            raise NodeError('no picture was played: the source is empty')
        if self._wait(self._is_complete, ANSWER_TIMEOUT_S, process):
            if not self._answers:
                raise NodeError(
                    f'the node answered none of {len(self._sent)} pictures within '
                    f'{ANSWER_TIMEOUT_S:g} s of the last; {process.log_tail()}'
                )
            logger.warning(
                '%s has not said on /diagnostics, within %g s, what became of the last pictures: '
                '%d of %d were answered, and its counts are older',
                *(self._name, ANSWER_TIMEOUT_S, len(self._answers), len(self._sent)),
            )

    def answers(self) -> list[Answer]:
        """One for every picture that was sent, in the order of sending."""
        with self._changed:
            return [self._answer(sent) for sent in self._sent]

    def counts(self) -> Counts:
        """Pictures on their way, since `wait_until_ready`."""
        with self._changed:
            counted = {k: n - self._counts_before.get(k, 0) for k, n in self._counted().items()}
        return Counts(
            sent=len(self._sent),
            received=counted['received'] + counted['ignored, disabled'],
            processed=len(self._answers),
            dropped=counted['dropped, a newer one came'],
            others=sum(counted[key] for key in _ELSE),
        )

    def diagnostics(self) -> dict[str, dict[str, str]]:
        """What the node last said of itself: task (`input`, `map`...) to keys and values."""
        with self._changed:
            return {task: dict(values) for task, values in self._diagnostics.items()}

    def _answer(self, sent: Sent) -> Answer:
        answer = self._answers.get(sent.picture)
        if answer is None:
            return _no_answer(sent)
        assert answer.recognition is not None  # only answers are kept
        recognition = dataclasses.replace(
            answer.recognition,
            pose=self._poses.get(sent.stamp_ns),
            descriptor=self._descriptors.get(sent.stamp_ns),
        )
        return dataclasses.replace(answer, recognition=recognition)

    def _missing(self, topic: str) -> str:
        """What the node still lacks, or ''."""
        if self._map_info is None:
            nodes = [
                f'{ns.rstrip("/")}/{n}' for n, ns in self.node.get_node_names_and_namespaces()
            ]
            if self._name not in nodes:
                return f'there is no node {self._name} (other nodes: {", ".join(nodes)})'
            return f'it has not announced its map on {self._name}/map_info'
        if not self._listens(topic):
            return (
                f'it does not listen to {topic} but to {self._heard() or "no pictures"}: remap '
                'its `image`, or the topic'
            )
        if self.node.count_publishers(f'{self._name}/loop_closures') == 0:
            return f'it does not offer {self._name}/loop_closures'
        return '' if self._diagnostics else 'it has not reported on /diagnostics'

    def _listens(self, topic: str) -> bool:
        return any(
            f'{end.node_namespace.rstrip("/")}/{end.node_name}' == self._name
            for end in self.node.get_subscriptions_info_by_topic(topic)
        )

    def _heard(self) -> str:
        """Topics of pictures that the node listens to."""
        return ', '.join(
            topic
            for topic, types in self.node.get_topic_names_and_types()
            if set(types) & set(_PICTURE_TYPES) and self._listens(topic)
        )

    def _is_complete(self) -> bool:
        """Whether the node's counts are newer than all it did, and everything has come."""
        sent_s = self._sent[-1].monotonic_s
        counted, before = self._counted(), self._counts_before
        processed = counted['processed'] - before.get('processed', 0)
        received = counted['received'] + counted['ignored, disabled']
        ended = sum(counted[key] for key in ('processed', 'dropped, a newer one came', *_ELSE))
        if (
            self._reported_s <= max(sent_s, self._answered_s)
            or processed < len(self._answers)
            or ended < received
        ):
            return False
        answer = self._answers.get(self._sent[-1].picture)
        if answer is not None and answer.recognition is not None:
            return self._has_all(answer.recognition)
        new = received - sum(before.get(key, 0) for key in ('received', 'ignored, disabled'))
        if new >= len(self._sent) and processed == len(self._answers):
            return True
        # DDS replaced or lost some: the last, or an answer, could still be on its way.
        return self._reported_s > sent_s + SETTLED_S

    def _has_all(self, last: Recognition) -> bool:
        """Whether what comes after the last answer has come too."""
        stamp_ns = self._sent[-1].stamp_ns
        has_place = bool(last.matches) and bool(np.isfinite(last.matches[0].position).all())
        pose_is_due = last.status is not Status.REJECTED and has_place
        descriptor_is_due = self._descriptors_wanted and bool(last.matches)
        return (not pose_is_due or stamp_ns in self._poses) and (
            not descriptor_is_due or stamp_ns in self._descriptors
        )

    def _counted(self) -> dict[str, int]:
        values = {**self._diagnostics.get('input', {}), **self._diagnostics.get('inference', {})}
        keys = ('received', 'processed', 'dropped, a newer one came', *_ELSE)
        return {key: int(values.get(key, '0')) for key in keys}

    def _wait(self, done: Callable[[], bool], timeout_s: float, process: LiveNode) -> bool:
        """Wait for a change that makes `done` true; returns whether time ran out."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not done():
                process.check()
                self.check()
                if time.monotonic() > deadline:
                    return True
                self._changed.wait(_POLL_S)  # discovery changes without a message
        return False

    # Callbacks. What they raise would end the executor's thread unseen: `check` raises it.

    def _on_map(self, msg: MapInfo) -> None:
        mine = (self._map.model.sha256, len(self._map))
        with self._changed:
            self._map_info = msg
            if (msg.model_sha256, msg.num_places) != mine:
                self._error = NodeError(
                    f'{self._name} has another map than {self._map.directory}: {msg.num_places} '
                    f'places of model {msg.model_name} from {msg.url or "nowhere"}, not '
                    f'{len(self._map)} places of model {self._map.model.name}'
                )
            self._changed.notify_all()

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        own = f'{self._name.lstrip("/")}: '
        with self._changed:
            for status in msg.status:
                if status.name.startswith(own):
                    values = {value.key: value.value for value in status.values}
                    self._diagnostics[status.name.removeprefix(own)] = values
                    self._reported_s = time.monotonic()
            self._changed.notify_all()

    def _on_answer(self, msg: LoopClosure) -> None:
        now_s = time.monotonic()
        with self._changed:
            if not self._is_of_map(msg.map_frame_id):
                return
            waiting = self._unanswered.get(stamp_ns_from_msg(msg.header.stamp))
            if waiting:  # otherwise somebody else's picture
                self._take(msg, waiting.popleft(), now_s)
            self._changed.notify_all()

    def _is_of_map(self, frame_id: str) -> bool:
        """Whether an answer is about the loaded map: in mode `both`, others are of its own past.

        Where the two share a frame, the answer about the loaded map comes first.
        """
        return self._map_info is None or frame_id == self._map_info.header.frame_id

    def _take(self, msg: LoopClosure, sent: Sent, now_s: float) -> None:
        try:
            recognition = self._reader.recognition(msg, sent.recorded_ns)
        except VprError as error:
            self._error = error
            return
        self._answered_s = now_s
        self.max_age_s = float(np.fmax(self.max_age_s, msg.age_s))
        self._answers[sent.picture] = dataclasses.replace(
            _no_answer(sent), recognition=recognition, latency_s=now_s - sent.monotonic_s
        )

    def _on_pose(self, msg: PoseWithCovarianceStamped) -> None:
        with self._changed:
            if not self._is_of_map(msg.header.frame_id):
                return
            self._poses[stamp_ns_from_msg(msg.header.stamp)] = pose_estimate(msg)
            self._changed.notify_all()

    def _on_descriptor(self, msg: GlobalDescriptor) -> None:
        with self._changed:
            stamp_ns = stamp_ns_from_msg(msg.header.stamp)
            self._descriptors[stamp_ns] = np.asarray(msg.data, np.float32)
            self._changed.notify_all()


def _no_answer(sent: Sent) -> Answer:
    return Answer(
        index=sent.picture,
        name=sent.name,
        stamp_ns=sent.recorded_ns,
        camera=0,
        recognition=None,
        latency_s=math.nan,
    )


@contextmanager
def ros_node(
    name: str, domain_id: int | None, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Node]:
    """A node of this process whose callbacks run in a thread until the block ends.

    Args:
        name: Its name.
        domain_id: ROS domain; None: that of ROS_DOMAIN_ID.
        environment: Variables that ROS shall see while it starts, in place of this process's.
    """
    context = Context()
    with _environment(environment):
        rclpy.init(context=context, domain_id=domain_id)
        node = Node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    stopped = threading.Event()

    def spin() -> None:
        while not stopped.is_set():  # ending a bare `spin` from outside is a race in rclpy
            executor.spin_once(timeout_sec=_POLL_S)

    thread = threading.Thread(target=spin, name='listener', daemon=True)
    thread.start()
    try:
        yield node
    finally:
        stopped.set()
        thread.join()
        node.destroy_node()
        context.try_shutdown()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process until the block ends."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
