# SPDX-License-Identifier: Apache-2.0
"""A sequence of pictures, wherever it comes from."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class PictureRef(Protocol):
    """Which picture of a source, without the picture itself; see `Frame`."""

    @property
    def index(self) -> int:
        """Its place in the source."""
        ...

    @property
    def stamp_ns(self) -> int:
        """Nanoseconds."""
        ...

    @property
    def name(self) -> str:
        """File name, or topic or video and time."""
        ...


@dataclass(frozen=True)
class Frame:
    """One picture of a source, not decoded yet.

    Attributes:
        index: Its place in the source, from 0.
        stamp_ns: Nanoseconds. A picture without a time has its number, counted as seconds.
        name: File name, or topic or video and time.
        decode: Returns uint8 RGB (H, W, 3). A video's must be called before the next frame is
            taken from the source.
        camera: Number of the camera.
    """

    index: int
    stamp_ns: int
    name: str
    decode: Callable[[], np.ndarray]
    camera: int = 0

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
        """Whether stamps are the numbers in the file names, rather than positions in order."""
        ...

    @property
    def has_times(self) -> bool:
        """Whether stamps are times, rather than picture numbers or positions."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures in order; may be called again."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for an interrupted reading to be continued; JSON values."""
        ...


def files_sha256(files: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and times of change of files, not of their content."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f'{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n'.encode())
    return digest.hexdigest()
