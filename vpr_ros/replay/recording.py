# SPDX-License-Identifier: Apache-2.0
"""What can be played: topics with their types, and messages in the order of their times."""

from __future__ import annotations

import dataclasses
import heapq
import importlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.exceptions import NameValidationException
from rclpy.serialization import deserialize_message
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from vpr_ros.bag_cameras import camera_info_topic
from vpr_ros.bag_messages import CAMERA_INFO, ODOMETRY
from vpr_ros.bags import Bag, Topic
from vpr_ros.conversions import image_from_rgb, stamp_msg_from_ns
from vpr_ros.errors import SourceError
from vpr_ros.sources import BagSource, Source, picture_name

_MESSAGE_TYPE = re.compile(r'([a-z]\w*)/msg/([A-Z]\w*)', re.ASCII)
_NS_PER_S = 1e9
_JUMP_S = 5.0  # of a stamp against the record: more than any delay on the way to the recorder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """One message of a recording.

    Attributes:
        stamp_ns: Its time in the recording, nanoseconds: when it is due.
        topic: Where it is published.
        message: An rclpy message.
        picture: Number of the picture in its source, -1 for what is none.
        name: Name of the picture, '' for what is none.
    """

    stamp_ns: int
    topic: str
    message: Any
    picture: int = -1
    name: str = ''


@dataclass(frozen=True)
class Recording:
    """Something that can be played.

    Attributes:
        types: Topic to class of its messages.
        events: Makes the messages, in the order of their times; may be called again.
        inputs: What the localizer calls its inputs, to the topics that are meant for them.
        latched: Topics whose messages are for late subscribers too, and how many there are. Those
            from before the part that is played come first.
        left_out: Topics of the bag whose messages have no Python class here.
        begin_ns: Time in the recording from which it is played, nanoseconds, if known.
        end_ns: Time up to which it is played, nanoseconds, if known.
    """

    types: Mapping[str, type]
    events: Callable[[], Iterator[Event]]
    inputs: Mapping[str, str] = field(default_factory=dict)
    latched: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[Topic, ...] = ()
    begin_ns: float = math.nan
    end_ns: float = math.nan

    @property
    def pictures(self) -> str:
        """Topic of the pictures that the localizer is to answer; '' for none."""
        return self.inputs.get('image', self.inputs.get('image/compressed', ''))


@dataclass(frozen=True)
class Selection:
    """What of a bag is played, under which names.

    Attributes:
        topics: Names in the bag; empty: all there are.
        remap: Name in the bag to the name to publish under.
        start_s: Seconds that are left out at the beginning, counted from the first record, or
            from the first stamp that would be played where header stamps set the pace.
        duration_s: Seconds that are played from there.
    """

    topics: Sequence[str] = ()
    remap: Mapping[str, str] = field(default_factory=dict)
    start_s: float = 0.0
    duration_s: float = math.inf


def folder_recording(source: Source, *, rate_hz: float | None = None) -> Recording:
    """The pictures of any source on `image`, as sensor_msgs/Image, rgb8.

    Args:
        source: Where they are.
        rate_hz: Pictures a second in place of the source's own stamps, for folders without times.
    """

    def events() -> Iterator[Event]:
        for frame in source.frames():
            stamp_ns = frame.stamp_ns if rate_hz is None else round(frame.index * 1e9 / rate_hz)
            header = Header(stamp=stamp_msg_from_ns(stamp_ns), frame_id='camera')
            message = image_from_rgb(np.asarray(frame.rgb), header)
            yield Event(stamp_ns, 'image', message, frame.index, frame.name)

    return Recording({'image': Image}, events, inputs={'image': 'image'})


def bag_recording(path: str | Path, selection: Selection = Selection()) -> Recording:
    """All of a bag, as it was recorded and at the pace of recording, as `ros2 bag play` does.

    Topics whose messages have no Python class here are left out.

    Raises:
        FileNotFoundError, SourceError: No such bag or topic, or nothing of it can be played.
    """
    with Bag(path) as bag:
        chosen = [bag.topic(name) for name in selection.topics] or list(bag.topics.values())
        return _Reading(bag, chosen, selection).recording()


def query_recording(source: BagSource, selection: Selection = Selection()) -> Recording:
    """The pictures of a bag to be recognised, and what else of it the localizer can use.

    That is the camera_info beside the pictures, or the only one, and the only odometry;
    `selection.topics` names other topics instead. Messages are played at the pace of the source's
    stamps, and carry them.

    Raises:
        FileNotFoundError, SourceError: No such bag or topic, or nothing of it can be played.
    """
    with Bag(source.path, source.stamps) as bag:
        if selection.topics:
            others = [bag.topic(name) for name in selection.topics]
        else:
            others = [*_camera_info(bag, source.topic), *_only(bag, ODOMETRY)]
        chosen = [source.topic, *(topic for topic in others if topic.name != source.topic.name)]
        return _Reading(bag, chosen, selection, source).recording()


def message_class(msgtype: str) -> type | None:
    """The Python class of a message type such as `sensor_msgs/msg/Image`; None: not here."""
    found = _MESSAGE_TYPE.fullmatch(msgtype)
    if found is None:
        return None
    try:
        return getattr(importlib.import_module(f'{found[1]}.msg'), found[2], None)
    except ImportError:
        return None


def _camera_info(bag: Bag, pictures: Topic) -> list[Topic]:
    beside = bag.topics.get(camera_info_topic(pictures.name))
    if beside is not None and beside.msgtype == CAMERA_INFO and beside.count:
        return [beside]
    return _only(bag, CAMERA_INFO)


def _only(bag: Bag, msgtype: str) -> list[Topic]:
    """The one topic of a type with messages; nothing where there are several to choose from."""
    found = [topic for topic in bag.topics.values() if topic.msgtype == msgtype and topic.count]
    return found if len(found) == 1 else []


class _Reading:
    """Makes a recording of the topics of a bag."""

    def __init__(
        self,
        bag: Bag,
        chosen: Sequence[Topic],
        selection: Selection,
        source: BagSource | None = None,
    ) -> None:
        """Look at an open bag.

        Args:
            bag: The bag.
            chosen: Topics to play.
            selection: Names and times.
            source: Whose pictures are to be recognised: messages are played by its stamps.
        """
        self._path = bag.path
        self._source = source
        self._selection = selection
        self._begin_ns, self._end_ns = bag.start_ns, bag.end_ns
        classes = {topic: message_class(topic.msgtype) for topic in chosen}
        self._classes = {topic: kind for topic, kind in classes.items() if kind is not None}
        self._left_out = tuple(topic for topic, kind in classes.items() if kind is None)
        self._by_header = source is not None and source.stamps == 'header'
        self._names = self._published_names()
        self._check(bag)

    def _published_names(self) -> dict[str, str]:
        """Name in the bag to published name."""
        names = {topic.name: topic.name for topic in self._classes}
        for name, new in self._selection.remap.items():
            if name not in names:
                played = ', '.join(sorted(names)) or 'none'
                raise SourceError(f'{name} is not played, so it cannot become {new}: {played} are')
            try:
                validate_topic_name(new)
            except NameValidationException as error:
                raise SourceError(f'{name} cannot become {new!r}: {error}') from error
            names[name] = new
        kinds: dict[str, Topic] = {}
        for topic in self._classes:
            other = kinds.setdefault(names[topic.name], topic)
            if other.msgtype != topic.msgtype:
                raise SourceError(
                    f'{other.name} and {topic.name} cannot both become {names[topic.name]}: they '
                    f'are {other.msgtype} and {topic.msgtype}'
                )
        return names

    def _check(self, bag: Bag) -> None:
        if not any(topic.count for topic in self._classes):
            held = bag.describe() or '  nothing'
            raise SourceError(f'nothing of {self._path} can be played; it holds\n{held}')
        for topic, kind in self._classes.items() if self._by_header else ():
            if not has_header(kind):
                raise SourceError(
                    f'{self._path}: {topic.name} ({topic.msgtype}) has no header: --stamps record '
                    'plays by the times of recording'
                )

    def recording(self) -> Recording:
        """What was chosen."""
        start_ns = self._begin_ns + round(self._selection.start_s * _NS_PER_S)
        return Recording(
            types={self._names[topic.name]: kind for topic, kind in self._classes.items()},
            events=self._events,
            inputs=self._inputs(),
            latched=self._latched(),
            left_out=self._left_out,
            begin_ns=start_ns,
            end_ns=min(self._end_ns, start_ns + self._selection.duration_s * _NS_PER_S),
        )

    def _latched(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for topic in self._classes:
            name = self._names[topic.name]
            if topic.latched:
                counts[name] = counts.get(name, 0) + topic.count
        return counts

    def _inputs(self) -> dict[str, str]:
        if self._source is None:
            return {}
        inputs = {}
        for topic, kind in self._classes.items():
            name = self._names[topic.name]
            if topic.name == self._source.topic.name:
                inputs['image/compressed' if kind is CompressedImage else 'image'] = name
            elif topic.msgtype in (CAMERA_INFO, ODOMETRY):
                inputs.setdefault('odom' if topic.msgtype == ODOMETRY else 'camera_info', name)
        return inputs

    def _events(self) -> Iterator[Event]:
        empty = True  # a generator throughout: SQLite wants to be read by one thread
        for event in self._by_stamp() if self._by_header else self._by_record():
            empty = False
            yield event
        if empty:
            length_s = (self._end_ns - self._begin_ns) / _NS_PER_S
            raise SourceError(
                f'{self._path}: no message of {", ".join(self._names)} lies in the '
                f'{self._selection.duration_s:g} s from second {self._selection.start_s:g} on; '
                f'the recording is {length_s:.1f} s long'
            )

    def _by_record(self) -> Iterator[Event]:
        start_ns = self._begin_ns + round(self._selection.start_s * _NS_PER_S)
        end_ns = start_ns + self._selection.duration_s * _NS_PER_S
        # Pictures have their numbers in the whole bag, so these must be counted from its start.
        since_ns = start_ns if self._source is None and start_ns > self._begin_ns else None
        counts = dict.fromkeys((topic.name for topic in self._classes), 0)
        earlier = self._latched_before(start_ns)
        with Bag(self._path) as bag:
            for topic, recorded_ns, cdr in bag.records(list(self._classes), since_ns=since_ns):
                number, counts[topic.name] = counts[topic.name], counts[topic.name] + 1
                if recorded_ns > end_ns:
                    return
                if recorded_ns >= start_ns:
                    yield from earlier  # once: afterwards it is exhausted
                    yield self._event(
                        topic, number, recorded_ns, self._message(topic, number, cdr)
                    )

    def _latched_before(self, start_ns: int) -> Iterator[Event]:
        """Yield what a subscriber would still have got at the start."""
        latched = [
            topic
            for topic in self._classes
            if topic.latched and (self._source is None or topic.name != self._source.topic.name)
        ]
        if not latched or start_ns <= self._begin_ns:
            return
        counts = dict.fromkeys((topic.name for topic in latched), 0)
        with Bag(self._path) as bag:
            for topic, recorded_ns, cdr in bag.records(latched):
                if recorded_ns >= start_ns:
                    return
                number, counts[topic.name] = counts[topic.name], counts[topic.name] + 1
                yield self._event(topic, number, start_ns, self._message(topic, number, cdr))

    def _by_stamp(self) -> Iterator[Event]:
        events = heapq.merge(
            *(self._stamped(topic) for topic in self._classes), key=lambda event: event.stamp_ns
        )
        latched = self._latched()
        earlier: list[Event] = []
        start_ns: int | None = None
        for event in events:
            if start_ns is None:
                start_ns = event.stamp_ns + round(self._selection.start_s * _NS_PER_S)
            if event.stamp_ns > start_ns + self._selection.duration_s * _NS_PER_S:
                return
            if event.stamp_ns >= start_ns:
                yield from earlier
                earlier.clear()
                yield event
            elif event.topic in latched and event.picture < 0:
                earlier.append(dataclasses.replace(event, stamp_ns=start_ns))

    def _stamped(self, topic: Topic) -> Iterator[Event]:
        with Bag(self._path, 'header') as bag:
            ahead_ns: int | None = None  # of the record before; None: none, or warned already
            for number, (_, recorded_ns, cdr) in enumerate(bag.records([topic])):
                message = self._message(topic, number, cdr)
                stamp_ns = bag.stamp_ns(topic, number, recorded_ns, message)
                if number == 0:
                    ahead_ns = stamp_ns - recorded_ns
                elif ahead_ns is not None:
                    ahead_ns = self._follow(topic, number, ahead_ns, stamp_ns - recorded_ns)
                yield self._event(topic, number, stamp_ns, message)

    def _follow(self, topic: Topic, number: int, before_ns: int, now_ns: int) -> int | None:
        """Return how far a stamp is ahead of its record; None after a warning that it jumped."""
        jump_s = (now_ns - before_ns) / _NS_PER_S
        if abs(jump_s) <= _JUMP_S:
            return now_ns
        logger.warning(
            '%s: the stamp of message %d of %s jumps by %+.1f s against the time of recording, '
            'and sets when it is played; --stamps record plays by the times of recording',
            *(self._path, number, topic.name, jump_s),
        )
        return None

    def _message(self, topic: Topic, number: int, cdr: bytes) -> Any:
        try:
            return deserialize_message(bytes(cdr), self._classes[topic])
        except Exception as error:  # rclpy raises many kinds
            raise SourceError(
                f'{self._path}: message {number} of {topic.name} is no {topic.msgtype} as it is '
                f'installed here: {error}; --topics can leave the topic out'
            ) from error

    def _event(self, topic: Topic, number: int, stamp_ns: int, message: Any) -> Event:
        name = self._names[topic.name]
        if self._source is None:
            return Event(stamp_ns, name, message)
        if has_header(type(message)):
            message.header.stamp = stamp_msg_from_ns(stamp_ns)
        if topic.name != self._source.topic.name:
            return Event(stamp_ns, name, message)
        return Event(stamp_ns, name, message, number, picture_name(topic.name, stamp_ns))


def has_header(kind: Any) -> bool:
    """Whether the messages of a class have a std_msgs/Header."""
    return kind.get_fields_and_field_types().get('header') == 'std_msgs/Header'


def headers(message: Any) -> Iterator[Header]:
    """Yield the headers of a message: its own and those of its parts, as in tf2_msgs/TFMessage."""
    for name, kind in message.get_fields_and_field_types().items():
        if kind == 'std_msgs/Header':
            yield getattr(message, name)
        elif kind.startswith('sequence<') and '/' in kind:
            parts = getattr(message, name)
            if parts and has_header(type(parts[0])):
                yield from (part.header for part in parts)
