# SPDX-License-Identifier: Apache-2.0
"""Where a picture was taken, in metres, from keyframes whose poses are known.

A keyframe's features get their depth from neighbouring keyframes (`triangulate`); a picture that
shares these features is then located by its reprojection error (`locate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vpr_ros.verification.bundle import Sighting, adjust
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.epipolar import homogeneous
from vpr_ros.verification.least_squares import Linearised, minimise
from vpr_ros.verification.local_features import LocalFeatures
from vpr_ros.verification.matching import match_features
from vpr_ros.verification.rotations import cross_matrix, rotation_of

_MIN_FOR_POSE = 6
_CONFIDENCE = 0.999
_MAX_ITERATIONS = 500
_GATE = 3.0  # standard deviations within which a landmark agrees
_HUBER = 1.5  # standard deviations from which a landmark counts less
_MIN_DEPTH = 1e-3  # of a point before the camera, metres
# Features of one picture err together (rolling shutter, intrinsics, the poses of the keyframes
# that gave the depths): the standard deviation is this many times what independent ones give.
_ERR_TOGETHER = 3.0


@dataclass(frozen=True)
class Keyframe:
    """What verification needs of a place of the map.

    Attributes:
        features: Of its picture.
        camera: Its intrinsics, or None.
        pose: (4, 4) float64, from the camera's optical frame to the map, metres; None: unknown.
    """

    features: LocalFeatures
    camera: Intrinsics | None = None
    pose: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse a pose that is none.

        Raises:
            ValueError: Not a finite rigid motion.
        """
        if self.pose is None:
            return
        if self.pose.shape != (4, 4) or not np.isfinite(self.pose).all():
            raise ValueError(f'a pose is a finite 4x4 matrix or None, not {self.pose}')
        rotation = self.pose[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5):
            raise ValueError(f'the rotation of a pose must be orthonormal, not {rotation}')


@dataclass(frozen=True)
class Landmarks:
    """Features of a keyframe whose depth is known.

    Attributes:
        rows: (L,) int64, rows of the keyframe's features.
        points: (L, 3) float64, metres in the keyframe's camera frame.
        depth_error: (L,) float64, standard deviation of the depth over the depth.
        scale_error: Standard deviation of all depths together, their share: as far as the way
            between the keyframes is known.
    """

    rows: np.ndarray
    points: np.ndarray
    depth_error: np.ndarray
    scale_error: float


@dataclass(frozen=True)
class MetricPose:
    """The query's camera in a keyframe's camera frame.

    Attributes:
        rotation: (3, 3) float64; x_match = rotation @ x_query + translation.
        translation: (3,) float64, metres.
        covariance: (6, 6) float64, order x y z [m^2], rotation about x y z of the match's frame
            [rad^2].
        num_landmarks: Features of the query whose match has a depth.
        inliers: (I,) int64, rows of the landmarks given to `locate` that agree.
        median_depth: Of these landmarks before the keyframe's camera, metres.
    """

    rotation: np.ndarray
    translation: np.ndarray
    covariance: np.ndarray
    num_landmarks: int
    inliers: np.ndarray
    median_depth: float

    @property
    def num_inliers(self) -> int:
        """I, the landmarks that agree with the pose."""
        return len(self.inliers)


