# SPDX-License-Identifier: Apache-2.0
"""Read rosbag2 recordings without ROS: both storages, split and compressed, through `rosbags`.

Only the message types that this project uses are ever decoded, with definitions that are built
in: whatever other types a bag holds, known or not, cannot disturb reading it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, QosDurability
from rosbags.rosbag2 import Reader

from vpr_ros.bag_messages import IMAGE, PICTURE_TYPES, POSE_TYPES, TYPESTORE
from vpr_ros.conversions import stamp_ns_from_msg
from vpr_ros.errors import SourceError

STAMPS = ('header', 'record')
_STORAGE_SUFFIXES = ('.mcap', '.db3')
_DEPTH_ENCODINGS = ('16UC1', '32FC1')


@dataclass(frozen=True)
class Topic:
    """What a bag says of one topic.

    Attributes:
        name: Name of the topic.
        msgtype: Type, such as `sensor_msgs/msg/Image`.
        count: Number of messages.
        latched: Whether a publisher kept its last message for late subscribers.
    """

    name: str
    msgtype: str
    count: int
    latched: bool = False


class Bag:
    """Reads a rosbag2; use it as a context manager.

    Attributes:
        path: The bag's folder or its one file.
        topics: Every topic by name.
    """

    def __init__(self, path: str | Path, stamps: str = 'header') -> None:
        """Name the bag; nothing is opened yet.

        Args:
            path: A bag's folder, or a single `.mcap` or `.db3` file.
            stamps: Whether the time of a message is its `header` stamp or the time of its
                `record`, for recordings whose senders set no stamps.

        Raises:
            ValueError: `stamps` is neither.
        """
        if stamps not in STAMPS:
            raise ValueError(f'stamps must be one of {", ".join(STAMPS)}, not {stamps!r}')
        self.path = Path(path)
        self.topics: dict[str, Topic] = {}
        self._stamps = stamps
        self._reader: Reader | None = None

    def __enter__(self) -> Bag:
        """Open the bag and read its list of topics.

        Raises:
            FileNotFoundError: No such path.
            SourceError: Not a rosbag2, or one that was not closed properly.
        """
        _check_bag_path(self.path)
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except Exception as error:  # on a damaged file rosbags fails in many ways
            raise SourceError(
                f'{self.path} cannot be opened as a rosbag2: {_reason(error)}; cut '
                'off while recording or copying? `ros2 bag reindex` or `mcap recover` may mend it'
            ) from error
        for name, info in self._reader.topics.items():
            self.topics[name] = Topic(
                name,
                info.msgtype or 'several types',
                info.msgcount,
                latched=any(_is_latched(connection) for connection in info.connections),
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the bag."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def describe(self) -> str:
        """Return one line for each topic: name, type, number of messages."""
        return '\n'.join(
            f'  {topic.name}  {topic.msgtype}  {topic.count} messages'
            for topic in sorted(self.topics.values(), key=lambda topic: topic.name)
        )

    def picture_topic(self, wanted: str | None = None) -> Topic:
        """Return the topic to take pictures from.

        Without `wanted` it is the only camera there is; depth cameras do not count, and a raw
        topic is preferred to its own `/compressed` copy.

        Raises:
            SourceError: No such topic, not a topic of pictures, none, or several; the message
                lists what is in the bag.
        """
        if wanted is not None:
            return self._named_topic(wanted, PICTURE_TYPES)
        candidates = self._topics_of(PICTURE_TYPES)
        names = {topic.name for topic in candidates}
        candidates = [
            topic
            for topic in candidates
            if topic.name.removesuffix('/compressed') == topic.name
            or topic.name.removesuffix('/compressed') not in names
        ]
        if len(candidates) > 1:
            candidates = [topic for topic in candidates if not self._is_depth(topic)]
        if len(candidates) != 1:
            raise SourceError(self._choice('picture', candidates, '--topic'))
        return candidates[0]

    def pose_topic(self, wanted: str | None = None) -> Topic | None:
        """Return the topic to take poses from; None if the bag has none.

        Raises:
            SourceError: No such topic, not a topic of poses, or several and none was named.
        """
        if wanted is not None:
            return self._named_topic(wanted, POSE_TYPES)
        candidates = self._topics_of(POSE_TYPES)
        if len(candidates) > 1:
            raise SourceError(
                self._choice('pose', candidates, '--pose-topic') + '\nor leave them: --no-poses'
            )
        return candidates[0] if candidates else None

    @property
    def start_ns(self) -> int:
        """Time of the first record, nanoseconds."""
        return self._open_reader.start_time

    @property
    def end_ns(self) -> int:
        """Time of the last record, nanoseconds."""
        return self._open_reader.end_time - 1  # rosbags counts to just after it

    def topic(self, wanted: str) -> Topic:
        """Return the topic of a name, with or without its first slash.

        Raises:
            SourceError: There is none; the message lists what is in the bag.
        """
        topic = self.topics.get(wanted) or self.topics.get(f'/{wanted}')
        if topic is None:
            raise SourceError(f'{self.path} has no topic {wanted}; it holds\n{self.describe()}')
        return topic

    def messages(self, topic: Topic) -> Iterator[tuple[int, Any]]:
        """Yield time and message of a topic, in the order of recording.

        Yields:
            Nanoseconds (see `stamps`) and the message as `rosbags` represents it.

        Raises:
            SourceError: The bag is damaged, holds fewer messages than it promises, or the
                messages have no stamps.
        """
        for count, (_, recorded_ns, data) in enumerate(self.records([topic])):
            try:
                msg = TYPESTORE.deserialize_cdr(data, topic.msgtype)
            except Exception as error:  # on damaged data rosbags fails in many ways
                raise SourceError(
                    f'{self.path}: message {count} of {topic.name} is no {topic.msgtype}: {error}'
                ) from error
            yield self.stamp_ns(topic, count, recorded_ns, msg), msg

    def records(
        self, topics: Sequence[Topic], *, since_ns: int | None = None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield the messages of some topics as they were recorded, in the order of recording.

        Args:
            topics: Which ones.
            since_ns: Leave out what was recorded before, nanoseconds; None: nothing.

        Yields:
            Topic, time of the record in nanoseconds, serialized message (CDR).

        Raises:
            SourceError: The bag is damaged, or holds fewer messages than it promises.
        """
        counts = dict.fromkeys((topic.name for topic in topics), 0)
        of_name = {topic.name: topic for topic in topics}
        connections = [c for c in self._open_reader.connections if c.topic in of_name]
        records = iter(self._open_reader.messages(connections, since_ns) if connections else ())
        while True:
            try:
                connection, recorded_ns, data = next(records)
            except StopIteration:
                break
            except Exception as error:  # on a damaged file rosbags fails in many ways
                raise SourceError(
                    f'{self.path} is damaged in {", ".join(of_name)}: {_reason(error)}; '
                    'copy it again, or mend it with `ros2 bag reindex` or `mcap recover`'
                ) from error
            counts[connection.topic] += 1
            yield of_name[connection.topic], recorded_ns, data
        for topic in topics if since_ns is None else ():
            if counts[topic.name] < topic.count:
                raise SourceError(
                    f'{self.path} promises {topic.count} messages of {topic.name} but holds '
                    f'{counts[topic.name]}: cut off while copying? Copy it again, or mend it with '
                    '`ros2 bag reindex`'
                )

    @property
    def _open_reader(self) -> Reader:
        if self._reader is None:
            raise RuntimeError('the bag is not open: use `with Bag(path) as bag`')
        return self._reader

    def stamp_ns(self, topic: Topic, number: int, recorded_ns: int, msg: Any) -> int:
        """Return the time of a message, by header or record (see `stamps`).

        Args:
            topic: Where it was published.
            number: How many came before it on the topic.
            recorded_ns: Time of its record, nanoseconds.
            msg: The message; those of `rosbags` serve as well as those of rclpy.

        Raises:
            SourceError: Its header has no stamp.
        """
        if self._stamps == 'record':
            return recorded_ns
        stamp_ns = stamp_ns_from_msg(msg.header.stamp)
        if stamp_ns == 0:
            raise SourceError(
                f'{self.path}: message {number} of {topic.name} has no stamp in its header; '
                '--stamps record takes the time of recording instead'
            )
        return stamp_ns

    def _topics_of(self, msgtypes: Sequence[str]) -> list[Topic]:
        return [t for t in self.topics.values() if t.msgtype in msgtypes and t.count > 0]

    def _named_topic(self, wanted: str, msgtypes: Sequence[str]) -> Topic:
        topic = self.topic(wanted)
        if topic.msgtype not in msgtypes:
            raise SourceError(
                f'{self.path}: {topic.name} is a {topic.msgtype}; accepted are '
                f'{", ".join(msgtypes)}; the bag holds\n{self.describe()}'
            )
        if topic.count == 0:
            raise SourceError(f'{self.path}: {topic.name} has no messages')
        return topic

    def _choice(self, what: str, candidates: Sequence[Topic], option: str) -> str:
        if not candidates:
            held = self.describe() or '  nothing'
            return f'{self.path} has no {what} topic with messages; it holds\n{held}'
        names = ', '.join(sorted(topic.name for topic in candidates))
        return f'{self.path} has several {what} topics; choose one with {option}: {names}'

    def _is_depth(self, topic: Topic) -> bool:
        _, _, data = next(self.records([topic]))
        msg: Any = TYPESTORE.deserialize_cdr(data, topic.msgtype)
        if topic.msgtype == IMAGE:
            return msg.encoding in _DEPTH_ENCODINGS
        return 'compressedDepth' in msg.format


