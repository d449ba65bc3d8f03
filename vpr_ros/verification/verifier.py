# SPDX-License-Identifier: Apache-2.0
"""Which of the places that look alike are the place: `GeometricVerifier.verify`."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from vpr_ros.settings import check_settings, setting
from vpr_ros.verification.camera import Intrinsics, ordinary_camera
from vpr_ros.verification.epipolar import sampson_distance
from vpr_ros.verification.local_features import LocalFeatures
from vpr_ros.verification.matching import LEARNED_KINDS, match_features
from vpr_ros.verification.metric import Keyframe, Landmarks, MetricPose, locate, triangulate
from vpr_ros.verification.rotations import angle_of, cross_matrix, rotvec_of
from vpr_ros.verification.two_view import (
    Model,
    TwoView,
    agreement,
    coherence,
    occupied_cells,
    two_view_geometry,
    zoom,
)

GRID_CELLS = 6  # a side; the spread of what agrees is counted on this grid
MAX_DEPTH_ERROR = 0.15  # of the depth: landmarks known worse do not place a camera
MAX_ROTATION_DISPUTE_RAD = math.radians(10.0)  # between the landmarks' pose and the two views'
_MIN_COHERENT = 0.5  # of what agrees on epipolar lines alone, moves as what is around it
_MORE_UNCALIBRATED = 0.1  # of what looks alike has to agree where intrinsics are unknown
# Angles are taken with an ordinary camera where intrinsics are unknown; one that in truth is 48
# degrees wide sees them so much larger.
_ROOM_UNCALIBRATED = 1.25
_TOO_SHORT_M = 0.05  # between two cameras: nothing can be said of the direction
_CLEAR_WAY_M = 0.1  # from here on the direction has to agree
_MIN_SHARED = 0.8  # of what agrees in two pictures, has to agree with the landmarks' pose
_SHIFT_RATIO = 1.5  # by which what both see may have shifted more than the landmarks say
_SHIFT_SLACK_RAD = math.radians(1.0)
_MAX_DIRECTION_DISPUTE_RAD = math.radians(20.0)
SURELY = 3.0  # standard deviations by which a pose must lie within the limits of its place

_Key = TypeVar('_Key', bound=Hashable)
_Value = TypeVar('_Value')


@dataclass(frozen=True)
class VerifierConfig:
    """What can be tuned; the node declares its parameters from these fields."""

    max_candidates: int = setting(
        5,
        'Candidates looked at per picture',
        range=(1, 100),
    )
    budget_s: float = setting(
        0.06,
        'Seconds per picture; no further candidate is begun that would probably exceed them, '
        'the first one always is',
        range=(0.001, 60.0),
    )
    enough_inliers: int = setting(
        30,
        'Landmarks that agree with which a verified metric pose leaves no doubt: the candidates '
        'after it are not looked at; 0: all are',
        range=(0, 10000),
    )
    max_ratio: float = setting(
        0.8,
        'Distance to the best SIFT or ORB feature over that to the second best; 1.0: any',
        range=(0.1, 1.0),
    )
    min_cosine: float = setting(
        0.82,
        'Cosine of XFeat features that are taken for the same',
        range=(-1.0, 1.0),
    )
    max_error_px: float = setting(
        2.0,
        'Pixels from which a feature disagrees with a motion',
        range=(0.1, 20.0),
    )
    min_inliers: int = setting(
        15,
        'Features that must agree on one motion',
        range=(8, 10000),
    )
    min_learned_inliers: int = setting(
        35,
        'Likewise of XFeat features, which agree by chance more often',
        range=(8, 10000),
    )
    min_landmarks: int = setting(
        25,
        'Landmarks that must agree on a pose in metres: fewer leave it vague',
        range=(8, 10000),
    )
    min_inlier_ratio: float = setting(
        0.5,
        'Share of the features that look alike that must agree on one motion',
        range=(0.0, 1.0),
    )
    min_cells: int = setting(
        8,
        'Cells of a 6x6 grid that hold agreeing features, in both pictures: one object must '
        'not carry a match',
        range=(1, GRID_CELLS**2),
    )
    max_distance_m: float = setting(
        0.4,
        'Metres between query and place that still count as the place, where the map has poses '
        'and intrinsics are known; three standard deviations of the estimate must fit in too',
        range=(0.0, 10000.0),
    )
    max_distance_share: float = setting(
        0.1,
        'Or this share of the distance of what both see, if that is more: out of doors a metre '
        'changes little',
        range=(0.0, 10.0),
    )
    max_angle_deg: float = setting(
        30.0,
        'Degrees between query and place that still count as the place; three standard '
        'deviations of the estimate must fit in too; without intrinsics a quarter more, as '
        'if the camera were 58 degrees wide',
        range=(0.0, 180.0),
    )
    max_parallax_deg: float = setting(
        10.0,
        'Degrees by which what both see has shifted besides the turn (distance between the '
        'cameras over distance of the scene), where metres are not known; without intrinsics '
        'likewise',
        range=(0.0, 180.0),
    )
    max_zoom: float = setting(
        1.08,
        'How much larger or smaller the query may show what both show, where metres are not '
        'known: walking towards it makes it grow',
        range=(1.0, 100.0),
    )
    # As well as motion capture knows poses, 10 mm and 0.5 degrees (Sturm et al., A Benchmark for
    # the Evaluation of RGB-D SLAM Systems, IROS 2012), times the root of two: a way has two ends.
    map_position_error_m: float = setting(
        0.015,
        "Standard deviation of the map's positions from keyframe to keyframe, metres, along "
        'each axis; goes into the covariance of metric poses',
        range=(0.0, 1000.0),
    )
    map_rotation_error_deg: float = setting(
        0.7,
        "Standard deviation of the map's orientations from keyframe to keyframe, degrees, "
        'about each axis; goes into the covariance of metric poses',
        range=(0.0, 180.0),
    )
    cache_size: int = setting(
        500,
        'Keyframes whose features and landmarks are kept in memory (about 0.5 MB each with '
        '1000 SIFT features)',
        range=(1, 1000000),
    )

    def __post_init__(self) -> None:
        """Refuse values outside the stated ranges."""
        check_settings(self)


class KeyframeSource(Protocol):
    """Where the verifier finds what it needs of the places of a map."""

    def keyframe(self, place: int) -> Keyframe | None:
        """Return a place's keyframe; None where none was kept."""
        ...

    def neighbours(self, place: int) -> Sequence[int]:
        """Return places that see much of the same from elsewhere, best first; may be empty."""
        ...

    def landmarks(self, place: int) -> Landmarks | None:
        """Return what `landmarks_of` made of a place; None where it was not kept."""
        ...


