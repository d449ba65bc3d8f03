# SPDX-License-Identifier: Apache-2.0
"""Pictures through the real node, over DDS: finds or starts it, plays, waits for the answers."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from vpr_ros.evaluation.answers import Answer
from vpr_ros.live.counts import Counts
from vpr_ros.live.listener import Listener, ros_node
from vpr_ros.live.node_process import LiveNode, NodeError, NodeProcess
from vpr_ros.place_map import PlaceMap
from vpr_ros.replay.player import Pace, Player, Replay, Sent
from vpr_ros.replay.recording import Recording

OWN_NAME = '/localizer'
_PLAYER = 'vpr_replay'
_LOOK_S = 0.5  # nodes that run answer a newcomer at once
_DRAWS = 5


@dataclass(frozen=True)
class Hooks:
    """What a caller wants to do meanwhile.

    Attributes:
        progress: Is told of every picture its number in the source, counted from 1.
        controls: Entered with the player while it plays, such as a keyboard.
    """

    progress: Callable[[int], None] = lambda _: None
    controls: Callable[[Player], AbstractContextManager[Any]] = lambda _: nullcontext()


@dataclass(frozen=True)
class LiveRun:
    """What came of a live run.

    Attributes:
        answers: One for every picture that was sent, in that order; without a recognition where
            the node never looked at it.
        counts: Pictures on their way.
        replay: What the player did.
        max_age_s: Age of the oldest picture that was answered, at publication, seconds.
        diagnostics: What the node said of itself at the end: task to keys and values.
    """

    answers: list[Answer]
    counts: Counts
    replay: Replay
    max_age_s: float
    diagnostics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def said(self, task: str, key: str) -> str:
        """Return a value of the node's diagnostics.

        Raises:
            NodeError: It said no such thing.
        """
        try:
            return self.diagnostics[task][key]
        except KeyError:
            heard = ', '.join(self.diagnostics.get(task, {})) or 'nothing'
            raise NodeError(
                f'the node does not tell `{key}` in its diagnostics of `{task}`, but {heard}: it '
                'must be of the same version as this command, and active'
            ) from None


def run_live(
    recording: Recording,
    *,
    place_map: PlaceMap,
    model: Path,
    log: Path,
    pace: Pace,
    parameters: Mapping[str, object] | None = None,
    descriptors: bool = False,
    hooks: Hooks = Hooks(),
) -> LiveRun:
    """Play to a fresh node, in a domain of its own, and collect what it says.

    Args:
        recording: Pictures and what goes with them.
        place_map: The map, saved; the node loads it.
        model: The model that the node loads.
        log: File for the node's own output.
        pace: How to play; the node uses /clock if it has one.
        parameters: More parameters of the node.
        descriptors: Whether to collect the descriptors.
        hooks: What to do meanwhile.

    Raises:
        VprError: The node did not start, died, or gave no answer; or the recording is damaged.
    """
    assert place_map.directory is not None  # a map that the node is to load was saved
    transport = _transport(recording)
    given = {
        'map': place_map.directory.resolve(),
        'model': model.resolve(),
        'image_transport': transport,
        'use_sim_time': str(pace.clock_hz is not None).lower(),
        'diagnostics_period_s': 0.5,
        **(parameters or {}),
    }
    with (
        _private_node() as (node, environment),
        NodeProcess(given, log=log, environment=environment, remap=recording.inputs) as process,
    ):
        listener = Listener(node, OWN_NAME, place_map, descriptors=descriptors)
        return _play(recording, listener, process, pace, hooks)


def run_attached(
    recording: Recording,
    *,
    name: str,
    place_map: PlaceMap,
    pace: Pace,
    descriptors: bool = False,
    hooks: Hooks = Hooks(),
) -> LiveRun:
    """Play to a node that already runs in this domain, and collect what it says.

    Args:
        recording: Pictures and what goes with them.
        name: Full name of the node, such as `/localizer`.
        place_map: The map that the node has.
        pace: How to play.
        descriptors: Whether to collect the descriptors.
        hooks: What to do meanwhile.

    Raises:
        VprError: There is no such node, it has another map, ends, or gives no answer; or the
            recording is damaged.
    """
    with ros_node(_PLAYER, None) as node:
        listener = Listener(node, name, place_map, descriptors=descriptors)
        return _play(recording, listener, _RunningNode(node, name), pace, hooks)


class _RunningNode:
    """A node that somebody else started."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._topic = f'{name}/loop_closures'
        self._name = name
        self._seen = False

    def check(self) -> None:
        """See that the node is still there, once it was."""
        found = self._node.count_publishers(self._topic) > 0
        if self._seen and not found:
            raise NodeError(f'{self._name} has ended: nobody offers {self._topic} any more')
        self._seen |= found

    def log_tail(self) -> str:
        """Where to look."""
        return f'see what {self._name} prints, and /diagnostics'


def _transport(recording: Recording) -> str:
    kind = recording.types[recording.pictures]
    return 'compressed' if kind is CompressedImage else 'raw'


def _play(
    recording: Recording, listener: Listener, process: LiveNode, pace: Pace, hooks: Hooks
) -> LiveRun:
    player = Player(listener.node, recording, pace)
    topic = player.publishers[recording.pictures].topic_name

    def sent(picture: Sent) -> None:
        listener.remember(picture)
        listener.check()
        process.check()
        hooks.progress(picture.picture + 1)

    with hooks.controls(player):
        replay = player.play(
            on_picture=sent, ready=lambda: listener.wait_until_ready(topic, process)
        )
    listener.wait_for_last_answer(process)
    counts = listener.counts()
    if counts.processed == 0:
        raise NodeError(
            f'the node answered none of {counts.sent} pictures ({counts.received} received, '
            f'{counts.dropped} dropped, {counts.others} refused, skipped or failed); '
            f'{process.log_tail()}'
        )
    return LiveRun(
        answers=listener.answers(),
        counts=counts,
        replay=replay,
        max_age_s=listener.max_age_s,
        diagnostics=listener.diagnostics(),
    )


@contextmanager
def _private_node() -> Iterator[tuple[Node, dict[str, str]]]:
    """A node in a domain of its own, on this machine alone, and what puts another one there."""
    local = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    if os.environ.get('ROS_DISTRO') == 'humble':
        local = {'ROS_LOCALHOST_ONLY': '1'}  # deprecated since Iron
    users = os.environ.get('ROS_DOMAIN_ID') or '0'
    choice = [number for number in range(1, 102) if str(number) != users]
    for domain_id in random.SystemRandom().sample(choice, _DRAWS):
        with ros_node(_PLAYER, domain_id, local) as node:
            time.sleep(_LOOK_S)
            if len(node.get_node_names()) == 1:
                yield node, {**local, 'ROS_DOMAIN_ID': str(domain_id)}
                return
    raise NodeError(
        f'{_DRAWS} ROS domains drawn at random all had nodes on this machine: end those that are '
        'left over from other runs'
    )
