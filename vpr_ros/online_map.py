# SPDX-License-Identifier: Apache-2.0
"""Learning a map while driving: which pictures become places, and from when they are searched.

A place is searched only once it is both old and far enough behind: the camera always looks most
like where it was a moment ago, and such neighbours would fill the best matches.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import numpy as np

from vpr_ros.cameras import OPTICAL, MapCamera
from vpr_ros.keyframe_pictures import keep_picture
from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.model_ref import ModelRef
from vpr_ros.odometry import OdometryPose
from vpr_ros.picture import Picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.poses import NS_PER_S, rotation_angle
from vpr_ros.session import LearntPlaces
from vpr_ros.settings import check_settings, setting
from vpr_ros.verification.metric import Keyframe
from vpr_ros.verification.picture import PICTURE_HEIGHT

_STEP_SHARE = 0.5  # of the distance of keyframes; shorter steps are counted once they add up


@dataclass(frozen=True)
class MappingConfig:
    """What can be tuned; the node declares its parameters from these fields."""

    keyframe_distance_m: float = setting(
        0.2, 'Metres by odometry from one keyframe to the next', range=(0.0, 1000.0)
    )
    keyframe_angle_deg: float = setting(
        10.0, 'Or degrees by odometry that the camera has turned', range=(0.0, 180.0)
    )
    keyframe_similarity: float = setting(
        0.9,
        'Without odometry: a picture less similar to the last keyframe becomes the next',
        range=(-1.0, 1.0),
    )
    min_age_s: float = setting(
        3.0, 'Seconds until a keyframe can be recognised', range=(0.0, 86400.0)
    )
    min_travel_m: float = setting(
        1.0,
        'And metres by odometry, turns not counted, until it can be recognised',
        range=(0.0, 100000.0),
    )
    min_keyframes: int = setting(
        10,
        'Or, where odometry does not tell the way, keyframes until it can be recognised',
        range=(1, 100000),
    )

    def __post_init__(self) -> None:
        """Refuse values outside the stated ranges."""
        check_settings(self)


@dataclass
class _Drive:
    """What one camera has seen since the clock or the odometry began anew."""

    number: int
    travelled_m: float = 0.0
    num_blind: int = 0  # keyframes taken without odometry
    last: Picture | None = None  # that became a keyframe
    odometry: OdometryPose | None = None  # up to which the way is counted


@dataclass(frozen=True)
class _Waiting:
    descriptor: np.ndarray
    stamp_ns: int
    camera: int
    odometry: OdometryPose | None
    image: str
    travelled_m: float
    num_blind: int


@dataclass
class OnlineMap:
    """A map that grows by the pictures of a drive.

    Attributes:
        model: The model that describes them.
        frame_id: Frame of the odometry, and so of the places.
        config: When a picture becomes a place; assign to change it while running.
        store: Keeps the local features of the places.
        session: Which drive this is.
        place_map: The places that are old and far enough to be recognised.
        pieces: Of each of these, the piece of odometry that gave it its position.
    """

    model: ModelRef
    frame_id: str
    config: MappingConfig
    store: KeyframeStore
    session: UUID = field(default_factory=uuid4, init=False)
    place_map: PlaceMap = field(init=False)
    pieces: list[int] = field(default_factory=list, init=False)
    _waiting: deque[_Waiting] = field(default_factory=deque, init=False)
    _drives: dict[int, _Drive] = field(default_factory=dict, init=False)
    _num_drives: int = field(default=0, init=False)
    _travelled_m: float = field(default=0.0, init=False)  # by whichever camera tells most
    _num_blind: int = field(default=0, init=False)
    _piece: int = field(default=0, init=False)
    _odometry: list[OdometryPose | None] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Start without places."""
        self.place_map = PlaceMap(self.model, frame_id=self.frame_id)
        self.place_map.keyframes = self.store.folder

    def __len__(self) -> int:
        """Return the number of places, those that are too recent to be recognised included."""
        return len(self.place_map) + len(self._waiting)

    @property
    def piece(self) -> int:
        """Number of the piece of odometry that goes on."""
        return self._piece

    def release(self, stamp_ns: int) -> int:
        """Let the places in that are old and far enough now, at `stamp_ns`; returns how many.

        All cameras are on one body: what one of them tells of the way holds for the places of all.
        """
        count = 0
        while self._waiting and self._is_past(self._waiting[0], stamp_ns):
            self._let_in(self._waiting.popleft())
            count += 1
        return count

    def learn(self, picture: Picture) -> bool:
        """Take a picture in, and say whether it became a keyframe.

        Pictures that show nothing are left out.

        Raises:
            OSError: The disk is full or not writable; the picture is no keyframe then, and the
                next may be.
        """
        if picture.odometry is not None:
            self._piece = picture.odometry.drive
        if picture.descriptor is None:
            return False
        drive = self._drive_of(picture)
        if drive.last is not None and not self._is_new(picture, drive.last):
            return False
        image = self._write(picture, drive)  # before anything else knows of the keyframe
        drive.last = picture
        if picture.odometry is None:
            drive.num_blind += 1
            self._num_blind = max(self._num_blind, drive.num_blind)
        self._waiting.append(
            _Waiting(
                picture.descriptor,
                picture.stamp_ns,
                picture.camera,
                picture.odometry,
                image,
                self._travelled_m,
                self._num_blind,
            )
        )
        return True

    def snapshot(self) -> LearntPlaces:
        """Return all places as they are now, those that wait included."""
        n = len(self.place_map)
        known, waiting = self.place_map.places, list(self._waiting)
        descriptors = [np.asarray(self.place_map.descriptors, np.float32)]
        descriptors += [place.descriptor[np.newaxis] for place in waiting]
        return LearntPlaces(
            session=self.session,
            model=self.model,
            descriptors=np.concatenate(descriptors),
            stamps_ns=np.array([*known['stamp_ns'], *(w.stamp_ns for w in waiting)], np.int64),
            cameras=np.array([*known['camera'], *(w.camera for w in waiting)], np.uint16),
            odometry=[*self._odometry, *(place.odometry for place in waiting)],
            images=[*self.place_map.images[:n], *(place.image for place in waiting)],
            store=self.store,
        )

    def _drive_of(self, picture: Picture) -> _Drive:
        """Return the drive of a picture's camera, moved on to this picture."""
        drive, now = self._drives.get(picture.camera), picture.odometry
        if drive is None or (drive.odometry and now and drive.odometry.drive != now.drive):
            # The way so far still counts for what waits.
            drive = _Drive(self._num_drives, self._travelled_m, self._num_blind)
            self._num_drives += 1
            self._drives[picture.camera] = drive
        if now is not None:
            begin = drive.odometry if drive.odometry is not None else now
            step_m = float(np.linalg.norm(now.position - begin.position))
            # Odometry trembles: standing for long must not become a way.
            if drive.odometry is None or step_m >= _STEP_SHARE * self.config.keyframe_distance_m:
                drive.odometry = now
                drive.travelled_m += step_m
                self._travelled_m = max(self._travelled_m, drive.travelled_m)
        return drive

    def close(self) -> None:
        """Let go of what is on disk."""
        self.store.close()

    def _is_new(self, picture: Picture, last: Picture) -> bool:
        config, begin, now = self.config, last.odometry, picture.odometry
        if begin is not None and now is not None:
            moved = float(np.linalg.norm(now.position - begin.position))
            turned = np.degrees(rotation_angle(now.orientation_xyzw, begin.orientation_xyzw))
            return moved >= config.keyframe_distance_m or bool(turned >= config.keyframe_angle_deg)
        assert picture.descriptor is not None and last.descriptor is not None
        return float(picture.descriptor @ last.descriptor) < config.keyframe_similarity

    def _write(self, picture: Picture, drive: _Drive) -> str:
        """Write the files of the next place; returns the name of its picture."""
        row = len(self)
        image = keep_picture(self.store.folder, row, picture.rgb, PICTURE_HEIGHT)
        if picture.features is not None:
            now = picture.odometry
            pose = now.matrix if now is not None and now.of_camera else None
            keyframe = Keyframe(picture.features, picture.intrinsics, pose)
            self.store.add(row, keyframe, drive=drive.number, camera=picture.camera)
        return image

    def _is_past(self, place: _Waiting, stamp_ns: int) -> bool:
        if stamp_ns - place.stamp_ns < self.config.min_age_s * NS_PER_S:
            return False
        if self._travelled_m - place.travelled_m >= self.config.min_travel_m:
            return True
        # Keyframes that odometry asked for do not count: turning on the spot makes many.
        return self._num_blind - place.num_blind >= self.config.min_keyframes

    def _let_in(self, place: _Waiting) -> None:
        odometry, cameras = place.odometry, self.place_map.cameras
        if odometry is not None and odometry.of_camera:
            known = MapCamera(place.camera, None, OPTICAL)
            self.place_map.cameras = (*cameras, *((known,) if known not in cameras else ()))
        self._odometry.append(odometry)
        self.pieces.append(self._piece if odometry is None else odometry.drive)
        self.place_map.add(
            place.descriptor[np.newaxis],
            stamps_ns=np.array([place.stamp_ns]),
            positions=None if odometry is None else odometry.position[np.newaxis],
            orientations_xyzw=None if odometry is None else odometry.orientation_xyzw[np.newaxis],
            images=[place.image],
            cameras=np.array([place.camera]),
        )
