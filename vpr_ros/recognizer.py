# SPDX-License-Identifier: Apache-2.0
"""The road of one picture, top to bottom: `PlaceRecognizer.process`."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from vpr_ros.errors import MapModelMismatchError, ModelError
from vpr_ros.extractor import DescriptorExtractor, ModelInfo
from vpr_ros.odometry import OdometryPose
from vpr_ros.picture import Describer, Picture, timed
from vpr_ros.picture_quality import MIN_CONTRAST
from vpr_ros.place_map import Match, PlaceMap
from vpr_ros.poses import rotation_angle
from vpr_ros.retrieval_pose import PoseEstimate, pose_of_match, retrieval_covariance
from vpr_ros.sequence_filter.config import Belief, Motion, SequenceFilterConfig
from vpr_ros.sequence_filter.filter import SequenceFilter
from vpr_ros.settings import check_settings, setting
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import FeatureExtractor
from vpr_ros.verification.verifier import (
    GeometricVerifier,
    KeyframeSource,
    Verification,
    VerifierConfig,
)
from vpr_ros.verified_pose import verified_pose

logger = logging.getLogger(__name__)

THRESHOLD_OF_MODEL = -1.0  # or, before it, of the map
_GROWN = 1.01  # growth of a map from which what depends on all its positions is found anew
_AS_PROBABLE = 0.95  # as the likeliest place has to be one that geometry knows without metres
_LEADS = 0.5  # probability of a place, if on the map at all, from which it goes before likeness


class Status(IntEnum):
    """How far a candidate got; the values are those of vpr_msgs/LoopClosure."""

    CANDIDATE = 0
    CONSISTENT = 1
    VERIFIED = 2
    REJECTED = 3


@dataclass(frozen=True)
class RecognizerConfig:
    """What can be tuned; the node declares its parameters from these fields."""

    top_k: int = setting(5, 'Matches per picture', range=(1, 1000))
    min_similarity: float = setting(
        THRESHOLD_OF_MODEL,
        'Cosine similarity that the most similar match must reach, unless geometry verifies a '
        'place; -1.0 takes the one recorded in the map by `vpr calibrate`, else in the model',
        range=(-1.0, 1.0),
    )
    min_contrast: float = setting(
        MIN_CONTRAST,
        'Pictures with a smaller standard deviation (grey levels of a 32x32 thumbnail) are '
        'rejected as blank; 0.0 tries every picture',
        range=(0.0, 128.0),
    )
    match_across_cameras: bool = setting(
        True, 'Whether a picture may match a place that another camera saw'
    )
    sequence_filter: SequenceFilterConfig = field(default_factory=SequenceFilterConfig)
    verification: VerifierConfig = field(default_factory=VerifierConfig)

    def __post_init__(self) -> None:
        """Refuse values outside the stated ranges."""
        check_settings(self)


@dataclass(frozen=True)
class RelativePose:
    """The query's camera in the camera frame of the match (optical: x right, y down, z ahead).

    Attributes:
        rotation: (3, 3) float64; x_match = rotation @ x_query + translation.
        translation: (3,) float64, metres if `metric`, else a unit direction.
        covariance: (6, 6) float64, order x y z, rotation about x y z of the match's frame; for a
            direction as of `verification.two_view.TwoView`.
        metric: Whether the translation is in metres.
    """

    rotation: np.ndarray
    translation: np.ndarray
    covariance: np.ndarray
    metric: bool


@dataclass(frozen=True)
class Recognition:
    """What became of one picture.

    Attributes:
        query_id: Number of the picture since the start or the last reset.
        stamp_ns: The picture's stamp, nanoseconds.
        camera: Number of the camera.
        status: How far the first match got.
        reason: Why it got no further, `code: sentence`; '' if verified, or if nothing asks more of
            it. Codes of rejected ones: below_threshold, map_empty, camera_unmapped, blank, dark,
            saturated; of candidates as in `sequence_filter.Belief`; of consistent ones as in
            `verification.Verification`; of either, elsewhere and ambiguous.
        matches: The answer first, the others by similarity; given for rejected ones too, so that
            an operator can see why. Where none is verified, the answer is the nearest place that
            geometry sees from afar, unless the pictures before agree on another; else the most
            alike, or where a steady pace has led to.
        descriptor: (D,) float32, unit norm; None if the picture was unusable.
        pose: Of what the map's poses are of, in the map frame; None if rejected, if the map has no
            poses, or if verified in metres by a camera whose mounting the map does not know.
        relative_pose: The camera in the frame of the first match's camera; None unless verified.
        map_from_camera: (4, 4) float64, the camera's optical frame in the map, metres; None unless
            verified in metres.
        off_map_probability: That the picture was taken off the map; NaN: unknown.
        consistent_count: Successive pictures that agree.
        num_correspondences: Local features compared.
        num_inliers: Of these, in agreement with one motion.
        distance_m: Metres to the first match's camera if that one is verified in metres or seen
            from afar; else NaN.
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
    relative_pose: RelativePose | None = None
    map_from_camera: np.ndarray | None = None
    off_map_probability: float = math.nan
    consistent_count: int = 0
    num_correspondences: int = 0
    num_inliers: int = 0
    distance_m: float = math.nan
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
        config: RecognizerConfig | None = None,
        *,
        local: FeatureExtractor | None = None,
        keyframes: KeyframeSource | None = None,
        pieces: Sequence[int] | None = None,
    ) -> None:
        """Join a model and a map.

        Args:
            extractor: The model.
            place_map: The map; may grow while it is in use.
            config: What can be tuned.
            local: Finds the local features of pictures; None: nothing is verified.
            keyframes: Local features of the map's places; None: nothing is verified.
            pieces: As in `use_map`.

        Raises:
            MapModelMismatchError: The map was made by another model.
            ModelError: No threshold is set and neither map nor model records one.
        """
        self._extractor = extractor
        self._describer = Describer(extractor, local)
        self._query_id = 0
        self._threshold: float
        self._config = config or RecognizerConfig()
        self.use_map(place_map, keyframes, pieces=pieces)

    @property
    def config(self) -> RecognizerConfig:
        """The configuration in force."""
        return self._config

    @config.setter
    def config(self, config: RecognizerConfig) -> None:
        threshold = self._threshold_of(config, self._place_map)
        filter_goes_on = config.sequence_filter == self._config.sequence_filter
        if not filter_goes_on or threshold != self._threshold:
            self._filters.clear()
        self._threshold = threshold
        self._config = config
        if self._verifier is not None:
            self._verifier.config = config.verification

    def check(self, config: RecognizerConfig) -> None:
        """Refuse what cannot be put into force, without doing so.

        Raises:
            ModelError: A recorded threshold is wanted and neither map nor model records one.
        """
        self._threshold_of(config, self._place_map)

    @property
    def place_map(self) -> PlaceMap:
        """The map in use."""
        return self._place_map

    @property
    def local(self) -> FeatureExtractor | None:
        """What finds the local features of pictures; assign what suits another map's."""
        return self._describer.local

    @local.setter
    def local(self, local: FeatureExtractor | None) -> None:
        self._describer.local = local

    def use_map(
        self,
        place_map: PlaceMap,
        keyframes: KeyframeSource | None = None,
        *,
        pieces: Sequence[int] | None = None,
    ) -> None:
        """Change the map while running, and forget the pictures before.

        Args:
            place_map: The map.
            keyframes: Local features of its places; None: nothing is verified.
            pieces: Number of the piece of odometry that gave each place its position; may grow
                with the map. None: all positions are in one frame.

        Raises:
            MapModelMismatchError: The map was made by another model.
        """
        info = self._extractor.info
        if place_map.model.sha256 != info.sha256:
            raise MapModelMismatchError(
                f'the map was made by model {place_map.model.name} (sha256 '
                f'{place_map.model.sha256[:12]}…), not by {info.name} ({info.sha256[:12]}…)'
            )
        self._threshold = self._threshold_of(self._config, place_map)
        place_map.prepare()
        self._place_map: PlaceMap = place_map
        self._keyframes = keyframes
        self._pieces = pieces
        self._verifier: GeometricVerifier | None = (
            None if keyframes is None else GeometricVerifier(keyframes, self._config.verification)
        )
        self._covariance = retrieval_covariance(place_map, info.recall_at_1)
        self._covariance_of = len(place_map)
        self.reset()

    @property
    def min_similarity(self) -> float:
        """The threshold in force, cosine similarity."""
        return self._threshold

    def _threshold_of(self, config: RecognizerConfig, place_map: PlaceMap) -> float:
        return threshold_of(config, place_map, self._extractor.info)

    def reset(self) -> None:
        """Forget what depends on earlier pictures (after a jump of the clock)."""
        self._query_id = 0
        self._filters: dict[int, SequenceFilter] = {}
        self._last_odometry: dict[int, OdometryPose] = {}

    def process(
        self,
        rgb: np.ndarray,
        stamp_ns: int,
        *,
        camera: int = 0,
        odometry: OdometryPose | None = None,
        intrinsics: Intrinsics | None = None,
    ) -> Recognition:
        """Recognise one picture.

        Args:
            rgb: uint8 RGB (H, W, 3).
            stamp_ns: The picture's stamp, nanoseconds.
            camera: Number of the camera.
            odometry: Where odometry has the camera at that time; None: unknown.
            intrinsics: Of the camera, for pictures of this size; None: unknown, then a verified
                match has no relative pose.

        Returns:
            What was found and how sure it is; never None.

        Raises:
            ValueError: `rgb` is not such a picture.
        """
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
        return self._describer.describe(
            rgb,
            stamp_ns,
            min_contrast=self._config.min_contrast,
            with_features=self._verifier is not None,
            camera=camera,
            odometry=odometry,
            intrinsics=intrinsics,
        )

    def recognize(self, picture: Picture) -> Recognition:
        """Take the second half of `process`: look a described picture up."""
        timings = picture.timings_s
        matches: list[Match] = []
        belief: Belief | None = None
        checked: list[Verification] = []
        reason = picture.problem
        if picture.descriptor is not None:
            with timed(timings, 'search'):
                matches = self._place_map.search(
                    picture.descriptor, self._config.top_k, cameras=self._cameras(picture)
                )
            with timed(timings, 'filter'):
                belief = self._believe(picture, matches)
                matches = self._led_by_pace(_with_probability(matches, belief), belief, picture)
            checked = self._verify(picture, matches, timings)
            reason = self._rejection(matches, picture.camera)
        query_id, self._query_id = self._query_id, self._query_id + 1
        answer = self._judge(matches, belief, checked, reason, picture.camera)
        return Recognition(
            query_id=query_id,
            stamp_ns=picture.stamp_ns,
            camera=picture.camera,
            status=answer.status,
            reason=answer.reason,
            matches=tuple(answer.matches),
            descriptor=picture.descriptor,
            pose=self._pose(answer, picture),
            relative_pose=_relative_pose(answer),
            map_from_camera=_map_from_camera(answer),
            off_map_probability=belief.off_map if belief else math.nan,
            consistent_count=belief.consistent_count if belief else 0,
            num_correspondences=answer.checked.num_correspondences if answer.checked else 0,
            num_inliers=answer.checked.num_inliers if answer.checked else 0,
            distance_m=_distance_m(answer),
            timings_s=dict(timings),
        )

    def recognize_alone(self, rgb: np.ndarray, stamp_ns: int) -> Recognition:
        """Recognise a picture that is no part of the stream and leaves no trace in it."""
        alone = dataclasses.replace(self._config.sequence_filter, mode='off')
        beside = PlaceRecognizer(
            self._extractor,
            self._place_map,
            dataclasses.replace(self._config, sequence_filter=alone, match_across_cameras=True),
            local=self.local,
            keyframes=self._keyframes,
            pieces=self._pieces,
        )
        return beside.process(rgb, stamp_ns)

    def _cameras(self, picture: Picture) -> Sequence[int] | None:
        """Return the cameras whose places a picture may match; None: all."""
        return None if self._config.match_across_cameras else (picture.camera,)

    # Time.

    def _believe(self, picture: Picture, matches: list[Match]) -> Belief:
        """Hold a picture's similarities against the pictures before it."""
        over_time = self._filter_of(picture.camera)
        assert picture.descriptor is not None  # asked for described pictures only
        rows, similarities = self._place_map.similarities(
            picture.descriptor, cameras=self._cameras(picture)
        )
        late = over_time.is_late(picture.stamp_ns)
        belief = over_time.update(
            similarities,
            picture.stamp_ns,
            None if late else self._motion_to(picture),
            rows=rows if len(rows) < len(self._place_map) else None,
            asked=np.array([match.row for match in matches], np.int64),
        )
        if belief.restarted:
            logger.warning(
                'camera %d: %s: forgetting what earlier pictures told of the place',
                picture.camera,
                belief.restarted,
            )
        return belief

    def _led_by_pace(self, matches: list[Match], belief: Belief, picture: Picture) -> list[Match]:
        """Put the place first that a steady pace has led to, if any has.

        Without odometry, along a map in the order of a drive, the pictures before say better than
        a single one which of the places that look alike it is.
        """
        paced = self._filters[picture.camera].has_pace
        leads = belief.best_probability >= _LEADS * (1 - belief.off_map)  # NaN: it does not
        if not (paced and leads and belief.best_row >= 0):
            return matches
        expected = next((match for match in matches if match.row == belief.best_row), None)
        if expected is None:
            assert picture.descriptor is not None  # asked for described pictures only
            expected = dataclasses.replace(
                self._place_map.match(
                    belief.best_row,
                    self._place_map.similarity(belief.best_row, picture.descriptor),
                ),
                probability=belief.best_probability,
            )
        return [expected, *(match for match in matches if match is not expected)]

    def _filter_of(self, camera: int) -> SequenceFilter:
        """Return the camera's filter, knowing all places."""
        place_map, known = self._place_map, self._filters.get(camera)
        if known is None:
            known = SequenceFilter(
                threshold=self.min_similarity, config=self._config.sequence_filter
            )
            self._filters[camera] = known
        if len(known) < len(place_map):
            first = len(known)
            new = place_map.places[first:]
            pieces = None if self._pieces is None else self._pieces[first : len(place_map)]
            known.grow(
                len(place_map),
                new['position'],
                new['orientation_xyzw'],
                pieces=pieces,
                cameras=new['camera'],
            )
        return known

    def _motion_to(self, picture: Picture) -> Motion | None:
        """Return how the camera moved since its last picture, if odometry tells."""
        last = self._last_odometry.pop(picture.camera, None)
        now = picture.odometry
        if now is None:
            return None
        self._last_odometry[picture.camera] = now
        if last is None or last.drive != now.drive:
            return None
        return Motion(
            float(np.linalg.norm(now.position - last.position)),
            rotation_angle(now.orientation_xyzw, last.orientation_xyzw),
        )

    # Geometry.

    def _verify(
        self, picture: Picture, matches: list[Match], timings: dict[str, float]
    ) -> list[Verification]:
        """Look at the best candidates; verified ones first."""
        if self._verifier is None or not matches or picture.features is None:
            return []
        with timed(timings, 'verify'):
            return self._verifier.verify(
                picture.features, [match.row for match in matches], camera=picture.intrinsics
            )

    # Judgement.

    def _judge(
        self,
        matches: list[Match],
        belief: Belief | None,
        checked: list[Verification],
        rejection: str,
        camera: int,
    ) -> _Answer:
        """Say how far a picture got, the surest first."""
        dispute = ''
        if checked and checked[0].is_verified:
            surest = _surest(checked, matches)
            dispute = self._dispute(surest, matches, belief, camera)
            if not dispute:
                return _Answer(Status.VERIFIED, '', _first(matches, surest.place), surest)
        if rejection or belief is None:
            return _Answer(Status.REJECTED, rejection, matches, None)
        least = self._config.sequence_filter.min_probability
        if not dispute:
            matches = self._led_by_distance(matches, belief, checked)
        best = matches[0]
        of_best = next((check for check in checked if check.place == best.row), None)
        if belief.is_consistent and not best.probability < least:
            reason = dispute or (of_best.reason if of_best else self._unverifiable())
            return _Answer(Status.CONSISTENT, reason, matches, of_best)
        reason = (
            dispute or belief.reason or 'elsewhere: the pictures before speak for another place'
        )
        return _Answer(Status.CANDIDATE, reason, matches, of_best)

    def _led_by_distance(
        self, matches: list[Match], belief: Belief, checked: list[Verification]
    ) -> list[Match]:
        """Put the nearest place first that geometry sees from afar, if any.

        It is a better guess than what only looks more alike, unless the pictures before agree on
        the latter.
        """
        seen = [check for check in checked if check.is_seen_from_afar]
        if not seen:
            return matches
        led = _first(matches, min(seen, key=lambda check: check.distance_m).place)
        least = self._config.sequence_filter.min_probability
        is_expected = led[0].probability < least <= matches[0].probability  # NaN: it is not
        return matches if belief.is_consistent and is_expected else led

    def _dispute(
        self, surest: Verification, matches: list[Match], belief: Belief | None, camera: int
    ) -> str:
        """Say so if the pictures before do not speak for what geometry found without metres.

        What is far away looks the same from a few metres further on, and one floor of a building
        like the next. Where the places have positions, the pictures before tell the place itself,
        else its part of the map.
        """
        least = self._config.sequence_filter.min_probability
        if surest.metric or belief is None:
            return ''
        known = next(match.probability for match in matches if match.row == surest.place)
        if known < _AS_PROBABLE * belief.best_probability and belief.best_probability >= least:
            return (
                f'elsewhere: place {surest.place} fits, but has probability {known:.2f}, and '
                f'place {belief.best_row} {belief.best_probability:.2f}'
            )
        if self._filters[camera].is_metric and known < _AS_PROBABLE * least:
            return (
                f'ambiguous: place {surest.place} fits, but has probability {known:.2f} by the '
                'pictures so far'
            )
        part = next(iter(belief.part[belief.rows == surest.place]), math.nan)
        if part < least:
            return (
                f'ambiguous: place {surest.place} fits, but its part of the map has probability '
                f'{part:.2f} by the pictures so far'
            )
        return ''

    def _unverifiable(self) -> str:
        if self._verifier is None:
            return 'no_keyframes: the map keeps no local features, so nothing can be verified'
        return 'no_features: nothing finds local features in pictures'

    def _rejection(self, matches: list[Match], camera: int) -> str:
        if not len(self._place_map):
            return 'map_empty: the map holds no places; load or build one'
        if not matches:
            return (
                f'camera_unmapped: the map holds no places that camera {camera} saw, and '
                'match_across_cameras is off'
            )
        best, least = max(match.similarity for match in matches), self.min_similarity
        if best < least:
            return f'below_threshold: best similarity {best:.3f} is below {least:.3f}'
        return ''

    def _pose(self, answer: _Answer, picture: Picture) -> PoseEstimate | None:
        if answer.status is Status.REJECTED:
            return None
        match = answer.matches[0]
        if answer.status is Status.VERIFIED and answer.checked is not None:
            cameras = {camera.number: camera.mounting for camera in self._place_map.cameras}
            known = verified_pose(
                match,
                answer.checked,
                camera=picture.camera,
                mounting=cameras.get(picture.camera),
            )
            if known is not None or answer.checked.metric:  # of the camera, not near the place
                return known
        if len(self._place_map) > _GROWN * self._covariance_of:
            recall = self._extractor.info.recall_at_1
            self._covariance = retrieval_covariance(self._place_map, recall)
            self._covariance_of = len(self._place_map)
        return pose_of_match(match, self._covariance)


