# SPDX-License-Identifier: Apache-2.0
"""Where pictures come from: a folder, a video or a rosbag2, one interface for the three."""

from __future__ import annotations

import contextlib
import functools
import heapq
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vpr_ros.bag_messages import IMAGE
from vpr_ros.bag_poses import BagPoses, read_bag_poses
from vpr_ros.bags import Bag, Topic, is_bag
from vpr_ros.conversions import rgb_from_compressed, rgb_from_image
from vpr_ros.errors import EncodingError, SourceError
from vpr_ros.frames import Frame, Source, files_sha256
from vpr_ros.picture_folder import PICTURE_SUFFIXES, PictureFolder
from vpr_ros.poses import NS_PER_S

__all__ = [
    'AnySource',
    'BagSource',
    'Frame',
    'PictureFolder',
    'Source',
    'VideoFile',
    'open_source',
    'picture_name',
]

logger = logging.getLogger(__name__)

TopicNames = str | Sequence[str] | None

_VIDEO_SHORTFALL = 0.9  # of the promised frames; containers promise by duration, not by count


class VideoFile:
    """The frames of a video; stamps count from its start."""

    is_numbered = False
    has_times = True

    def __init__(self, path: str | Path) -> None:
        """Open the video once to see that it is one.

        Raises:
            SourceError: OpenCV cannot read it as a video.
        """
        self.path = Path(path)
        capture = self._open()
        self.num_frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        capture.release()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order."""
        capture = self._open()
        index, previous_ns = 0, -1
        try:
            while capture.grab():
                stamp_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                if stamp_ns <= previous_ns:
                    raise SourceError(
                        f'{self.path}: frame {index} has no later time than the one before; '
                        'write the video anew, as with `ffmpeg -i VIDEO NEW.mp4`'
                    )
                name = f'{self.path.name} {stamp_ns / NS_PER_S:.3f} s'
                yield Frame(index, stamp_ns, name, functools.partial(self._decode, capture, index))
                index, previous_ns = index + 1, stamp_ns
        finally:
            capture.release()
        if index < _VIDEO_SHORTFALL * self.num_frames:
            logger.warning(
                '%s promises %d frames, %d could be read: cut off?',
                self.path,
                self.num_frames,
                index,
            )

    def fingerprint(self) -> dict[str, Any]:
        """Name, size and time of change of the file."""
        return {'video': str(self.path.resolve()), 'files_sha256': files_sha256([self.path])}

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise SourceError(
                f'{self.path} cannot be read as a video (cut off, or another kind of file?); a '
                'source is a folder of pictures, a video, or a rosbag2 (its folder, .mcap, .db3)'
            )
        return capture

    def _decode(self, capture: cv2.VideoCapture, index: int) -> np.ndarray:
        whole, bgr = capture.retrieve()
        if not whole:
            raise SourceError(f'{self.path}: frame {index} does not decode')
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


class BagSource:
    """The pictures of one topic of a rosbag2, or of several, each a camera of its own.

    Attributes:
        path: The bag.
        stamps: `header` or `record`.
        topics: Of the pictures; their positions are the numbers of the cameras.
    """

    is_numbered = False
    has_times = True

    def __init__(
        self, path: str | Path, *, topic: TopicNames = None, stamps: str = 'header'
    ) -> None:
        """Open the bag once to choose the topics.

        Args:
            path: The bag's folder or its one file.
            topic: Topic of the pictures, or one for each camera; None: the only one there is.
            stamps: `header` or `record`, as in `Bag`.

        Raises:
            FileNotFoundError: No such path.
            SourceError: No bag, or no such topic, or several and none was named, or one twice.
        """
        self.path = Path(path)
        self.stamps = stamps
        names = [topic] if topic is None or isinstance(topic, str) else list(topic)
        with Bag(self.path, stamps) as bag:
            self.topics = tuple(bag.picture_topic(name) for name in names)
        if len(set(self.topics)) < len(self.topics):
            twice = ', '.join(topic.name for topic in self.topics)
            raise SourceError(f'{self.path}: a topic is named twice (--topic): {twice}')

    @property
    def topic(self) -> Topic:
        """Topic of the first camera."""
        return self.topics[0]

    @property
    def num_frames(self) -> int:
        """Number of pictures."""
        return sum(topic.count for topic in self.topics)

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures in the order of recording; of several cameras in that of stamps."""
        with contextlib.ExitStack() as opened:
            cameras = []
            for topic in self.topics:
                bag = opened.enter_context(Bag(self.path, self.stamps))  # each at its own position
                cameras.append(_with_topic(bag, topic))
            merged = heapq.merge(*cameras, key=lambda message: message[0])
            for index, (stamp_ns, topic, msg) in enumerate(merged):
                camera = self.topics.index(topic)
                name = picture_name(topic.name, stamp_ns)
                decode = functools.partial(self._decode, topic, msg, index)
                yield Frame(index, stamp_ns, name, decode, camera)

    def poses(
        self, topic: str | None = None, *, origin: np.ndarray | None = None
    ) -> BagPoses | None:
        """Read the trajectory that was recorded beside the pictures; None if there is none.

        Args:
            topic: Topic of the poses; None: the only one there is.
            origin: Zero of a GNSS map, as in `read_bag_poses`.

        Raises:
            SourceError: No such topic, several and none was named, or nothing usable on it.
        """
        with Bag(self.path, self.stamps) as bag:
            chosen = bag.pose_topic(topic)
            return None if chosen is None else read_bag_poses(bag, chosen, origin=origin)

    def fingerprint(self) -> dict[str, Any]:
        """Names, sizes and times of change of the files, and the topic."""
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        return {
            'bag': str(self.path.resolve()),
            'files_sha256': files_sha256(files),
            'topics': [topic.name for topic in self.topics],
            'stamps': self.stamps,
        }

    def _decode(self, topic: Topic, msg: Any, index: int) -> np.ndarray:
        rgb_from_msg = rgb_from_image if topic.msgtype == IMAGE else rgb_from_compressed
        try:
            return rgb_from_msg(msg)
        except EncodingError as error:
            raise SourceError(f'{self.path}: picture {index} of {topic.name}: {error}') from error


AnySource = PictureFolder | VideoFile | BagSource


def _with_topic(bag: Bag, topic: Topic) -> Iterator[tuple[int, Topic, Any]]:
    for stamp_ns, msg in bag.messages(topic):
        yield stamp_ns, topic, msg


def picture_name(topic: str, stamp_ns: int) -> str:
    """Name of a picture of a bag."""
    return f'{topic} {stamp_ns / NS_PER_S:.3f} s'


def open_source(
    path: str | Path, *, topic: TopicNames = None, stamps: str = 'header'
) -> AnySource:
    """Open whatever `path` is.

    Args:
        path: A folder of pictures, a video, or a rosbag2 (folder, .mcap or .db3).
        topic: Topic of the pictures in a bag, or one for each camera; None: the only one there is.
        stamps: Times in a bag: `header` or `record`.

    Raises:
        FileNotFoundError: No such path.
        SourceError: None of the three, or unusable; the message says why.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no folder, video or bag at {path}')
    if is_bag(path) or path.suffix == '.bag':
        return BagSource(path, topic=topic, stamps=stamps)
    if topic:
        names = topic if isinstance(topic, str) else ', '.join(topic)
        raise SourceError(f'{path} is no rosbag2, so it has no topic {names} (--topic)')
    if path.is_dir():
        return PictureFolder(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise SourceError(f'{path} is one picture: give its folder {path.parent}')
    return VideoFile(path)
