# SPDX-License-Identifier: Apache-2.0
"""Build a map: pictures in, places out.

A thread reads, chooses, decodes and resizes pictures while the network runs on the batch before.
Every finished batch is kept in `MAP.partial`, so that an interrupted build goes on where it was.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from vpr_ros.errors import MapError, SourceError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.keyframes import EverySelector, KeyframeSelector
from vpr_ros.picture_quality import unusable_reason
from vpr_ros.place_map import KEYFRAMES, MANIFEST, PlaceMap
from vpr_ros.pose_lookup import PoseLookup
from vpr_ros.poses import NS_PER_S
from vpr_ros.prefetch import Prefetcher
from vpr_ros.sources import Frame, Source
from vpr_ros.spool import Spool

logger = logging.getLogger(__name__)

NO_POSE = 'without a pose'
UNREADABLE = 'unreadable'
_JPEG_QUALITY = 85
_BATCHES_AHEAD = 2

Progress = Callable[[int, int], None]  # pictures looked at, places found, both so far


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
        batch_size: Pictures in one run of the network, 1 or more; the one that an interrupted
            build may change.
    """

    every: int = 1
    min_distance_m: float = 1.0
    min_angle_deg: float = 20.0
    picture_height: int = 480
    skip_unreadable: bool = False
    frame_id: str = 'map'
    batch_size: int = 8

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
class BuildReport:
    """What became of the pictures.

    Attributes:
        place_map: The finished map, as saved.
        num_frames: Pictures in the source.
        dropped: Pictures that were wanted but could not be used, by reason.
        num_resumed: Places that an earlier, interrupted build had done.
        seconds: Duration of this run.
    """

    place_map: PlaceMap
    num_frames: int
    dropped: Counter[str]
    num_resumed: int
    seconds: float

    @property
    def length_m(self) -> float:
        """Length of the way through the places, metres; NaN without poses."""
        if not self.place_map.has_poses:
            return math.nan
        steps = np.diff(self.place_map.places['position'], axis=0)
        return float(np.linalg.norm(steps, axis=1).sum())


