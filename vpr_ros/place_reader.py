# SPDX-License-Identifier: Apache-2.0
"""From the pictures of a source to those that become places, decoded and resized."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vpr_ros.cameras import MapCamera
from vpr_ros.errors import MapError, SourceError
from vpr_ros.frames import Frame, Source
from vpr_ros.keyframe_pictures import keep_picture, picture_name
from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.keyframes import EverySelector, KeyframeSelector, Selector
from vpr_ros.picture_quality import unusable_reason
from vpr_ros.place_map import GeodeticOrigin
from vpr_ros.pose_lookup import PoseLookup
from vpr_ros.poses import NS_PER_S
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import (
    DEFAULT_MAX_FEATURES,
    FEATURE_KINDS,
    create_feature_extractor,
)
from vpr_ros.verification.metric import Keyframe
from vpr_ros.verification.picture import PICTURE_HEIGHT, working_picture

logger = logging.getLogger(__name__)

NO_POSE = 'without a pose'
UNREADABLE = 'unreadable'
NO_FEATURES = 'none'
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
        picture_height: Largest height of the small pictures kept with the map, pixels; 0 keeps
            none.
        features: Local features that are kept for verification, one of `FEATURE_KINDS`; `none`
            keeps none.
        max_features: Most of these for a picture, 1 or more.
        feature_height: Largest height of the pictures in which they are found, pixels.
        cameras: What is known of the cameras; to verify in metres takes both intrinsics and
            mounting.
        skip_unreadable: Leave damaged pictures out instead of stopping at the first.
        frame_id: Frame of the map.
        origin: Zero of the map, if its poses come from GNSS; None: not known.
        batch_size: Pictures in one run of the network, 1 or more; an interrupted build may
            change it.
    """

    every: int = 1
    min_distance_m: float = 1.0
    min_angle_deg: float = 20.0
    picture_height: int = PICTURE_HEIGHT
    features: str = NO_FEATURES
    max_features: int = DEFAULT_MAX_FEATURES
    feature_height: int = PICTURE_HEIGHT
    cameras: tuple[MapCamera, ...] = ()
    skip_unreadable: bool = False
    frame_id: str = 'map'
    origin: GeodeticOrigin | None = None
    batch_size: int = 4

    def __post_init__(self) -> None:
        """Refuse values that make no map.

        Raises:
            ValueError: A value is out of its range.
        """
        for name in ('every', 'batch_size', 'max_features', 'feature_height'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, not {getattr(self, name)}')
        for name in ('min_distance_m', 'min_angle_deg', 'picture_height'):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f'{name} must be 0 or more, not {value}')
        if self.features not in (NO_FEATURES, *FEATURE_KINDS):
            known = ', '.join((NO_FEATURES, *FEATURE_KINDS))
            raise ValueError(f'features must be one of {known}, not {self.features!r}')
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
        keyframes: KeyframeStore,
    ) -> None:
        """Set up; nothing is read yet.

        Args:
            source: The pictures.
            poses: Where they were taken; None: not known.
            options: How to choose and keep them.
            prepare: Resizes uint8 RGB (H, W, 3) to the input of the network.
            done: (N,) indices of the pictures that are the first N places already.
            keyframes: Takes small pictures of the places and their local features.
        """
        self.num_frames = 0
        self.dropped: Counter[str] = Counter()
        self._source = source
        self._poses = poses
        self._options = options
        self._prepare = prepare
        self._done = done
        self._keyframes = keyframes
        self._cameras = {camera.number: camera for camera in options.cameras}
        self._extractor = (
            None
            if options.features == NO_FEATURES
            else create_feature_extractor(options.features, options.max_features)
        )
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
            place = self._new_place(frame, row, pose)
            if rgb is None:
                self._take_up(place, row)
                yield place, None
            else:
                self._keep(place, row, rgb)
                yield place, self._prepare(rgb)
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
        name = picture_name(row) if kept else frame.name
        return NewPlace(frame.index, frame.stamp_ns, name, *pose, frame.camera)

    def _keep(self, place: NewPlace, row: int, rgb: np.ndarray) -> None:
        """Store what the map keeps of a picture beside its descriptor."""
        options = self._options
        if options.picture_height > 0:
            keep_picture(self._keyframes.folder, row, rgb, options.picture_height)
        if self._extractor is not None:
            small = working_picture(rgb, options.feature_height)
            features = self._extractor.extract(small.rgb)
            intrinsics = self._intrinsics(place, rgb, features.width, features.height)
            keyframe = Keyframe(features, intrinsics, self._camera_pose(place))
            self._keyframes.add(row, keyframe, drive=0, camera=place.camera)

    def _take_up(self, place: NewPlace, row: int) -> None:
        if self._extractor is not None:
            pose = self._camera_pose(place)
            self._keyframes.enlist(row, pose, drive=0, camera=place.camera)

    def _intrinsics(
        self, place: NewPlace, rgb: np.ndarray, width: int, height: int
    ) -> Intrinsics | None:
        camera = self._cameras.get(place.camera)
        if camera is None or camera.calibration is None:
            return None
        try:
            camera.calibration.at_size(rgb.shape[1], rgb.shape[0])  # is it of these pictures?
            return camera.calibration.at_size(width, height)
        except ValueError as error:
            raise SourceError(f'{self._source.path}, picture {place.index}: {error}') from error

    def _camera_pose(self, place: NewPlace) -> np.ndarray | None:
        camera = self._cameras.get(place.camera)
        return None if camera is None else camera.pose(place.position, place.orientation_xyzw)

    def _refuse_to_mix(self, what: str) -> None:
        raise MapError(
            f'{self._source.path} changed since this build was interrupted ({what}); start over '
            'with --no-resume'
        )