def landmarks_of(
    place: int, keyframes: KeyframeSource, config: VerifierConfig = VerifierConfig()
) -> Landmarks | None:
    """Triangulate a place's features, as the verifier does where no landmarks are kept.

    Args:
        place: Of the map.
        keyframes: Gives the place's keyframe and its neighbours.
        config: Limits of matching.

    Returns:
        The landmarks, maybe none at all; None where the place has no keyframe, no pose or no
        intrinsics.
    """
    keyframe = keyframes.keyframe(place)
    if keyframe is None or keyframe.pose is None or keyframe.camera is None:
        return None
    others = [keyframes.keyframe(other) for other in keyframes.neighbours(place)]
    return triangulate(
        keyframe,
        [other for other in others if other is not None],
        max_ratio=config.max_ratio,
        min_cosine=config.min_cosine,
        max_error_px=config.max_error_px,
        max_depth_error=MAX_DEPTH_ERROR,
    )


@dataclass(frozen=True)
class Verification:
    """What became of one candidate.

    Attributes:
        place: The candidate.
        reason: '' if verified; else `code: sentence`, with code no_keyframe, other_features,
            few_inliers, low_agreement, one_object, no_position, too_far, turned, out_of_time or
            not_needed.
        num_correspondences: Features that look alike.
        num_inliers: Of these, in agreement with one motion.
        rotation: (3, 3) float64, x_match = rotation @ x_query + translation; None: unknown.
        translation: (3,) float64, the query's camera in the match's camera frame (optical);
            metres if `metric`, else a unit direction; None: unknown.
        covariance: (6, 6) float64, order x y z, rotation about x y z of the match's frame; as of
            `MetricPose` if `metric`, else as of `TwoView`; None where the rotation is unknown.
        metric: Whether the translation is in metres.
        two_view: The motion from the two pictures alone; None: not looked at.
        map_from_match: (4, 4) float64, the match's camera in the map; None unless metric.
    """

    place: int
    reason: str
    num_correspondences: int = 0
    num_inliers: int = 0
    rotation: np.ndarray | None = None
    translation: np.ndarray | None = None
    covariance: np.ndarray | None = None
    metric: bool = False
    two_view: TwoView | None = None
    map_from_match: np.ndarray | None = None

    @property
    def map_from_query(self) -> np.ndarray | None:
        """(4, 4) float64, the query's camera (optical frame) in the map; None unless metric."""
        if self.map_from_match is None or self.rotation is None or self.translation is None:
            return None
        match_from_query = np.eye(4)
        match_from_query[:3, :3] = self.rotation
        match_from_query[:3, 3] = self.translation
        return self.map_from_match @ match_from_query

    @property
    def distance_m(self) -> float:
        """Metres from the match's camera to the query's; NaN unless metric."""
        if not self.metric or self.translation is None:
            return math.nan
        return float(np.linalg.norm(self.translation))

    @property
    def is_verified(self) -> bool:
        """Whether geometry says that this is the place."""
        return not self.reason

    @property
    def is_seen_from_afar(self) -> bool:
        """Whether landmarks place the query, but too far from the place to be there."""
        return self.metric and self.reason.startswith('too_far:')


