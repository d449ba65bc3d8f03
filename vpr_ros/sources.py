# SPDX-License-Identifier: Apache-2.0
"""Where pictures come from: a folder, a video or a rosbag2, one interface for the three."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from vpr_ros.bag_messages import IMAGE
from vpr_ros.bag_poses import BagPoses, read_bag_poses
from vpr_ros.bags import Bag, is_bag
from vpr_ros.conversions import rgb_from_compressed, rgb_from_image
from vpr_ros.errors import EncodingError, SourceError
from vpr_ros.pose_files import parse_stamp_ns
from vpr_ros.poses import NS_PER_S

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
_NUMBERED = re.compile(r'(.*?)(\d+(?:\.\d+)?)')
_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_JPEG_SCAN, _JPEG_FILL = 0xDA, 0xFF
_VIDEO_SHORTFALL = 0.9  # of the promised frames; containers promise by duration, not by count


@dataclass(frozen=True)
class Frame:
    """One picture of a source, not decoded yet.

    Attributes:
        index: Its place in the source, from 0.
        stamp_ns: Nanoseconds. A picture without a time has its number, counted as seconds.
        name: File name, or topic or video and time.
        decode: Returns uint8 RGB (H, W, 3). A video's must be called before the next frame is
            taken from the source.
    """

    index: int
    stamp_ns: int
    name: str
    decode: Callable[[], np.ndarray]

    @functools.cached_property
    def rgb(self) -> np.ndarray:
        """The picture: uint8 RGB (H, W, 3).

        Raises:
            SourceError: It is damaged or of a kind that is not read; the message names it.
        """
        return self.decode()


class Source(Protocol):
    """A sequence of pictures."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def num_frames(self) -> int:
        """Expected number of pictures; for a video what the container promises."""
        ...

    @property
    def is_numbered(self) -> bool:
        """Whether stamps are the numbers in the file names, rather than times."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures in order; may be called again."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for an interrupted reading to be continued; JSON values."""
        ...


class PictureFolder:
    """The pictures of a folder, subfolders left aside.

    When all names are one prefix and a number, pictures are sorted by it and it is the stamp:
    seconds (`1305031452.791720.jpg`), nanoseconds (19 digits) or a plain number (`000123.jpg`).
    Otherwise they are sorted as people sort names, and the stamp is the position in that order.
    """

    def __init__(self, path: str | Path) -> None:
        """List the folder.

        Raises:
            SourceError: There are no pictures in it.
        """
        self.path = Path(path)
        files = [p for p in self.path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES]
        self.files = sorted((p for p in files if not p.name.startswith('.')), key=natural_key)
        if not self.files:
            raise SourceError(_no_pictures(self.path))
        stamps = _stamps_of_names(self.files)
        self.is_numbered = stamps is not None
        if stamps is None:
            stamps = [NS_PER_S * i for i in range(len(self.files))]
        order = np.argsort(stamps, kind='stable')
        self.files = [self.files[i] for i in order]
        self.stamps_ns = [stamps[i] for i in order]

    @property
    def num_frames(self) -> int:
        """Number of pictures."""
        return len(self.files)

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures in order."""
        for i, (file, stamp_ns) in enumerate(zip(self.files, self.stamps_ns, strict=True)):
            yield Frame(i, stamp_ns, file.name, functools.partial(read_picture, file))

    def fingerprint(self) -> dict[str, Any]:
        """Names, sizes and times of change of the pictures."""
        return {'folder': str(self.path.resolve()), 'files_sha256': _files_sha256(self.files)}


class VideoFile:
    """The frames of a video; stamps count from its start."""

    is_numbered = False

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
        return {'video': str(self.path.resolve()), 'files_sha256': _files_sha256([self.path])}

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
    """The pictures of one topic of a rosbag2."""

    is_numbered = False

    def __init__(
        self, path: str | Path, *, topic: str | None = None, stamps: str = 'header'
    ) -> None:
        """Open the bag once to choose the topic.

        Args:
            path: The bag's folder or its one file.
            topic: Topic of the pictures; None: the only one there is.
            stamps: `header` or `record`, as in `Bag`.

        Raises:
            FileNotFoundError: No such path.
            SourceError: No bag, or no such topic, or several and none was named.
        """
        self.path = Path(path)
        self._stamps = stamps
        with Bag(self.path, stamps) as bag:
            self.topic = bag.picture_topic(topic)

    @property
    def num_frames(self) -> int:
        """Number of pictures."""
        return self.topic.count

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures in the order of recording."""
        with Bag(self.path, self._stamps) as bag:
            for index, (stamp_ns, msg) in enumerate(bag.messages(self.topic)):
                name = f'{self.topic.name} {stamp_ns / NS_PER_S:.3f} s'
                yield Frame(index, stamp_ns, name, functools.partial(self._decode, msg, index))

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
        with Bag(self.path, self._stamps) as bag:
            chosen = bag.pose_topic(topic)
            return None if chosen is None else read_bag_poses(bag, chosen, origin=origin)

    def fingerprint(self) -> dict[str, Any]:
        """Names, sizes and times of change of the files, and the topic."""
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        return {
            'bag': str(self.path.resolve()),
            'files_sha256': _files_sha256(files),
            'topic': self.topic.name,
            'stamps': self._stamps,
        }

    def _decode(self, msg: Any, index: int) -> np.ndarray:
        rgb_from_msg = rgb_from_image if self.topic.msgtype == IMAGE else rgb_from_compressed
        try:
            return rgb_from_msg(msg)
        except EncodingError as error:
            raise SourceError(
                f'{self.path}: picture {index} of {self.topic.name}: {error}'
            ) from error


