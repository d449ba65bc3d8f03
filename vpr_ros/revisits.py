# SPDX-License-Identifier: Apache-2.0
"""Recognising on a drive what was seen earlier on the same drive."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace

import numpy as np

from vpr_ros.errors import ModelError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.odometry import OdometryPose
from vpr_ros.online_map import MappingConfig, OnlineMap
from vpr_ros.picture import Picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import PlaceRecognizer, Recognition, RecognizerConfig
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import FeatureExtractor

logger = logging.getLogger(__name__)

ODOMETRY_FRAME = 'odom'
USUAL_REASONS = ('below_threshold', 'too_recent')  # of rejections where one never was before
_TOO_RECENT = (
    'too_recent: whatever was seen so far is too recent or too near to be recognised '
    '(mapping.min_age_s, min_travel_m, min_keyframes)'
)
_UNKNOWN = np.full(4, np.nan)
_REMINDER_S = 30.0


class RevisitDetector:
    """A recognizer whose map is its own past.

    Attributes:
        learnt: The map that grows.
        learning_problem: Why the last picture that was to be learnt was not, and what to do; ''
            if it was.
    """

    def __init__(
        self,
        extractor: DescriptorExtractor,
        config: RecognizerConfig | None = None,
        mapping: MappingConfig | None = None,
        *,
        local: FeatureExtractor | None = None,
        frame_id: str = ODOMETRY_FRAME,
    ) -> None:
        """Start with nothing learnt.

        Args:
            extractor: The model.
            config: How pictures are recognised.
            mapping: Which of them become places.
            local: Finds local features; None: nothing is verified.
            frame_id: Frame of the odometry.

        Raises:
            ModelError: No threshold is set and the model records none.
        """
        self._mapping = mapping or MappingConfig()
        self._frame_id = frame_id
        self.learnt = self._new_map(extractor)
        self._extractor = extractor
        self._verifies = local is not None
        self.learning_problem = ''
        self._told_s = -math.inf
        try:
            self._recognizer = PlaceRecognizer(
                extractor,
                self.learnt.place_map,
                config,
                local=local,
                keyframes=self._keyframes,
                pieces=self.learnt.pieces,
            )
        except ModelError:
            self.learnt.close()
            raise

    @property
    def place_map(self) -> PlaceMap:
        """What was learnt and is old and far enough to be recognised."""
        return self.learnt.place_map

    @property
    def config(self) -> RecognizerConfig:
        """How pictures are recognised; assign to change it while running."""
        return self._recognizer.config

    @config.setter
    def config(self, config: RecognizerConfig) -> None:
        self._recognizer.config = config

    def check(self, config: RecognizerConfig) -> None:
        """Refuse what cannot be put into force, as `PlaceRecognizer.check`."""
        self._recognizer.check(config)

    @property
    def mapping(self) -> MappingConfig:
        """Which pictures become places; assign to change it while running."""
        return self._mapping

    @mapping.setter
    def mapping(self, mapping: MappingConfig) -> None:
        self._mapping = self.learnt.config = mapping

    @property
    def min_similarity(self) -> float:
        """The threshold in force, cosine similarity."""
        return self._recognizer.min_similarity

    @property
    def frame_id(self) -> str:
        """Frame of the odometry, and so of the places."""
        return self._frame_id

    @frame_id.setter
    def frame_id(self, frame_id: str) -> None:
        self._frame_id = self.learnt.place_map.frame_id = frame_id

    def process(
        self,
        rgb: np.ndarray,
        stamp_ns: int,
        *,
        camera: int = 0,
        odometry: OdometryPose | None = None,
        intrinsics: Intrinsics | None = None,
    ) -> Recognition:
        """Recognise one picture and learn it; arguments as of `PlaceRecognizer.process`."""
        picture = self.describe(
            rgb, stamp_ns, camera=camera, odometry=odometry, intrinsics=intrinsics
        )
        return self.recognize(picture)

    def describe(
        self,
        rgb: np.ndarray,
        stamp_ns: int,
        *,
        camera: int = 0,
        odometry: OdometryPose | None = None,
        intrinsics: Intrinsics | None = None,
    ) -> Picture:
        """Take the first half of `process`, which needs no map."""
        return self._recognizer.describe(
            rgb, stamp_ns, camera=camera, odometry=odometry, intrinsics=intrinsics
        )

    def recognize_alone(self, rgb: np.ndarray, stamp_ns: int) -> Recognition:
        """Recognise a picture that is no part of the stream, without learning it."""
        return self._of_past(self._recognizer.recognize_alone(rgb, stamp_ns), None)

    def recognize(self, picture: Picture, *, learn: bool = True) -> Recognition:
        """Look a described picture up among what is past, then learn it, unless `learn` is False.

        A picture that is rejected because nothing is past yet says `too_recent`. One that cannot
        be learnt is answered all the same; `learning_problem` says why.
        """
        self.learnt.release(picture.stamp_ns)
        found = self._of_past(self._recognizer.recognize(picture), picture.odometry)
        if learn:
            self._learn(picture)
        return found

    def reset(self) -> None:
        """Forget the pictures before, not what was learnt of them."""
        self._recognizer.reset()

    def start_over(self) -> None:
        """Forget what was learnt, too: stamps name places, and must not be given twice.

        Raises:
            OSError: There is no room for what will be learnt; nothing was forgotten.
        """
        fresh = self._new_map(self._extractor)
        self.learnt.close()
        self.learnt = fresh
        self.learning_problem = ''
        self._recognizer.use_map(self.learnt.place_map, self._keyframes, pieces=self.learnt.pieces)

    def close(self) -> None:
        """Let go of what is on disk."""
        self.learnt.close()

    @property
    def _keyframes(self) -> KeyframeStore | None:
        return self.learnt.store if self._verifies else None

    def _learn(self, picture: Picture) -> None:
        try:
            if self.learnt.learn(picture):
                self.learning_problem = ''
        except OSError as error:
            folder = self.learnt.store.folder
            self.learning_problem = (
                f'pictures are not learnt: {folder} cannot be written: {error}; make room there, '
                'or start with TMPDIR set to a folder of another disk'
            )
            if time.monotonic() - self._told_s >= _REMINDER_S:
                self._told_s = time.monotonic()
                logger.warning(self.learning_problem)

    def _of_past(self, found: Recognition, odometry: OdometryPose | None) -> Recognition:
        """Say of a recognition what holds of a map that is one's own past.

        Positions of a piece of odometry that was interrupted since are in a frame that is gone.
        """
        if found.reason.startswith('map_empty'):
            return replace(found, reason=_TOO_RECENT)
        pieces = self.learnt.pieces
        piece = self.learnt.piece if odometry is None else odometry.drive
        gone = [pieces[match.row] != piece for match in found.matches]
        if not any(gone):
            return found
        matches = tuple(
            replace(match, position=_UNKNOWN[:3], orientation_xyzw=_UNKNOWN) if is_gone else match
            for match, is_gone in zip(found.matches, gone, strict=True)
        )
        if gone[0]:
            return replace(found, matches=matches, pose=None, map_from_camera=None)
        return replace(found, matches=matches)

    def _new_map(self, extractor: DescriptorExtractor) -> OnlineMap:
        return OnlineMap(
            extractor.info.ref, self._frame_id, self._mapping, KeyframeStore.temporary()
        )
