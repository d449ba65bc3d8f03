# SPDX-License-Identifier: Apache-2.0
"""Model, map and recognizer behind the node, shared by its threads; no rclpy."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from vpr_ros import resources
from vpr_ros.errors import MapError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.keyframe_store import KeyframeStore, features_of_map
from vpr_ros.node.parameters import NodeConfig
from vpr_ros.odometry import OdometryPose
from vpr_ros.online_map import MappingConfig
from vpr_ros.picture import Picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.poses import SWAPPED_NS
from vpr_ros.recognizer import PlaceRecognizer, Recognition, RecognizerConfig, Status
from vpr_ros.revisits import ODOMETRY_FRAME, RevisitDetector
from vpr_ros.session import Anchor, SavedSession, Session
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import (
    DEFAULT_FEATURES,
    FeatureExtractor,
    create_feature_extractor,
)

logger = logging.getLogger(__name__)

MAP_FRAME = 'map'  # of maps that begin here: another day, the odometry begins elsewhere
_MAX_ANCHORS = 100_000


@dataclass(frozen=True)
class Answer:
    """A recognition and the map it is about (which may have been replaced since).

    Attributes:
        recognition: What was found.
        place_map: The map that was searched.
        map_frame_id: Frame of that map's poses.
    """

    recognition: Recognition
    place_map: PlaceMap
    map_frame_id: str


class Engine:
    """Loads what the configuration names; then recognises, from any thread.

    In mode `localize` a picture is held against the loaded map, in `slam` against what was learnt
    on this drive, in `both` against either, with an answer each.

    Attributes:
        extractor: The model that runs.
        mode: `localize`, `slam` or `both`.
    """

    def __init__(
        self,
        config: NodeConfig,
        recognizer_config: RecognizerConfig,
        mapping_config: MappingConfig | None = None,
    ) -> None:
        """Load model and map.

        Raises:
            VprError, OSError: Either cannot be used; the text says why and what to do.
        """
        self._frame_override = config.map_frame_id
        self.mode = config.mode
        if self.mode == 'slam' and config.map:
            raise MapError(_NO_MAP_IN_SLAM.format(config.map))
        self.extractor = DescriptorExtractor(
            config.model or resources.default_model(),
            device=config.device,
            num_threads=config.num_threads,
        )
        place_map = PlaceMap(self.extractor.info.ref)
        if config.map:
            place_map = self._read(config.map)
            self._check_frame(place_map, ODOMETRY_FRAME)
        self._features = config.features, config.max_features
        keyframes = features_of_map(place_map)
        local = self._local_features(keyframes)
        self._local = local
        self._located: PlaceRecognizer | None = None
        self._revisits: RevisitDetector | None = None
        if self.mode != 'slam':
            self._located = PlaceRecognizer(
                self.extractor,
                place_map,
                recognizer_config,
                local=local,
                keyframes=keyframes,
            )
        if self.mode != 'localize':
            self._revisits = RevisitDetector(
                self.extractor, recognizer_config, mapping_config, local=local
            )
        self._last_stamps_ns: dict[int, int] = {}  # by camera, for each comes late in its own way
        self._anchors: list[Anchor] = []
        self._lock = threading.Lock()

    @property
    def place_map(self) -> PlaceMap:
        """The map in use: the loaded one, or in mode `slam` what was learnt."""
        return self._main.place_map

    @property
    def map_frame_id(self) -> str:
        """Frame of the poses of the map in use."""
        return self._frame_of(self._main)

    @property
    def odometry_frame_id(self) -> str:
        """Frame of the odometry, and so of what is learnt; '' in mode `localize`."""
        return self._revisits.frame_id if self._revisits else ''

    @odometry_frame_id.setter
    def odometry_frame_id(self, frame_id: str) -> None:
        if self._revisits is None or frame_id == self._revisits.frame_id:
            return
        with self._lock:
            self._revisits.frame_id = frame_id
        if self.frame_clash:
            logger.error(self.frame_clash)

    @property
    def frame_clash(self) -> str:
        """Why closures of map and past cannot be told apart, and what to do; '' if they can."""
        if self._located is None or self._revisits is None or not len(self._located.place_map):
            return ''
        return _clash(self._frame_of(self._located), self._revisits.frame_id)

    @property
    def num_learnt(self) -> int:
        """Places learnt so far, those included that are too recent to be recognised."""
        return len(self._revisits.learnt) if self._revisits else 0

    @property
    def learning_problem(self) -> str:
        """Why pictures are not learnt at present, and what to do; '' if they are."""
        return self._revisits.learning_problem if self._revisits else ''

    @property
    def min_similarity(self) -> float:
        """The threshold in force, cosine similarity."""
        return self._main.min_similarity

    @property
    def config(self) -> RecognizerConfig:
        """The thresholds in force; assign to change them."""
        return self._main.config

    @config.setter
    def config(self, config: RecognizerConfig) -> None:
        with self._lock:
            for recognizer in self._recognizers():
                recognizer.config = config

    @property
    def mapping(self) -> MappingConfig | None:
        """When a picture becomes a place; assign to change it; None in mode `localize`."""
        return self._revisits.mapping if self._revisits else None

    @mapping.setter
    def mapping(self, mapping: MappingConfig) -> None:
        with self._lock:
            if self._revisits is not None:
                self._revisits.mapping = mapping

    def check(self, config: RecognizerConfig) -> None:
        """Refuse thresholds that model and map cannot run with, without using them.

        Raises:
            ModelError: A recorded threshold is wanted and neither of them records one.
        """
        with self._lock:
            for recognizer in self._recognizers():
                recognizer.check(config)

    def summary(self) -> dict[str, str | int | float]:
        """Return what runs, for the log."""
        info, place_map = self.extractor.info, self.place_map
        return {
            'model file': str(info.path),
            'model name': info.name,
            'model sha256': info.sha256,
            'provider': f'{self.extractor.provider} ({self.extractor.provider_reason})',
            'min_similarity in force': self.min_similarity,
            'map url': place_map.url,
            'map places': len(place_map),
            'map frame': self.map_frame_id,
        }

    def describe(
        self,
        rgb: np.ndarray,
        stamp_ns: int,
        *,
        camera: int = 0,
        intrinsics: Intrinsics | None = None,
    ) -> Picture:
        """Describe the next picture of the stream; another may be looked up meanwhile.

        Args:
            rgb: uint8 RGB (H, W, 3).
            stamp_ns: Its stamp.
            camera: Number of the camera.
            intrinsics: Of the camera, for pictures of this size; None: unknown.
        """
        return self._main.describe(rgb, stamp_ns, camera=camera, intrinsics=intrinsics)

    def recognize(self, picture: Picture) -> list[Answer]:
        """Look the next picture of the stream up.

        Args:
            picture: As described; one whose stamp lies well before the camera's last one resets
                what depends on time, and what was learnt; one a little before is not learnt.

        Returns:
            An answer a map: the loaded one's first.
        """
        with self._lock:
            is_newest = self._follow_clock(picture.stamp_ns, picture.camera)
            answers = []
            if self._located is not None:
                found = self._located.recognize(picture)
                self._anchor(found, picture.odometry)
                answers.append(self._answer(self._located, self._unless_clashing(found)))
            if self._revisits is not None:
                found = self._revisits.recognize(picture, learn=is_newest)
                answers.append(self._answer(self._revisits, found))
            return answers

    def recognize_once(self, rgb: np.ndarray, stamp_ns: int) -> Answer:
        """Recognise a picture that is no part of the stream and leaves no trace in it."""
        with self._lock:
            return self._answer(self._main, self._main.recognize_alone(rgb, stamp_ns))

    def reset(self) -> None:
        """Forget what depends on earlier pictures, but nothing that was learnt."""
        with self._lock:
            if self._revisits is None:  # stamps of what was learnt must still not come twice
                self._last_stamps_ns.clear()
            for recognizer in self._recognizers():
                recognizer.reset()

    def load_map(self, url: str) -> None:
        """Replace the map in use; it stays in use if the new one cannot be.

        Args:
            url: Map directory, a path or a file:// URL.

        Raises:
            FileNotFoundError: No map there.
            MapModelMismatchError: Made by another model.
            MapError: Damaged, or no such kind of URL, or in the frame of the odometry, or the mode
                knows no loaded map.
        """
        if self._located is None:
            raise MapError(_NO_MAP_IN_SLAM.format(url))
        place_map = self._read(url)  # slow, so before the lock
        self._check_frame(place_map, self.odometry_frame_id)
        keyframes = features_of_map(place_map)
        local = self._local_features(keyframes)
        with self._lock:
            self._located.use_map(place_map, keyframes)
            self._anchors.clear()
            if local.kind != self._local.kind:
                logger.warning(
                    'local features are %s now, as in the map, no longer %s%s',
                    local.kind,
                    self._local.kind,
                    ': what was learnt so far cannot be verified any more'
                    if self.num_learnt
                    else '',
                )
                self._located.local = self._local = local

    def save_map(self, url: str) -> SavedSession:
        """Write the loaded map together with what was learnt.

        Args:
            url: Map directory, a path or a file:// URL; replaced as a whole if it is a map; empty:
                where the map was loaded from.

        Returns:
            What was written.

        Raises:
            FileNotFoundError: No directory was named, and no map was loaded from one.
            MapModelMismatchError: There is a map of another model.
            MapError: Nothing was learnt, or `url` is no place for this map.
            OSError: The disk is full or not writable; what was there stays.
        """
        if self._revisits is None:
            raise MapError('mode localize learns nothing: start the node with mode slam or both')
        with ExitStack() as until_saved:
            with self._lock:  # a moment, for copies of what grows
                loaded = self._located.place_map if self._located else None
                learnt = self._revisits.learnt.snapshot()
                until_saved.enter_context(learnt.store.held())
                session = Session(
                    learnt,
                    loaded if loaded is not None and len(loaded) else None,
                    tuple(self._anchors),
                    self._frame_override or MAP_FRAME,
                )
            return session.save(self._directory_to_save(url, loaded))

    def close(self) -> None:
        """Let go of what was learnt."""
        if self._revisits is not None:
            self._revisits.close()

    @property
    def _main(self) -> PlaceRecognizer | RevisitDetector:
        return self._recognizers()[0]

    def _recognizers(self) -> list[PlaceRecognizer | RevisitDetector]:
        return [recognizer for recognizer in (self._located, self._revisits) if recognizer]

    def _answer(self, recognizer: PlaceRecognizer | RevisitDetector, found: Recognition) -> Answer:
        return Answer(found, recognizer.place_map, self._frame_of(recognizer))

    def _unless_clashing(self, found: Recognition) -> Recognition:
        """Claim nothing of the loaded map where others would take it for this drive's past."""
        if not self.frame_clash:
            return found
        return replace(
            found,
            status=Status.REJECTED,
            reason=f'same_frame: {self.frame_clash}',
            pose=None,
            relative_pose=None,
            map_from_camera=None,
        )

    def _frame_of(self, recognizer: PlaceRecognizer | RevisitDetector) -> str:
        if recognizer is self._revisits:
            return self._revisits.frame_id
        return self._frame_override or recognizer.place_map.frame_id

    @staticmethod
    def _directory_to_save(url: str, loaded: PlaceMap | None) -> Path:
        if url:
            return directory_of(url)
        if loaded is None or loaded.directory is None:
            raise FileNotFoundError('no map was loaded, so a directory has to be named')
        return loaded.directory

    def _anchor(self, found: Recognition, odometry: OdometryPose | None) -> None:
        """Remember where the loaded map lies in the odometry, for what is learnt to be saved."""
        if self._revisits is None:
            return
        if found.map_from_camera is not None and odometry is not None and odometry.of_camera:
            map_from_odometry = found.map_from_camera @ np.linalg.inv(odometry.matrix)
            self._anchors.append(Anchor(found.stamp_ns, odometry.drive, map_from_odometry))
            if len(self._anchors) > _MAX_ANCHORS:
                self._anchors = self._anchors[::2]

    def _follow_clock(self, stamp_ns: int, camera: int) -> bool:
        """Begin anew where stamps jump back; returns whether the camera has sent no newer one."""
        last = self._last_stamps_ns.get(camera)
        if last is None or stamp_ns >= last - SWAPPED_NS:
            self._last_stamps_ns[camera] = stamp_ns if last is None else max(stamp_ns, last)
            return self._last_stamps_ns[camera] == stamp_ns
        learnt = f' and {self.num_learnt} places learnt' if self._revisits else ''
        if self._revisits is not None:
            self._revisits.start_over()  # first: where it cannot, the next picture asks again
        self._last_stamps_ns = {camera: stamp_ns}
        self._anchors.clear()
        logger.warning(
            'picture stamps jumped back by %.3f s (a bag that loops?): forgetting earlier '
            'pictures%s',
            (last - stamp_ns) * 1e-9,
            learnt,
        )
        if self._located is not None:
            self._located.reset()
        return True

    def _check_frame(self, place_map: PlaceMap, odometry_frame_id: str) -> None:
        clash = _clash(self._frame_override or place_map.frame_id, odometry_frame_id)
        if clash and self.mode == 'both':
            raise MapError(f'{place_map.directory}: {clash}')

    def _read(self, url: str) -> PlaceMap:
        return PlaceMap.load(directory_of(url), model=self.extractor.info.ref)

    def _local_features(self, keyframes: KeyframeStore | None) -> FeatureExtractor:
        """Return what finds local features: of the wanted kind, or of the map's."""
        kind, max_features = self._features
        if kind == 'auto':
            kind = (keyframes.kind if keyframes is not None else None) or DEFAULT_FEATURES
        return create_feature_extractor(kind, max_features)


_NO_MAP_IN_SLAM = (
    'mode slam knows no map but its own past, and {} was named: choose mode both to extend it, or '
    'localize to leave it as it is'
)


def _clash(map_frame_id: str, odometry_frame_id: str) -> str:
    if map_frame_id != odometry_frame_id:
        return ''
    return (
        f'frame {map_frame_id!r} is the frame of both the map and the odometry, so that closures '
        'of the map would be taken for closures of this drive: name the frame of the map with '
        '-p map_frame_id:=NAME, or build it with --frame-id NAME'
    )


def directory_of(url: str) -> Path:
    """Return the directory that a path or a file:// URL names.

    Raises:
        MapError: It is empty, of another scheme or of another machine.
    """
    if not url:
        raise MapError('no map was named: give a directory or a file:// URL')
    if '://' not in url:
        return Path(url).expanduser()
    parts = urlsplit(url)
    if parts.scheme != 'file' or parts.netloc not in ('', 'localhost'):
        raise MapError(f'{url!r} cannot be read: give a directory or file:///absolute/path')
    return Path(unquote(parts.path))
