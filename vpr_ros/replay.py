# SPDX-License-Identifier: Apache-2.0
"""Play a recording over DDS at the pace of its stamps, where there is no `ros2 bag play`.

A picture waits decoded before its time comes, so that the pace is that of the recording and the
stamps are those of a camera. Headers keep their differences but are moved to the present: a node
that compares a stamp with its clock sees what it would see on a robot.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from vpr_ros.bag_messages import CAMERA_INFO, ODOMETRY, TYPESTORE
from vpr_ros.bags import Bag, Topic
from vpr_ros.conversions import image_from_rgb, stamp_msg_from_ns
from vpr_ros.prefetch import Prefetcher
from vpr_ros.sources import BagSource, Source

DEPTH = 5  # messages kept for a slow subscriber; more would only be older
_AHEAD = 4  # events decoded before their time


@dataclass(frozen=True)
class Event:
    """One message of a recording.

    Attributes:
        stamp_ns: Its time in the recording, nanoseconds.
        topic: Where it is published, relative to the node's namespace.
        message: An rclpy message with a header; the stamp is set when it is sent.
        picture: Number of the picture, -1 for what is none.
    """

    stamp_ns: int
    topic: str
    message: Any
    picture: int = -1


@dataclass(frozen=True)
class Sent:
    """A picture that was published.

    Attributes:
        picture: Its number.
        stamp_ns: The stamp it carried.
        monotonic_s: When it was handed to DDS, `time.monotonic`.
        late_s: How long after its time.
    """

    picture: int
    stamp_ns: int
    monotonic_s: float
    late_s: float


@dataclass
class Replay:
    """What a replay did.

    Attributes:
        sent: The pictures, in order.
        others: Messages of other topics.
        seconds: Duration.
    """

    sent: list[Sent] = field(default_factory=list)
    others: int = 0
    seconds: float = 0.0


def picture_events(
    source: Source, *, frame_id: str, rate_hz: float | None = None, topic: str = 'image'
) -> Iterator[Event]:
    """The pictures of a source as sensor_msgs/Image, rgb8.

    Args:
        source: Where they are.
        frame_id: Frame of the camera.
        rate_hz: Pictures a second in place of the source's own stamps, for folders without times.
        topic: Topic of the pictures.
    """
    for frame in source.frames():
        stamp_ns = frame.stamp_ns if rate_hz is None else round(frame.index * 1e9 / rate_hz)
        message = image_from_rgb(np.asarray(frame.rgb), Header(frame_id=frame_id))
        yield Event(stamp_ns, topic, message, frame.index)


def bag_events(source: BagSource) -> Iterator[Event]:
    """The pictures of a bag, and camera_info and odometry where the bag has them, by time.

    Every message has its time from where the source takes that of its pictures: header or record.
    """
    streams = [picture_events(source, frame_id=_frame_id(source))]
    with Bag(source.path) as bag:
        others = [
            (_only(bag, CAMERA_INFO), 'camera_info', CameraInfo),
            (_only(bag, ODOMETRY), 'odom', Odometry),
        ]
    for found, name, message_type in others:
        if found is not None:
            streams.append(
                _message_events(Bag(source.path, source.stamps), found, name, message_type)
            )
    return heapq.merge(*streams, key=lambda event: event.stamp_ns)


def _frame_id(source: BagSource) -> str:
    """Frame of the camera, as the first picture has it."""
    with Bag(source.path, source.stamps) as bag:
        _, message = next(bag.messages(source.topic))
    return message.header.frame_id


def _only(bag: Bag, msgtype: str) -> Topic | None:
    """The one topic of a type; None where there is none, or several to choose from."""
    found = [topic for topic in bag.topics.values() if topic.msgtype == msgtype and topic.count]
    return found[0] if len(found) == 1 else None


def _message_events(bag: Bag, topic: Topic, name: str, message_type: type) -> Iterator[Event]:
    with bag:
        for stamp_ns, msg in bag.messages(topic):
            cdr = bytes(TYPESTORE.serialize_cdr(msg, topic.msgtype))
            yield Event(stamp_ns, name, deserialize_message(cdr, message_type))


class Player:
    """Publishes events in real time.

    Attributes:
        publishers: By topic.
    """

    def __init__(self, node: Node, *, reliable: bool = True, rate: float = 1.0) -> None:
        """Offer the topics, so that subscribers can find them before the first picture.

        Args:
            node: Publishes; it need not be spinning.
            reliable: QoS of the pictures; `False` is best effort, as many camera drivers offer.
            rate: Speed, 1 is real time.

        Raises:
            ValueError: `rate` is not positive.
        """
        if not rate > 0:
            raise ValueError(f'rate must be positive, not {rate}')
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.VOLATILE,
        )
        self._node = node
        self._rate = rate
        self._stopped = threading.Event()
        types = {'image': Image, 'camera_info': CameraInfo, 'odom': Odometry}
        self.publishers: dict[str, Publisher] = {
            topic: node.create_publisher(message_type, topic, qos)
            for topic, message_type in types.items()
        }

    def stop(self) -> None:
        """Make `play` return before its next message; may be called from any thread."""
        self._stopped.set()

    def play(
        self, events: Iterable[Event], on_picture: Callable[[Sent], None] | None = None
    ) -> Replay:
        """Publish every event at its time; one that is late goes out at once.

        Args:
            events: In the order of their stamps; taken in a thread, a few ahead.
            on_picture: Is told of every picture, just before it is handed to DDS.

        Returns:
            What was sent, and when.
        """
        replay = Replay()
        with Prefetcher(events, _AHEAD) as ahead:
            begin_s: float | None = None
            for event in ahead:
                if begin_s is None:
                    begin_s, first_ns = time.monotonic(), event.stamp_ns
                    begin_ns = self._node.get_clock().now().nanoseconds
                offset_s = (event.stamp_ns - first_ns) / 1e9 / self._rate
                if self._stopped.wait(max(0.0, begin_s + offset_s - time.monotonic())):
                    break
                stamp_ns = begin_ns + round(offset_s * 1e9)
                self._send(event, stamp_ns, begin_s + offset_s, replay, on_picture)
            if begin_s is not None:
                replay.seconds = time.monotonic() - begin_s
        return replay

    def _send(
        self,
        event: Event,
        stamp_ns: int,
        due_s: float,
        replay: Replay,
        on_picture: Callable[[Sent], None] | None,
    ) -> None:
        event.message.header.stamp = stamp_msg_from_ns(stamp_ns)
        if event.picture < 0:
            replay.others += 1
        else:
            now_s = time.monotonic()
            sent = Sent(event.picture, stamp_ns, now_s, now_s - due_s)
            replay.sent.append(sent)
            if on_picture is not None:
                on_picture(sent)
        self.publishers[event.topic].publish(event.message)