class Selector(Protocol):
    """Chooses the pictures that become places."""

    def wants(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> bool:
        """Tell whether a picture taken there would be a new place."""
        ...

    def remember(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> None:
        """Make this the last place."""
        ...


@dataclass(frozen=True)
class _Place:
    """A chosen picture; `pixels` is None if its descriptor is in the spool."""

    index: int
    stamp_ns: int
    name: str
    position: np.ndarray
    orientation_xyzw: np.ndarray
    pixels: np.ndarray | None


@dataclass
class _Reading:
    """Chooses and prepares pictures; runs in the reading thread."""

    source: Source
    poses: PoseLookup | None
    options: BuildOptions
    prepare: Callable[[np.ndarray], np.ndarray]
    spooled: np.ndarray
    keyframes: Path
    num_frames: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    stamps_ns: tuple[int, int] = (0, 0)  # of the first and the last picture

    def places(self) -> Iterator[_Place]:
        selector = self._selector()
        row = 0
        for frame in itertools.islice(self.source.frames(), 0, None, self.options.every):
            first_ns = self.stamps_ns[0] if self.num_frames else frame.stamp_ns
            self.stamps_ns = (first_ns, frame.stamp_ns)
            self.num_frames += 1
            position, orientation = self._pose_of(frame)
            if self.poses is not None and np.isnan(position).any():
                self.dropped[NO_POSE] += 1
                continue
            if not selector.wants(position, orientation):
                continue
            place = self._place(frame, row, position, orientation)
            if place is not None:
                selector.remember(position, orientation)
                row += 1
                yield place
        if row < len(self.spooled):
            self._refuse_to_mix(f'{len(self.spooled)} places were done, now it has {row}')

    def _selector(self) -> Selector:
        if self.poses is None:
            return EverySelector()
        return KeyframeSelector(
            min_distance_m=self.options.min_distance_m, min_angle_deg=self.options.min_angle_deg
        )

    def _pose_of(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        if self.poses is None:
            return np.full(3, np.nan), np.full(4, np.nan)
        return self.poses.pose_of(frame)

    def _place(
        self, frame: Frame, row: int, position: np.ndarray, orientation: np.ndarray
    ) -> _Place | None:
        """Prepare one picture; None if it shows nothing or is damaged and may be left out."""
        pixels = None
        if row >= len(self.spooled) or self.spooled[row] != frame.index:
            rgb = self._decode(frame)
            if rgb is None:
                return None
            if row < len(self.spooled):
                self._refuse_to_mix(f'picture {frame.index} was no place, now it is one')
            self._keep(rgb, row)
            pixels = self.prepare(rgb)
        name = f'{KEYFRAMES}/{_picture_name(row)}' if self.options.picture_height else frame.name
        return _Place(frame.index, frame.stamp_ns, name, position, orientation, pixels)

    def _decode(self, frame: Frame) -> np.ndarray | None:
        try:
            rgb = frame.rgb
        except SourceError as error:
            if not self.options.skip_unreadable:
                raise
            logger.warning('left out: %s', error)
            self.dropped[UNREADABLE] += 1
            return None
        reason = unusable_reason(rgb)
        if reason is not None:
            logger.info('left out: %s: %s', frame.name, reason)
            self.dropped[reason.split(':')[0]] += 1
            return None
        return rgb

    def _keep(self, rgb: np.ndarray, row: int) -> None:
        height = min(self.options.picture_height, rgb.shape[0])
        if height == 0:
            return
        width = max(1, round(rgb.shape[1] * height / rgb.shape[0]))
        if height < rgb.shape[0]:
            rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        (self.keyframes / _picture_name(row)).write_bytes(jpeg.tobytes())

    def _refuse_to_mix(self, what: str) -> None:
        raise MapError(
            f'{self.source.path} changed since this build was interrupted ({what}); start over '
            'with --no-resume'
        )


def build_map(
    source: Source,
    extractor: DescriptorExtractor,
    directory: str | Path,
    *,
    poses: PoseLookup | None = None,
    options: BuildOptions | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """Build a map and save it.

    Args:
        source: The pictures, in order.
        extractor: The model.
        directory: Where the map goes.
        poses: Where the pictures were taken; None: not known, their order is the truth.
        options: How to choose and keep pictures.
        resume: Go on with an interrupted build of the same map; False: start over.
        overwrite: Replace a map that is there already.
        progress: Is told from time to time how far the build is.

    Returns:
        The map and what became of the pictures.

    Raises:
        MapError: There is a map already, or an unfinished one of another build.
        SourceError: A picture or pose cannot be read, or no picture became a place.
        OSError: The disk is full or not writable.
    """
    begin = time.monotonic()
    directory = Path(directory)
    options = options or BuildOptions()
    _check_target(directory, overwrite=overwrite)
    model = extractor.info.ref
    build = {
        'source': source.fingerprint(),
        'poses': poses.fingerprint() if poses else 'none',
        'model': asdict(model),
        'options': {key: value for key, value in asdict(options).items() if key != 'batch_size'},
    }
    with Spool(directory, build, size=model.descriptor_size, resume=resume) as spool:
        num_resumed = len(spool)
        reading = _Reading(
            source, poses, options, extractor.info.preprocess, spool.indices, spool.keyframes
        )
        with Prefetcher(reading.places(), _BATCHES_AHEAD * options.batch_size) as ahead:
            places = _describe(ahead, extractor, spool, reading, progress)
        if not places:
            raise SourceError(_no_place(reading))
        place_map = PlaceMap(model, frame_id=options.frame_id)
        place_map.add(
            spool.descriptors,
            stamps_ns=np.array([place.stamp_ns for place in places], np.int64),
            positions=np.array([place.position for place in places]),
            orientations_xyzw=np.array([place.orientation_xyzw for place in places]),
            images=[place.name for place in places],
        )
        keyframes = spool.keyframes if options.picture_height else None
        place_map.save(directory, keyframes=keyframes)
        spool.discard()
    return BuildReport(
        place_map, reading.num_frames, reading.dropped, num_resumed, time.monotonic() - begin
    )


def _check_target(directory: Path, *, overwrite: bool) -> None:
    """Refuse now what saving would refuse at the end."""
    if (directory / MANIFEST).exists():
        if not overwrite:
            raise MapError(f'{directory} holds a map already; --overwrite replaces it')
    elif directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise MapError(f'{directory} exists and is not a map: choose another folder')


def _describe(
    ahead: Iterable[_Place],
    extractor: DescriptorExtractor,
    spool: Spool,
    reading: _Reading,
    progress: Progress | None,
) -> list[_Place]:
    """Run the network over what the spool lacks; return all places without their pixels."""
    places: list[_Place] = []
    batch: list[_Place] = []

    def flush() -> None:
        if batch:
            rgbs = [place.pixels for place in batch if place.pixels is not None]
            spool.append(np.array([place.index for place in batch]), extractor.extract_batch(rgbs))
            batch.clear()

    for place in ahead:
        places.append(_without_pixels(place))
        if place.pixels is not None:
            batch.append(place)
        if len(batch) == reading.options.batch_size:
            flush()
        if progress is not None:
            progress(reading.num_frames, len(places))
    flush()
    if progress is not None:
        progress(reading.num_frames, len(places))
    return places


def _without_pixels(place: _Place) -> _Place:
    return _Place(
        place.index, place.stamp_ns, place.name, place.position, place.orientation_xyzw, None
    )


def _picture_name(row: int) -> str:
    return f'{row:06d}.jpg'


def _no_place(reading: _Reading) -> str:
    text = f'no picture of {reading.source.path} became a place; pictures: {reading.num_frames}'
    for reason, count in reading.dropped.items():
        text += f', {reason}: {count}'
    if reading.poses is not None and reading.dropped[NO_POSE]:
        first, last = (stamp_ns / NS_PER_S for stamp_ns in reading.stamps_ns)
        text += f'; {reading.poses.coverage()}, the pictures from {first:.3f} s to {last:.3f} s'
    return text