def triangulate(
    keyframe: Keyframe,
    neighbours: Sequence[Keyframe],
    *,
    max_ratio: float,
    min_cosine: float,
    max_error_px: float,
    max_depth_error: float,
) -> Landmarks:
    """Find the depths of a keyframe's features.

    Neighbours that share enough with it are adjusted together with it (`bundle`), from where their
    poses have them.

    Args:
        keyframe: With pose and intrinsics.
        neighbours: Keyframes that see the same; those without a pose or intrinsics do not help.
        max_ratio: As in `match_features`.
        min_cosine: Likewise.
        max_error_px: Reprojection error from which an observation disagrees, pixels.
        max_depth_error: Largest relative standard deviation of a depth that is kept.

    Raises:
        ValueError: The keyframe has no pose or no intrinsics.
    """
    if keyframe.pose is None or keyframe.camera is None:
        raise ValueError('a keyframe without pose or intrinsics cannot be triangulated')
    rays = homogeneous(keyframe.camera.rays(keyframe.features.keypoints))
    sightings = []
    for neighbour in neighbours:
        if neighbour.pose is None or neighbour.camera is None:
            continue
        pairs = match_features(
            keyframe.features, neighbour.features, max_ratio=max_ratio, min_cosine=min_cosine
        )
        seen = neighbour.camera.rays(neighbour.features.keypoints[pairs[:, 1]])
        motion = np.linalg.inv(neighbour.pose) @ keyframe.pose
        sightings.append(Sighting(motion, pairs[:, 0], seen, neighbour.camera.focal_px))
    depths = adjust(rays, sightings, max_error_px=max_error_px)
    depth_error = max_error_px / 2 / np.sqrt(depths.information) / depths.inverse
    kept = depth_error <= max_depth_error
    rows = depths.rows[kept]
    points = rays[rows] / depths.inverse[kept, np.newaxis]
    return Landmarks(rows, points, depth_error[kept], depths.scale_error)


def locate(
    points: np.ndarray,
    depth_error: np.ndarray,
    keypoints: np.ndarray,
    camera: Intrinsics,
    *,
    scale_error: float,
    max_error_px: float,
    position_error_m: float,
    rotation_error_rad: float,
) -> MetricPose | None:
    """Locate a camera by landmarks: RANSAC over PnP, then least squares.

    Args:
        points: (L, 3) metres in the match's camera frame.
        depth_error: (L,) relative standard deviation of the depths.
        keypoints: (L, 2) pixels in the query.
        camera: Of the query.
        scale_error: As in `Landmarks`.
        max_error_px: Reprojection error from which a landmark disagrees, pixels.
        position_error_m: Standard deviation, along each axis, of what no picture can tell: how
            well the map's poses and the cameras are known; goes into the covariance.
        rotation_error_rad: The same about each axis.

    Returns:
        The pose, or None where no pose explains enough landmarks.
    """
    if len(points) < _MIN_FOR_POSE:
        return None
    rays = camera.rays(keypoints)
    found, rotation, translation, inliers = cv2.solvePnPRansac(
        points,
        rays,
        np.eye(3),
        None,
        iterationsCount=_MAX_ITERATIONS,
        reprojectionError=2 * max_error_px / camera.focal_px,
        confidence=_CONFIDENCE,
        flags=cv2.SOLVEPNP_AP3P,
    )
    if not found or inliers is None or len(inliers) < _MIN_FOR_POSE:
        return None
    match_from_query = rotation_of(rotation).T
    pose = _Pose(match_from_query, -match_from_query @ translation.ravel())
    problem = _Reprojection(points, depth_error, rays, max_error_px / 2 / camera.focal_px)
    floor = np.diag([position_error_m**2] * 3 + [rotation_error_rad**2] * 3)
    found_pose = problem.solve(pose, inliers.ravel(), floor)
    if found_pose is None:
        return None
    by_scale = scale_error * found_pose.translation
    covariance = found_pose.covariance.copy()
    covariance[:3, :3] += np.outer(by_scale, by_scale)
    return replace(found_pose, covariance=covariance)


@dataclass(frozen=True)
class _Pose:
    """Rotation (3, 3) and translation (3,) from the query to the match."""

    rotation: np.ndarray
    translation: np.ndarray

    def moved(self, step: np.ndarray) -> _Pose:
        return _Pose(rotation_of(step[3:]) @ self.rotation, self.translation + step[:3])


