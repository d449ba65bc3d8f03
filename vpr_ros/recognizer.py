# SPDX-License-Identifier: Apache-2.0
"""The road of one picture, top to bottom: `PlaceRecognizer.process`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from vpr_ros.errors import MapModelMismatchError, ModelError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.picture_quality import MIN_CONTRAST, unusable_reason
from vpr_ros.place_map import Match, PlaceMap
from vpr_ros.retrieval_pose import PoseEstimate, pose_of_match, retrieval_covariance

THRESHOLD_OF_MODEL = -1.0


class Status(IntEnum):
    """How far a candidate got; the values are those of vpr_msgs/LoopClosure."""

    CANDIDATE = 0
    CONSISTENT = 1
    VERIFIED = 2
    REJECTED = 3


@dataclass(frozen=True)
class RecognizerConfig:
    """What can be tuned; the node declares its parameters from these fields."""

    top_k: int = field(
        default=5, metadata={'description': 'Matches per picture', 'range': (1, 1000)}
    )
    min_similarity: float = field(
        default=THRESHOLD_OF_MODEL,
        metadata={
            'description': 'Cosine similarity from which the best match is a candidate; '
            '-1.0 takes the threshold recorded in the model',
            'range': (-1.0, 1.0),
        },
    )
    min_contrast: float = field(
        default=MIN_CONTRAST,
        metadata={
            'description': 'Pictures with a smaller standard deviation (grey levels of a 32x32 '
            'thumbnail) are rejected as blank; 0.0 tries every picture',
            'range': (0.0, 128.0),
        },
    )

    def __post_init__(self) -> None:
        """Refuse values outside the stated ranges."""
        for name, spec in self.__dataclass_fields__.items():
            low, high = spec.metadata['range']
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} must lie between {low} and {high}, not {value}')


@dataclass(frozen=True)
class Recognition:
    """What became of one picture.

    Attributes:
        query_id: Number of the picture since the start or the last reset.
        stamp_ns: The picture's stamp, nanoseconds.
        camera: Number of the camera.
        status: How far the best match got.
        reason: '' unless rejected; `code: sentence`, with code below_threshold, map_empty,
            blank, dark or saturated.
        matches: Best first; given for rejected ones too, so that an operator can see why.
        descriptor: (D,) float32, unit norm; None if the picture was unusable.
        pose: The camera in the map frame; None if rejected or the map has no poses.
        consistent_count: Successive pictures that agree.
        num_correspondences: Local features compared.
        num_inliers: Of these, in agreement with one motion.
        timings_s: Stage to seconds.
    """

    query_id: int
    stamp_ns: int
    camera: int
    status: Status
    reason: str
    matches: tuple[Match, ...]
    descriptor: np.ndarray | None
    pose: PoseEstimate | None
    consistent_count: int = 0
    num_correspondences: int = 0
    num_inliers: int = 0
    timings_s: dict[str, float] = field(default_factory=dict)


class PlaceRecognizer:
    """Recognise pictures against a map; node and evaluation both drive it.

    Attributes:
        config: The configuration in force; assign to change thresholds while running.
    """

    def __init__(
        self,
        extractor: DescriptorExtractor,
        place_map: PlaceMap,
        config: RecognizerConfig = RecognizerConfig(),
    ) -> None:
        """Join a model and a map.

        Raises:
            MapModelMismatchError: The map was made by another model.
            ModelError: No threshold is set and the model records none.
        """
        self._extractor = extractor
        self._query_id = 0
        self.place_map = place_map
        self.config = config

    @property
    def config(self) -> RecognizerConfig:
        """The configuration in force."""
        return self._config

    @config.setter
    def config(self, config: RecognizerConfig) -> None:
        if config.min_similarity == THRESHOLD_OF_MODEL and self._recorded_threshold is None:
            raise ModelError(
                f'model {self._extractor.info.name} records no threshold: set min_similarity'
            )
        self._config = config

    @property
    def place_map(self) -> PlaceMap:
        """The map in use; assign another one to change it while running."""
        return self._place_map

    @place_map.setter
    def place_map(self, place_map: PlaceMap) -> None:
        info = self._extractor.info
        if place_map.model.sha256 != info.sha256:
            raise MapModelMismatchError(
                f'the map was made by model {place_map.model.name} (sha256 '
                f'{place_map.model.sha256[:12]}…), not by {info.name} ({info.sha256[:12]}…)'
            )
        self._place_map = place_map
        self._covariance = retrieval_covariance(place_map, info.recall_at_1)

    @property
    def min_similarity(self) -> float:
        """The threshold in force, cosine similarity."""
        if self._config.min_similarity != THRESHOLD_OF_MODEL:
            return self._config.min_similarity
        assert self._recorded_threshold is not None  # held by the setter of config
        return self._recorded_threshold

    @property
    def _recorded_threshold(self) -> float | None:
        return self._extractor.info.min_similarity

    def reset(self) -> None:
        """Forget what depends on earlier pictures (after a jump of the clock)."""
        self._query_id = 0

    def process(self, rgb: np.ndarray, stamp_ns: int, *, camera: int = 0) -> Recognition:
        """Recognise one picture.

        Args:
            rgb: uint8 RGB (H, W, 3).
            stamp_ns: The picture's stamp, nanoseconds.
            camera: Number of the camera.

        Returns:
            What was found and how sure it is; never None.

        Raises:
            ValueError: `rgb` is not such a picture.
        """
        timings: dict[str, float] = {}
        descriptor: np.ndarray | None = None
        matches: list[Match] = []
        with _timed(timings, 'quality'):
            reason = unusable_reason(rgb, min_contrast=self._config.min_contrast) or ''
        if not reason:
            with _timed(timings, 'extract'):
                descriptor = self._extractor.extract(rgb)
            with _timed(timings, 'search'):
                matches = self._place_map.search(descriptor, self._config.top_k)
            reason = self._rejection(matches)
        query_id, self._query_id = self._query_id, self._query_id + 1
        return Recognition(
            query_id=query_id,
            stamp_ns=stamp_ns,
            camera=camera,
            status=Status.REJECTED if reason else Status.CANDIDATE,
            reason=reason,
            matches=tuple(matches),
            descriptor=descriptor,
            pose=None if reason else pose_of_match(matches[0], self._covariance),
            timings_s=timings,
        )

    def _rejection(self, matches: list[Match]) -> str:
        if not matches:
            return 'map_empty: the map holds no places; load or build one'
        best, least = matches[0].similarity, self.min_similarity
        if best < least:
            return f'below_threshold: best similarity {best:.3f} is below {least:.3f}'
        return ''


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - start