class GeometricVerifier:
    """Hold candidates against the picture; one object for one map, used by one thread.

    Attributes:
        config: The configuration in force; assign to change it while running.
    """

    def __init__(
        self, keyframes: KeyframeSource, config: VerifierConfig = VerifierConfig()
    ) -> None:
        """Join a map's keyframes and a configuration."""
        self._source = keyframes
        self.config = config

    @property
    def config(self) -> VerifierConfig:
        """The configuration in force."""
        return self._config

    @config.setter
    def config(self, config: VerifierConfig) -> None:
        self._config = config
        self._keyframes: _Cache[int, Keyframe | None] = _Cache(config.cache_size)
        self._landmarks: _Cache[int, Landmarks] = _Cache(config.cache_size)

    def verify(
        self,
        query: LocalFeatures,
        candidates: Sequence[int],
        *,
        camera: Intrinsics | None = None,
    ) -> list[Verification]:
        """Look at the top candidates.

        Args:
            query: The picture's features.
            candidates: Places, best first.
            camera: The picture's intrinsics; None: unknown, then no motion is estimated.

        Returns:
            One a candidate, verified ones first, of these the metric ones, then by the number of
            features that agree; those for which there was no time last, with that reason.
        """
        budget_s = self._config.budget_s
        deadline_s = time.perf_counter() + budget_s
        looked_at = candidates[: self._config.max_candidates]
        results = [
            Verification(place, f'out_of_time: only {len(looked_at)} are looked at')
            for place in candidates[len(looked_at) :]
        ]
        if not looked_at:
            return results
        begun_s = time.perf_counter()
        results.append(self._verify_one(query, looked_at[0], camera))
        longest_s = time.perf_counter() - begun_s
        if self._is_beyond_doubt(results[-1]):
            reason = 'not_needed: another place is verified beyond doubt'
            results += [Verification(place, reason) for place in looked_at[1:]]
            return sorted(results, key=_rank)
        waiting = deque(self._by_matches(query, looked_at[1:], deadline_s))
        while waiting:
            place, pairs = waiting.popleft()
            begun_s = time.perf_counter()
            if begun_s + longest_s > deadline_s:
                reason = f'out_of_time: {budget_s:g} s are spent'
            elif self._is_beyond_doubt(results[-1]):
                reason = 'not_needed: another place is verified beyond doubt'
            else:
                results.append(self._verify_one(query, place, camera, pairs))
                longest_s = max(longest_s, time.perf_counter() - begun_s)
                continue
            unseen = (place, *(other for other, _ in waiting))
            results += [Verification(other, reason) for other in unseen]
            break
        return sorted(results, key=_rank)

    def _by_matches(
        self, query: LocalFeatures, places: Sequence[int], deadline_s: float
    ) -> list[tuple[int, np.ndarray | None]]:
        """Order places by how many features look alike, which is quick; while there is time.

        Returns:
            Places, and what looks alike (None where it was not looked for).
        """
        alike: list[tuple[int, np.ndarray | None]] = []
        for place in places:
            keyframe = self._keyframes.get(place, self._source.keyframe)
            comparable = keyframe is not None and keyframe.features.kind == query.kind
            in_time = time.perf_counter() < deadline_s
            alike.append(
                (place, self._match(query, keyframe.features))
                if comparable and in_time and keyframe is not None
                else (place, None)
            )
        return sorted(alike, key=lambda found: -len(found[1]) if found[1] is not None else 0)

    def _match(self, query: LocalFeatures, match: LocalFeatures) -> np.ndarray:
        config = self._config
        return match_features(
            query, match, max_ratio=config.max_ratio, min_cosine=config.min_cosine
        )

    def _is_beyond_doubt(self, result: Verification) -> bool:
        # Without metres a place somewhat off may pass, and the next candidate fit better.
        enough = self._config.enough_inliers
        return bool(enough and result.is_verified and result.metric) and (
            result.num_inliers >= enough
        )

    def _verify_one(
        self,
        query: LocalFeatures,
        place: int,
        camera: Intrinsics | None,
        pairs: np.ndarray | None = None,
    ) -> Verification:
        keyframe = self._keyframes.get(place, self._source.keyframe)
        if keyframe is None:
            return Verification(place, 'no_keyframe: the map keeps no features of this place')
        if keyframe.features.kind != query.kind:
            reason = f'{keyframe.features.kind} in the map, {query.kind} in the picture'
            return Verification(place, f'other_features: {reason}')
        if pairs is None:
            pairs = self._match(query, keyframe.features)
        least = self._min_inliers(query)
        if len(pairs) < least:
            must = f'{least} must agree'
            reason = f'few_inliers: only {len(pairs)} features look alike, {must}'
            return Verification(place, reason, len(pairs))
        if camera and keyframe.camera and keyframe.pose is not None:
            return self._locate(query, camera, place, keyframe, pairs)
        points = query.keypoints[pairs[:, 0]], keyframe.features.keypoints[pairs[:, 1]]
        two_view = self._two_views(*points, camera, keyframe.camera)
        reason = self._disagreement(
            query, keyframe.features, pairs, two_view
        ) or self._view_problem(query, keyframe.features, pairs, two_view, camera, keyframe.camera)
        return Verification(
            place,
            reason,
            len(pairs),
            two_view.num_inliers,
            two_view.rotation,
            two_view.direction,
            two_view.covariance,
            two_view=two_view,
        )

    def _locate(
        self,
        query: LocalFeatures,
        camera: Intrinsics,
        place: int,
        keyframe: Keyframe,
        pairs: np.ndarray,
    ) -> Verification:
        """Verify a place of a map that knows metres."""
        pose = self._metric_pose(query, camera, place, keyframe, pairs)
        reason, two_view = self._pose_problem(pose), None
        if pose is None:
            return Verification(place, reason, len(pairs))
        if not reason:
            two_view, reason = self._second_opinion(pose, query, camera, keyframe, pairs)
        return Verification(
            place,
            reason,
            len(pairs),
            pose.num_inliers,
            pose.rotation,
            pose.translation,
            pose.covariance,
            metric=True,
            two_view=two_view,
            map_from_match=keyframe.pose,
        )

    def _second_opinion(
        self,
        pose: MetricPose,
        query: LocalFeatures,
        camera: Intrinsics,
        keyframe: Keyframe,
        pairs: np.ndarray,
    ) -> tuple[TwoView, str]:
        """Ask the two pictures alone, and say what speaks against a pose from landmarks."""
        assert keyframe.camera is not None  # or there would be no landmarks
        points = query.keypoints[pairs[:, 0]], keyframe.features.keypoints[pairs[:, 1]]
        rays = camera.rays(points[0]), keyframe.camera.rays(points[1])
        focal_px = (camera.focal_px + keyframe.camera.focal_px) / 2
        # Where nearly all that looks alike agrees with the landmarks, it need not be asked what
        # else it could agree with, which takes longer than all the rest.
        two_view = agreement(
            pose.rotation, pose.translation, *rays, self._config.max_error_px / focal_px
        )
        if two_view.num_inliers < _MIN_SHARED * len(pairs):
            two_view = self._two_views(*points, camera, keyframe.camera)
        first, second = (of_picture[two_view.inliers] for of_picture in rays)
        reason = self._disagreement(
            query, keyframe.features, pairs, two_view
        ) or self._contradiction(pose, two_view, first, second, focal_px)
        return two_view, reason

    def _two_views(
        self,
        query: np.ndarray,
        match: np.ndarray,
        query_camera: Intrinsics | None,
        match_camera: Intrinsics | None,
    ) -> TwoView:
        return two_view_geometry(
            query,
            match,
            query_camera,
            match_camera,
            max_error_px=self._config.max_error_px,
            min_share=self._config.min_inlier_ratio,
        )

    def _min_inliers(self, features: LocalFeatures) -> int:
        is_learned = features.kind in LEARNED_KINDS
        return self._config.min_learned_inliers if is_learned else self._config.min_inliers

    def _disagreement(
        self, query: LocalFeatures, match: LocalFeatures, pairs: np.ndarray, two_view: TwoView
    ) -> str:
        config, n, least = self._config, two_view.num_inliers, self._min_inliers(query)
        if n < least:
            return f'few_inliers: {n} of {len(pairs)} features agree, {least} must'
        # A fundamental matrix leaves more room to agree by chance than an essential one.
        least_share = config.min_inlier_ratio
        if two_view.model is Model.FUNDAMENTAL:
            least_share = min(1.0, least_share + _MORE_UNCALIBRATED)
        if n < least_share * len(pairs):
            share = f'{n} of {len(pairs)}'
            return f'low_agreement: only {share} features agree, {least_share:g} must'
        agreeing = pairs[two_view.inliers]
        cells = min(
            occupied_cells(query.keypoints[agreeing[:, 0]], query, GRID_CELLS),
            occupied_cells(match.keypoints[agreeing[:, 1]], match, GRID_CELLS),
        )
        if cells < config.min_cells:
            return (
                f'one_object: the features that agree lie in {cells} of {GRID_CELLS**2} cells, '
                f'{config.min_cells} must'
            )
        return ''

    def _metric_pose(
        self,
        query: LocalFeatures,
        camera: Intrinsics,
        place: int,
        keyframe: Keyframe,
        pairs: np.ndarray,
    ) -> MetricPose | None:
        landmarks = self._landmarks.get(place, self._landmarks_of)
        index = np.full(len(keyframe.features), -1)
        index[landmarks.rows] = np.arange(len(landmarks.rows))
        known = index[pairs[:, 1]]
        return locate(
            landmarks.points[known[known >= 0]],
            landmarks.depth_error[known[known >= 0]],
            query.keypoints[pairs[known >= 0, 0]],
            camera,
            scale_error=landmarks.scale_error,
            max_error_px=self._config.max_error_px,
            position_error_m=self._config.map_position_error_m,
            rotation_error_rad=math.radians(self._config.map_rotation_error_deg),
        )

    def _landmarks_of(self, place: int) -> Landmarks:
        landmarks = self._source.landmarks(place)
        if landmarks is None:
            landmarks = landmarks_of(place, _Cached(self._source, self._keyframes), self._config)
        assert landmarks is not None  # pose and intrinsics were just looked at
        return landmarks

    def _pose_problem(self, pose: MetricPose | None) -> str:
        config = self._config
        if pose is None or pose.num_inliers < config.min_landmarks:
            n = 0 if pose is None else pose.num_inliers
            return f'no_position: {n} landmarks agree on a pose, {config.min_landmarks} must'
        if pose.num_inliers < config.min_inlier_ratio * pose.num_landmarks:
            share = f'{pose.num_inliers} of {pose.num_landmarks}'
            return f'low_agreement: only {share} landmarks agree, {config.min_inlier_ratio} must'
        distance, distance_error = _length(pose.translation, pose.covariance[:3, :3])
        most_m = max(config.max_distance_m, config.max_distance_share * pose.median_depth)
        if distance + SURELY * distance_error > most_m:
            return (
                f'too_far: {distance:.2f} m from the place, give or take '
                f'{SURELY * distance_error:.2f} m, {most_m:.2f} m may be'
            )
        return self._angle_problem(pose.rotation, pose.covariance, config.max_angle_deg)

    def _contradiction(
        self,
        pose: MetricPose,
        two_view: TwoView,
        query: np.ndarray,
        match: np.ndarray,
        focal_px: float,
    ) -> str:
        """Hold a pose from landmarks against the two pictures, which know nothing of metres.

        Landmarks whose depths are wrong alike (over odometry that errs) agree well on a wrong
        pose; what the two pictures share does not agree with it then.

        Args:
            pose: From the landmarks.
            two_view: From the two pictures.
            query: (I, 2) rays of what agrees in them.
            match: (I, 2) likewise.
            focal_px: Of both cameras.
        """
        assert two_view.rotation is not None  # there are intrinsics, and enough features agree
        dispute = angle_of(two_view.rotation @ pose.rotation.T)
        if dispute > MAX_ROTATION_DISPUTE_RAD:
            return (
                f'no_position: landmarks and pictures disagree by {math.degrees(dispute):.0f} '
                'degrees on the rotation'
            )
        way = float(np.linalg.norm(pose.translation))
        if way < _TOO_SHORT_M:
            return ''  # there is no direction to compare
        direction = pose.translation / way
        distances = sampson_distance(cross_matrix(direction) @ pose.rotation, query, match)
        share = float(np.mean(np.abs(distances) * focal_px <= self._config.max_error_px))
        if share < _MIN_SHARED:
            return f'no_position: {share:.0%} of what agrees in both pictures fit the landmarks'
        expected = _SHIFT_RATIO * way / pose.median_depth + _SHIFT_SLACK_RAD
        if two_view.parallax_rad > expected:
            return (
                'no_position: what both see has shifted by '
                f'{math.degrees(two_view.parallax_rad):.1f} degrees, the landmarks allow for '
                f'{math.degrees(expected):.1f}'
            )
        if two_view.direction is not None and way > _CLEAR_WAY_M:
            cosine = abs(float(two_view.direction @ direction))
            if cosine < math.cos(_MAX_DIRECTION_DISPUTE_RAD):
                angle = math.degrees(math.acos(cosine))
                return f'no_position: the way differs by {angle:.0f} degrees in the pictures'
        return ''

    def _view_problem(
        self,
        query: LocalFeatures,
        match: LocalFeatures,
        pairs: np.ndarray,
        two_view: TwoView,
        query_camera: Intrinsics | None,
        match_camera: Intrinsics | None,
    ) -> str:
        agreeing = pairs[two_view.inliers]
        points = query.keypoints[agreeing[:, 0]], match.keypoints[agreeing[:, 1]]
        ratio = zoom(*points, query.width, match.width)
        most = self._config.max_zoom
        if not 1 / most <= ratio <= most:
            return f'too_far: what both see is {ratio:.2f} times as large, {most:g} may be'
        if two_view.rotation is not None:
            return self._motion_problem(two_view, two_view.covariance, room=1.0)
        # Enough to tell one step aside from many; what comes out of it is not passed on.
        ordinary = self._two_views(
            *points,
            query_camera or ordinary_camera(query.width, query.height),
            match_camera or ordinary_camera(match.width, match.height),
        )
        reason = self._motion_problem(ordinary, np.zeros((6, 6)), room=_ROOM_UNCALIBRATED)
        together = coherence(*points, query.width, match.width)
        if not reason and together < _MIN_COHERENT:
            return (
                f'low_agreement: {together:.0%} of the features that agree move as most of those '
                f'around them, {_MIN_COHERENT:.0%} must'
            )
        return reason

    def _motion_problem(
        self, two_view: TwoView, covariance: np.ndarray | None, *, room: float
    ) -> str:
        if two_view.rotation is None or covariance is None:
            return ''
        parallax, most = math.degrees(two_view.parallax_rad), room * self._config.max_parallax_deg
        if parallax > most:
            return f'too_far: what both see has shifted by {parallax:.1f} degrees, {most:g} may be'
        return self._angle_problem(
            two_view.rotation, covariance, room * self._config.max_angle_deg
        )

    def _angle_problem(self, rotation: np.ndarray, covariance: np.ndarray, most: float) -> str:
        angle, error = np.degrees(_length(rotvec_of(rotation), covariance[3:, 3:]))
        if angle + SURELY * error > most:
            return (
                f'turned: {angle:.0f} degrees from the place, give or take {SURELY * error:.0f}, '
                f'{most:g} may be'
            )
        return ''


def _length(vector: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Return the length of a vector (3,) and its standard deviation."""
    length = float(np.linalg.norm(vector))
    along = vector / length if length else np.zeros(3)
    return length, math.sqrt(max(along @ covariance @ along, 0))


class _Cache(Generic[_Key, _Value]):
    """The values last used."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key, make: Callable[[_Key], _Value]) -> _Value:
        if key not in self._values:
            self._values[key] = make(key)
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


class _Cached:
    """Keyframes of a source out of a cache."""

    def __init__(self, source: KeyframeSource, keyframes: _Cache[int, Keyframe | None]) -> None:
        self._source = source
        self._keyframes = keyframes
        self.neighbours = source.neighbours
        self.landmarks = source.landmarks

    def keyframe(self, place: int) -> Keyframe | None:
        return self._keyframes.get(place, self._source.keyframe)


def _rank(result: Verification) -> tuple[bool, bool, bool, int]:
    return (
        not result.is_verified,
        not result.metric,  # says more, and counts landmarks alone
        result.reason.startswith(('out_of_time', 'not_needed')),
        -result.num_inliers,
    )
