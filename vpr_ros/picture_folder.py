# SPDX-License-Identifier: Apache-2.0
"""Picture files and folders of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vpr_ros.errors import SourceError
from vpr_ros.frames import Frame, files_sha256
from vpr_ros.pose_files import parse_stamp_ns
from vpr_ros.poses import NS_PER_S

PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
_NUMBERED = re.compile(r'(.*?)(\d+(?:\.\d+)?)')
_FIRST_TIME_NS = 10**9 * NS_PER_S  # the year 2001; whole seconds before are picture numbers
_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_JPEG_SCAN, _JPEG_FILL = 0xDA, 0xFF
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame: it states the size
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


class PictureFolder:
    """The pictures of a folder, subfolders left aside.

    When all names are one prefix and a number, pictures are sorted by it and it is the stamp:
    seconds (`1305031452.791720.jpg`), nanoseconds (19 digits) or a plain number (`000123.jpg`).
    Otherwise they are sorted as people sort names, and the stamp is the position in that order.

    Attributes:
        path: The folder.
        files: The pictures in order.
        stamps_ns: The stamp of each.
        is_numbered: Whether the stamps are from the names, rather than positions.
        has_times: Whether the stamps are times, rather than positions or picture numbers.
    """

    def __init__(self, path: str | Path) -> None:
        """List the folder.

        Raises:
            SourceError: There are no pictures in it.
        """
        self.path = Path(path)
        self.files = picture_files(self.path)
        if not self.files:
            raise SourceError(_no_pictures(self.path))
        numbers = _numbers_of_names(self.files)
        stamps = _stamps_of_numbers(numbers)
        self.is_numbered = stamps is not None
        self.has_times = stamps is not None and _are_times(numbers, stamps)
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
        return {'folder': str(self.path.resolve()), 'files_sha256': files_sha256(self.files)}


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures of one folder, hidden files left aside, `image10` after `image9`."""
    files = [p for p in Path(folder).iterdir() if p.suffix.lower() in PICTURE_SUFFIXES]
    return sorted((p for p in files if not p.name.startswith('.')), key=natural_key)


def read_picture(path: Path, *, at_least: int = 0) -> np.ndarray:
    """Read a picture file, turned upright as its EXIF data says.

    Args:
        path: The file.
        at_least: Pixels that are enough of the shorter side: a JPEG with two, four or eight times
            as many is decoded at a half, a quarter or an eighth of its size, which is several
            times as fast and free of aliasing. 0: its own size.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        SourceError: Not a picture, or a JPEG that is cut off.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    bgr = None
    if data and not _is_cut_off_jpeg(data):
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), _decoding(data, at_least))
    if bgr is None:
        raise SourceError(
            f'{path} is not a whole picture ({len(data)} bytes); copy it again or remove it'
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts `image10` after `image9`."""
    parts = re.split(r'(\d+)', path.name)
    return [(0, int(p), p) if p.isdigit() else (1, 0, p.lower()) for p in parts if p]


def _numbers_of_names(files: Iterable[Path]) -> list[str]:
    """Return the numbers at the ends of the names; empty if the names have no common prefix."""
    matches = [_NUMBERED.fullmatch(file.stem) for file in files]
    if not all(matches) or len({match[1] for match in matches if match}) != 1:
        return []
    return [match[2] for match in matches if match]


def _stamps_of_numbers(numbers: Sequence[str]) -> list[int] | None:
    """Return the stamps; None if there are none or they are no sequence."""
    parsed = [parse_stamp_ns(number) for number in numbers]
    stamps = [stamp for stamp in parsed if stamp is not None]
    unique = len(set(stamps)) == len(parsed)
    return stamps if stamps and unique else None


def _are_times(numbers: Iterable[str], stamps_ns: Iterable[int]) -> bool:
    """Tell times from picture numbers: `12.0`, 1305031452 and any fraction of a second."""
    return any(not number.isdigit() for number in numbers) or any(
        stamp % NS_PER_S or stamp >= _FIRST_TIME_NS for stamp in stamps_ns
    )


def _decoding(data: bytes, at_least: int) -> int:
    """Return OpenCV's flag for the smallest decoding that has `at_least` pixels a side."""
    if at_least:
        for marker, position in _jpeg_segments(data):
            if marker in _JPEG_FRAMES:
                height = int.from_bytes(data[position + 5 : position + 7], 'big')
                width = int.from_bytes(data[position + 7 : position + 9], 'big')
                for divisor, flag in _REDUCED:
                    if min(height, width) >= divisor * at_least:
                        return flag
    return cv2.IMREAD_COLOR


def _is_cut_off_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG lacks its end; OpenCV would fill what is missing with grey."""
    for marker, position in _jpeg_segments(data):
        if marker == _JPEG_SCAN:
            return data.find(_JPEG_END, position) < 0
        if position + 4 > len(data):
            return True  # in its head; what else is wrong OpenCV will say
    return False


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of the segments of a JPEG's head, the first scan last.

    A head that is cut off ends with a position without a whole segment; other files yield nothing.
    """
    if not data.startswith(_JPEG_START):
        return
    position = len(_JPEG_START)
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == _JPEG_FILL:
            position += 1
            continue
        yield marker, position
        if marker == _JPEG_SCAN:
            return
        position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    if position + 4 > len(data):
        yield 0, position


def _no_pictures(folder: Path) -> str:
    inside = [
        child.name
        for child in sorted(folder.iterdir())
        if child.is_dir() and any(p.suffix.lower() in PICTURE_SUFFIXES for p in child.iterdir())
    ]
    hint = f'; its folders {", ".join(inside)} do: give one of them' if inside else ''
    return f'{folder} holds no pictures ({", ".join(PICTURE_SUFFIXES)}){hint}'