def open_source(
    path: str | Path, *, topic: str | None = None, stamps: str = 'header'
) -> PictureFolder | VideoFile | BagSource:
    """Open whatever `path` is.

    Args:
        path: A folder of pictures, a video, or a rosbag2 (folder, .mcap or .db3).
        topic: Topic of the pictures in a bag; None: the only one there is.
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
    if topic is not None:
        raise SourceError(f'{path} is no rosbag2, so it has no topic {topic} (--topic)')
    if path.is_dir():
        return PictureFolder(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise SourceError(f'{path} is one picture: give its folder {path.parent}')
    return VideoFile(path)


def read_picture(path: Path) -> np.ndarray:
    """Read a picture file, turned upright as its EXIF data says.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SourceError: Not a picture, or a JPEG that is cut off.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    bgr = None
    if data and not _is_cut_off_jpeg(data):
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SourceError(
            f'{path} is not a whole picture ({len(data)} bytes); copy it again, remove it, or '
            'leave such pictures out with --skip-unreadable'
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts `image10` after `image9`."""
    parts = re.split(r'(\d+)', path.name)
    return [(0, int(p), p) if p.isdigit() else (1, 0, p.lower()) for p in parts if p]


def _stamps_of_names(files: Iterable[Path]) -> list[int] | None:
    """Return the numbers at the ends of the names; None if they are no sequence."""
    matches = [_NUMBERED.fullmatch(file.stem) for file in files]
    if not all(matches) or len({match[1] for match in matches if match}) != 1:
        return None
    stamps = [parse_stamp_ns(match[2]) for match in matches if match]
    numbers = [stamp for stamp in stamps if stamp is not None]
    unique = len(set(numbers)) == len(stamps)
    return numbers if unique else None


def _is_cut_off_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG lacks its end; OpenCV would fill what is missing with grey."""
    if not data.startswith(_JPEG_START):
        return False
    position = len(_JPEG_START)
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == _JPEG_SCAN:
            return data.find(_JPEG_END, position) < 0
        if marker == _JPEG_FILL:
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    return position + 4 > len(data)  # cut off in its head; what else is wrong OpenCV will say


def _files_sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f'{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def _no_pictures(folder: Path) -> str:
    inside = [
        child.name
        for child in sorted(folder.iterdir())
        if child.is_dir() and any(p.suffix.lower() in PICTURE_SUFFIXES for p in child.iterdir())
    ]
    hint = f'; its folders {", ".join(inside)} do: give one of them' if inside else ''
    return f'{folder} holds no pictures ({", ".join(PICTURE_SUFFIXES)}){hint}'