@dataclass(frozen=True)
class _Reprojection:
    points: np.ndarray
    depth_error: np.ndarray
    rays: np.ndarray
    sigma: float  # of a keypoint, on the plane z = 1

    def solve(self, pose: _Pose, inliers: np.ndarray, floor: np.ndarray) -> MetricPose | None:
        for _ in range(2):
            if len(inliers) < _MIN_FOR_POSE:
                return None
            of_inliers = _Reprojection(
                self.points[inliers], self.depth_error[inliers], self.rays[inliers], self.sigma
            )
            found = minimise(of_inliers.linearise, _Pose.moved, pose)
            pose = found.state
            errors = np.linalg.norm(self._whitened(pose)[0], axis=1)
            inliers = np.flatnonzero(errors <= _GATE)
        if len(inliers) < _MIN_FOR_POSE:
            return None
        scale = np.sum(errors[inliers] ** 2) / max(2 * len(inliers) - 6, 1)
        of_step = np.linalg.pinv(found.jacobian.T @ found.jacobian)
        covariance = _ERR_TOGETHER**2 * scale * of_step + floor
        return MetricPose(
            pose.rotation,
            pose.translation,
            covariance,
            len(self.points),
            inliers,
            float(np.median(self.points[inliers, 2])),
        )

    def linearise(self, pose: _Pose) -> Linearised:
        """Return Huber's loss and weighed residuals (2 L,) and derivatives (2 L, 6)."""
        errors, slopes = self._whitened(pose)
        length = np.linalg.norm(errors, axis=1)
        beyond = np.maximum(length, _HUBER)
        cost = np.sum(np.where(length > _HUBER, 2 * _HUBER * length - _HUBER**2, length**2))
        weight = np.sqrt(_HUBER / beyond)[:, np.newaxis]
        jacobian = (slopes * weight[:, :, np.newaxis]).reshape(-1, 6)
        return Linearised(float(cost), (errors * weight).ravel(), jacobian)

    def _whitened(self, pose: _Pose) -> tuple[np.ndarray, np.ndarray]:
        """Return errors (L, 2) in standard deviations, keypoint's and depth's, and slopes.

        A landmark's depth is uncertain along the keyframe's ray, which the query sees aslant, as
        v (in standard deviations of a keypoint): the covariance of an error is I + v v^T, and
        its inverse square root I - v v^T / (q^2 + q) with q^2 = 1 + |v|^2.
        """
        point = self._in_query(self.points - pose.translation, pose, np.eye(3))
        ray = self._in_query(self.points * self.depth_error[:, np.newaxis], pose, np.zeros((3, 3)))
        clear = point[0][:, 2] > _MIN_DEPTH
        depth = np.where(clear, point[0][:, 2], _MIN_DEPTH)[:, np.newaxis]
        by_depth = (point[1][:, 2] * clear[:, np.newaxis])[:, np.newaxis]
        projected = point[0][:, :2] / depth
        by_projected = (point[1][:, :2] - projected[:, :, np.newaxis] * by_depth) / _inner(depth)
        v = (ray[0][:, :2] - projected * ray[0][:, 2:]) / depth
        by_v = ray[1][:, :2] - projected[:, :, np.newaxis] * ray[1][:, 2:]
        by_v -= by_projected * _inner(ray[0][:, 2:]) + v[:, :, np.newaxis] * by_depth
        by_v /= _inner(depth) * self.sigma
        v /= self.sigma
        error, by_error = (self.rays - projected) / self.sigma, -by_projected / self.sigma
        q = np.sqrt(1 + np.sum(v**2, axis=1, keepdims=True))
        h = -1 / (q**2 + q)
        by_h = (2 * q + 1) / (q * (q**2 + q) ** 2) * _dot(v, by_v)
        along = np.sum(error * v, axis=1, keepdims=True)
        by_along = _dot(v, by_error) + _dot(error, by_v)
        slopes = by_error + _inner(h * along) * by_v
        slopes += v[:, :, np.newaxis] * (along * by_h + h * by_along)[:, np.newaxis]
        return error + h * along * v, slopes

    @staticmethod
    def _in_query(
        vectors: np.ndarray, pose: _Pose, moves: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Turn vectors (L, 3) into the query's frame; also derivatives (L, 3, 6) for a step."""
        by_step = np.empty((len(vectors), 3, 6))
        by_step[:, :, :3] = -pose.rotation.T @ moves
        by_step[:, :, 3:] = pose.rotation.T @ cross_matrix(vectors)
        return vectors @ pose.rotation, by_step


def _inner(column: np.ndarray) -> np.ndarray:
    return column[:, :, np.newaxis]


def _dot(vectors: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return (L, 6) from vectors (L, 2) and slopes (L, 2, 6)."""
    return np.einsum('li,lij->lj', vectors, slopes)