def threshold_of(config: RecognizerConfig, place_map: PlaceMap, info: ModelInfo) -> float:
    """Return the threshold that counts: as configured, or the map's, or the model's.

    Raises:
        ModelError: A recorded threshold is wanted and neither of them records one.
    """
    if config.min_similarity != THRESHOLD_OF_MODEL:
        return config.min_similarity
    if place_map.calibration is not None:
        return place_map.calibration.min_similarity
    if info.min_similarity is None:
        raise ModelError(
            f'model {info.name} records no threshold: set min_similarity, or record one in '
            'the map with `vpr calibrate`'
        )
    return info.min_similarity


@dataclass(frozen=True)
class _Answer:
    status: Status
    reason: str
    matches: list[Match]
    checked: Verification | None


def _with_probability(matches: list[Match], belief: Belief) -> list[Match]:
    return [
        dataclasses.replace(match, probability=float(probability))
        for match, probability in zip(matches, belief.probability, strict=True)
    ]


def _surest(checked: list[Verification], matches: list[Match]) -> Verification:
    """Return which of the verified places is the answer.

    In metres geometry knows best. Without, it tells places that see much the same hardly apart,
    and the pictures before decide.
    """
    verified = [check for check in checked if check.is_verified]
    probability = {match.row: match.probability for match in matches}
    if verified[0].metric or any(math.isnan(probability[check.place]) for check in verified):
        return verified[0]
    return max(verified, key=lambda check: probability[check.place])


def _first(matches: list[Match], row: int) -> list[Match]:
    """Put the match of a row first; the others stay in order."""
    return sorted(matches, key=lambda match: match.row != row)


def _map_from_camera(answer: _Answer) -> np.ndarray | None:
    if answer.status is not Status.VERIFIED or answer.checked is None:
        return None
    return answer.checked.map_from_query


def _distance_m(answer: _Answer) -> float:
    found = answer.checked
    if found is None or not (found.is_verified or found.is_seen_from_afar):
        return math.nan
    return found.distance_m


def _relative_pose(answer: _Answer) -> RelativePose | None:
    found = answer.checked
    if answer.status is not Status.VERIFIED or found is None or found.rotation is None:
        return None
    assert found.covariance is not None  # known with the rotation
    if found.translation is not None:
        return RelativePose(found.rotation, found.translation, found.covariance, found.metric)
    covariance = found.covariance.copy()
    covariance[:3, :3] = np.eye(3)  # any direction: the one given says nothing
    return RelativePose(found.rotation, np.array([0.0, 0.0, 1.0]), covariance, metric=False)
