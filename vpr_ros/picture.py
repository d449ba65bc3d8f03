# SPDX-License-Identifier: Apache-2.0
"""One picture of the stream with what is known and found out about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from vpr_ros.cameras import resized
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.odometry import OdometryPose
from vpr_ros.picture_quality import unusable_reason
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import FeatureExtractor, LocalFeatures
from vpr_ros.verification.picture import PICTURE_HEIGHT, working_picture, working_size


@dataclass
class Picture:
    """A picture, described once however many maps it is held against.

    Attributes:
        rgb: uint8 RGB (H, W, 3).
        stamp_ns: Its stamp, nanoseconds.
        camera: Number of the camera.
        odometry: Where odometry has the camera at that time; None: unknown.
        intrinsics: Of the picture in which local features are looked for; None: unknown.
        problem: '' or why the picture shows nothing: `code: sentence`.
        descriptor: (D,) float32, unit norm; None if it shows nothing.
        timings_s: Stage to seconds that the picture had to wait for it.
    """

    rgb: np.ndarray
    stamp_ns: int
    camera: int
    odometry: OdometryPose | None
    intrinsics: Intrinsics | None
    problem: str
    descriptor: np.ndarray | None
    timings_s: dict[str, float]
    _local: FeatureExtractor | None = None
    _begun: Future[LocalFeatures] | None = None
    _features: LocalFeatures | None = field(default=None, init=False)

    @property
    def features(self) -> LocalFeatures | None:
        """Local features, found when first asked for; None where nothing finds any."""
        if self._features is None and self._local is not None:
            with timed(self.timings_s, 'features'):
                begun = self._begun
                self._features = begun.result() if begun else _extracted(self._local, self.rgb)
        return self._features


class Describer:
    """Makes a `Picture` of each picture."""

    def __init__(
        self, extractor: DescriptorExtractor, local: FeatureExtractor | None = None
    ) -> None:
        """Join the model and what finds local features (None: nothing does)."""
        self.extractor = extractor
        self.local = local
        self._beside = ThreadPoolExecutor(1, thread_name_prefix='features')

    def describe(
        self,
        rgb: np.ndarray,
        stamp_ns: int,
        *,
        min_contrast: float,
        with_features: bool,
        camera: int = 0,
        odometry: OdometryPose | None = None,
        intrinsics: Intrinsics | None = None,
    ) -> Picture:
        """Describe one picture, unless it shows nothing.

        Args:
            rgb: uint8 RGB (H, W, 3).
            stamp_ns: Its stamp, nanoseconds.
            min_contrast: Below it the picture is blank, as in `picture_quality`.
            with_features: Whether its local features will be asked for, too: they are then looked
                for beside the model.
            camera: Number of the camera.
            odometry: Where odometry has the camera at that time.
            intrinsics: Of the camera, for pictures of this size; None: unknown.

        Raises:
            ValueError: `rgb` is not such a picture.
        """
        timings: dict[str, float] = {}
        descriptor, begun = None, None
        with timed(timings, 'quality'):
            problem = unusable_reason(rgb, min_contrast=min_contrast) or ''
        if not problem:
            if with_features and self.local is not None:
                begun = self._beside.submit(_extracted, self.local, rgb)
            with timed(timings, 'extract'):
                descriptor = self.extractor.extract(rgb)
        return Picture(
            rgb,
            stamp_ns,
            camera,
            odometry,
            None if intrinsics is None else _of_features(intrinsics, *rgb.shape[:2]),
            problem,
            descriptor,
            timings,
            self.local,
            begun,
        )


def _extracted(local: FeatureExtractor, rgb: np.ndarray) -> LocalFeatures:
    return local.extract(working_picture(rgb, PICTURE_HEIGHT).rgb)


def _of_features(intrinsics: Intrinsics, height: int, width: int) -> Intrinsics:
    """Return the intrinsics of the picture that features are looked for in."""
    rows, columns = working_size(height, width, PICTURE_HEIGHT)
    matrix = resized(intrinsics.matrix, columns / width, rows / height)
    return Intrinsics(matrix, intrinsics.distortion)


@contextmanager
def timed(timings_s: dict[str, float], stage: str) -> Iterator[None]:
    """Add the duration of the block to a stage."""
    start = time.perf_counter()
    yield
    timings_s[stage] = timings_s.get(stage, 0.0) + time.perf_counter() - start