def _is_latched(connection: Connection) -> bool:
    profiles = getattr(connection.ext, 'offered_qos_profiles', ())
    return any(profile.durability is QosDurability.TRANSIENT_LOCAL for profile in profiles)


def is_bag(path: Path) -> bool:
    """Tell whether a path looks like a rosbag2: its folder, or one of its files."""
    if path.is_dir():
        return (path / 'metadata.yaml').exists() or bool(_storage_files(path))
    return path.suffix in _STORAGE_SUFFIXES or _is_compressed_storage(path)


def _check_bag_path(path: Path) -> None:
    """Explain the mistakes that rosbags would report in its own terms, or not at all."""
    if not path.exists():
        raise FileNotFoundError(f'no bag at {path}')
    if path.suffix == '.bag':
        raise SourceError(
            f'{path} is a ROS 1 bag; convert it with `rosbags-convert --src {path} --dst NAME`'
        )
    if _is_compressed_storage(path):
        raise SourceError(f'{path} is one compressed file of a bag: give its folder {path.parent}')
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        raise SourceError(
            f'{path} has no metadata.yaml (was the recording killed?): run `ros2 bag reindex '
            f'{path}`, or give the file itself ({", ".join(_storage_files(path)) or "none here"})'
        )
    for database in path.glob('*.db3') if path.is_dir() else [path]:
        log = database.with_name(f'{database.name}-wal')
        if log.exists() and log.stat().st_size > 0:
            raise SourceError(
                f'{database} was not closed: its last messages are still in {log.name}; run '
                f"`sqlite3 {database} 'PRAGMA wal_checkpoint(TRUNCATE)'` first"
            )


def _storage_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in _STORAGE_SUFFIXES)


def _is_compressed_storage(path: Path) -> bool:
    return path.suffix == '.zstd' and Path(path.stem).suffix in _STORAGE_SUFFIXES


def _reason(error: Exception) -> str:
    """Return what rosbags says; some of its errors are only a type."""
    return str(error).rstrip('.') or type(error).__name__
