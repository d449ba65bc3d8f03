# SPDX-License-Identifier: Apache-2.0
"""From the pictures of a source to those that become places, decoded and resized."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.errors import MapError, SourceError
from vpr_ros.frames import Frame, Source
from vpr_ros.keyframes import EverySelector, KeyframeSelector, Selector
from vpr_ros.picture_quality import unusable_reason
from vpr_ros.place_map import KEYFRAMES, GeodeticOrigin
from vpr_ros.pose_lookup import PoseLookup
from vpr_ros.poses import NS_PER_S

logger = logging.getLogger(__name__)

NO_POSE = 'without a pose'
UNREADABLE = 'unreadable'
_JPEG_QUALITY = 85
_UNKNOWN_POSITION, _UNKNOWN_ORIENTATION = np.full(3, np.nan), np.full(4, np.nan)


class UnreadablePictureError(SourceError):
    """A picture is damaged; `BuildOptions.skip_unreadable` would leave it out."""


@dataclass(frozen=True)
class BuildOptions:
    """How a map is built from source, poses and model.

    Attributes:
        every: Of the source's pictures only every N-th is looked at, 1 or more.
        min_distance_m: A place every so many metres, 0 or more; needs poses.
        min_angle_deg: Or whenever the camera turned so far, degrees, 0 or more; needs poses.
        picture_height: Height of the small pictures kept with the map, pixels; 0 keeps none.
        skip_unreadable: Leave damaged pictures out instead of stopping at the first.
        frame_id: Frame of the map.
        origin: Zero of the map, if its poses come from GNSS; None: not known.
        batch_size: Pictures in one run of the network, 1 or more; an interrupted build may
            change it.
    """

    every: int = 1
    min_distance_m: float = 1.0
    min_angle_deg: float = 20.0
    picture_height: int = 480
    skip_unreadable: bool = False
    frame_id: str = 'map'
    origin: GeodeticOrigin | None = None
    batch_size: int = 4

    def __post_init__(self) -> None:
        """Refuse values that make no map.

        Raises:
            ValueError: A value is out of its range.
        """
        for name in ('every', 'batch_size'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, not {getattr(self, name)}')
        for name in ('min_distance_m', 'min_angle_deg', 'picture_height'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f'{name} must be 0 or more, not {value}')
        if not self.frame_id:
            raise ValueError('frame_id must not be empty: poses need a frame')


@dataclass(frozen=True)
class NewPlace:
    """A picture that was chosen.

    Attributes:
        index: Its index in the source.
        stamp_ns: Nanoseconds.
        name: Its name in the map.
        position: (3,) metres; NaN: unknown.
        orientation_xyzw: (4,) unit quaternion; NaN: unknown.
        camera: Number of the camera.
    """

    index: int
    stamp_ns: int
    name: str
    position: np.ndarray
    orientation_xyzw: np.ndarray
    camera: int


class PlaceReader:
    """Chooses pictures and prepares them for the network.

    Attributes:
        num_frames: Pictures looked at so far.
        dropped: Pictures that were wanted but could not be used so far, by reason.
    """

    def __init__(
        self,
        source: Source,
        poses: PoseLookup | None,
        options: BuildOptions,
        *,
        prepare: Callable[[np.ndarray], np.ndarray],
        done: np.ndarray,
        keyframes: Path,
    ) -> None:
        """Set up; nothing is read yet.

        Args:
            source: The pictures.
            poses: Where they were taken; None: not known.
            options: How to choose and keep them.
            prepare: Resizes uint8 RGB (H, W, 3) to the input of the network.
            done: (N,) indices of the pictures that are the first N places already.
            keyframes: Folder for small pictures of the places.
        """
        self.num_frames = 0
        self.dropped: Counter[str] = Counter()
        self._source = source
        self._poses = poses
        self._options = options
        self._prepare = prepare
        self._done = done
        self._keyframes = keyframes
        self._first_stamp_ns = self._last_stamp_ns = 0

    def places(self) -> Iterator[tuple[NewPlace, np.ndarray | None]]:
        """Yield each place with its prepared picture, or with None if it was done already.

        Raises:
            UnreadablePictureError: A picture is damaged and must not be left out.
            SourceError: The source cannot be read.
            MapError: The source does not give the places again that were done.
        """
        selectors: defaultdict[int, Selector] = defaultdict(self._selector)  # one a camera
        row = 0
        for frame in itertools.islice(self._source.frames(), 0, None, self._options.every):
            self._count(frame)
            selector = selectors[frame.camera]
            pose = self._pose_of(frame)
            if pose is None or not selector.wants(*pose):
                continue
            is_done = row < len(self._done) and self._done[row] == frame.index
            rgb = None if is_done else self._usable_picture(frame)
            if not is_done and rgb is None:
                continue
            if not is_done and row < len(self._done):
                self._refuse_to_mix(f'picture {frame.index} was no place, now it is one')
            yield self._new_place(frame, row, pose), self._prepared(rgb, row)
            selector.remember(*pose)
            row += 1
        if row < len(self._done):
            self._refuse_to_mix(f'{len(self._done)} places were done, now it has {row}')

    def explain_no_place(self) -> str:
        """Say why there is not one place."""
        text = f'no picture of {self._source.path} became a place; pictures: {self.num_frames}'
        for reason, count in self.dropped.items():
            text += f', {reason}: {count}'
        if self._poses is not None and self.dropped[NO_POSE]:
            first, last = self._first_stamp_ns / NS_PER_S, self._last_stamp_ns / NS_PER_S
            text += f'; {self._poses.coverage()}, the pictures from {first:.3f} s to {last:.3f} s'
        return text

    def _selector(self) -> Selector:
        if self._poses is None:
            return EverySelector()
        return KeyframeSelector(
            min_distance_m=self._options.min_distance_m,
            min_angle_deg=self._options.min_angle_deg,
        )

    def _count(self, frame: Frame) -> None:
        if self.num_frames == 0:
            self._first_stamp_ns = frame.stamp_ns
        self._last_stamp_ns = frame.stamp_ns
        self.num_frames += 1

    def _pose_of(self, frame: Frame) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the pose of a picture; None if it should have one and has not."""
        if self._poses is None:
            return _UNKNOWN_POSITION, _UNKNOWN_ORIENTATION
        position, orientation = self._poses.pose_of(frame)
        if np.isnan(position).any():
            self.dropped[NO_POSE] += 1
            return None
        return position, orientation

    def _usable_picture(self, frame: Frame) -> np.ndarray | None:
        """Decode; None if the picture shows nothing, or is damaged and may be left out."""
        try:
            rgb = frame.rgb
        except SourceError as error:
            if not self._options.skip_unreadable:
                raise UnreadablePictureError(str(error)) from error
            logger.warning('left out: %s', error)
            self.dropped[UNREADABLE] += 1
            return None
        reason = unusable_reason(rgb)
        if reason is not None:
            logger.info('left out: %s: %s', frame.name, reason)
            self.dropped[reason.split(':')[0]] += 1
            return None
        return rgb

    def _new_place(self, frame: Frame, row: int, pose: tuple[np.ndarray, np.ndarray]) -> NewPlace:
        kept = self._options.picture_height > 0
        name = f'{KEYFRAMES}/{_picture_name(row)}' if kept else frame.name
        return NewPlace(frame.index, frame.stamp_ns, name, *pose, frame.camera)

    def _prepared(self, rgb: np.ndarray | None, row: int) -> np.ndarray | None:
        if rgb is None:
            return None
        if self._options.picture_height > 0:
            path = self._keyframes / _picture_name(row)
            path.write_bytes(_small_jpeg(rgb, self._options.picture_height))
        return self._prepare(rgb)

    def _refuse_to_mix(self, what: str) -> None:
        raise MapError(
            f'{self._source.path} changed since this build was interrupted ({what}); start over '
            'with --no-resume'
        )


def _small_jpeg(rgb: np.ndarray, max_height: int) -> bytes:
    height, width = rgb.shape[:2]
    if height > max_height:
        size = (max(1, round(width * max_height / height)), max_height)
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return jpeg.tobytes()


def _picture_name(row: int) -> str:
    return f'{row:06d}.jpg'
