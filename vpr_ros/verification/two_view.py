# SPDX-License-Identifier: Apache-2.0
"""The motion between two pictures, from the features they share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial

import cv2
import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.epipolar import homogeneous, sampson_distance, sampson_slopes
from vpr_ros.verification.least_squares import Linearised, minimise
from vpr_ros.verification.local_features import LocalFeatures
from vpr_ros.verification.rotations import (
    aligning_rotation,
    angle_of,
    cross_matrix,
    rotation_of,
)

_CONFIDENCE = 0.999
_MAX_ITERATIONS = 2000
_SAMPLE_OF_ESSENTIAL, _SAMPLE_OF_FUNDAMENTAL = 5, 7  # correspondences that determine one
_LEAST_OF_SHARE = 0.9  # of a motion's share: what a sample's motion, not yet refined, agrees with
_MIN_FOR_MODEL = 8  # fewer correspondences determine no model with anything to spare
_UNKNOWN_DIRECTION = np.eye(3) / 3  # covariance of a unit vector that may point anywhere
_UNKNOWN_LENGTH = 1.0  # variance along a unit direction whose length is not known
_SAME_DIRECTION = np.cos(np.radians(10.0))
_ZOOM_FEATURES = 200
_ZOOM_APART = 0.03  # of the width: the ratio of smaller distances is noise
_NEIGHBOURS = 5  # to which a feature is held
_MOST_STRETCH = 0.5  # of the distance to a neighbour, by which that may have moved away
_STRETCH_SLACK = 0.02  # of the width: the distance of closer neighbours says little
_PLANE_SHARE = 0.7  # with this share in one plane, its two motions are tried too
_RIVAL_SHARE = 0.9  # a second solution with this share of the best one's inliers is a rival


class Model(str, Enum):
    """What explains the correspondences."""

    NONE = 'none'
    ESSENTIAL = 'essential'  # a scene with depth, seen from two positions
    PLANE = 'plane'  # one plane, seen from two positions
    ROTATION = 'rotation'  # the camera turned and did not move, as far as can be seen
    FUNDAMENTAL = 'fundamental'  # uncalibrated: nothing but the agreement is known


@dataclass(frozen=True)
class TwoView:
    """How one picture (the query) relates to another (the match).

    Attributes:
        model: What explains the correspondences.
        num_correspondences: Features paired by their looks.
        inliers: (I,) int64 rows of the correspondences that agree with one motion.
        rotation: (3, 3) float64, a direction in the query's camera to the match's; None: unknown.
        direction: (3,) float64, unit vector from the match's camera to the query's, in the match's
            camera frame (optical: x right, y down, z forward), so that for some length s
            x_match = rotation @ x_query + s * direction; None: no translation can be claimed.
        covariance: (6, 6) float64, order direction x y z [1], rotation about x y z of the match's
            frame [rad^2]; the length of the translation is not known, which shows as a variance
            of 1 along the direction, and a direction that is not known as a third of the
            identity; None where the rotation is not known, or was told (`agreement`).
        parallax_rad: Median angle by which the inliers' rays differ once the rotation is taken
            out; about the length of the translation over the distance of what is seen. NaN where
            the rotation is not known.
    """

    model: Model
    num_correspondences: int
    inliers: np.ndarray
    rotation: np.ndarray | None = None
    direction: np.ndarray | None = None
    covariance: np.ndarray | None = None
    parallax_rad: float = np.nan

    @property
    def num_inliers(self) -> int:
        """I, the number of correspondences that agree with one motion."""
        return len(self.inliers)


def two_view_geometry(
    query: np.ndarray,
    match: np.ndarray,
    query_camera: Intrinsics | None,
    match_camera: Intrinsics | None,
    *,
    max_error_px: float,
    min_share: float = 0.0,
) -> TwoView:
    """Find the motion on which most correspondences agree, by MAGSAC++ (Barath et al. 2020).

    Args:
        query: (M, 2) pixels in the query.
        match: (M, 2) pixels in the match.
        query_camera: The query's intrinsics; None: unknown, then only agreement is found.
        match_camera: The match's intrinsics, or None.
        max_error_px: Sampson distance from which a correspondence disagrees, pixels.
        min_share: Share of the correspondences that must agree, or the answer is of no use: it
            is not looked for longer than finding such a motion takes.
    """
    if len(query) < _MIN_FOR_MODEL:
        return TwoView(Model.NONE, len(query), np.zeros(0, np.int64))
    if query_camera is None or match_camera is None:
        return _uncalibrated(query, match, max_error_px, min_share)
    focal_px = (query_camera.focal_px + match_camera.focal_px) / 2
    rays = query_camera.rays(query), match_camera.rays(match)
    return _calibrated(*rays, max_error_px / focal_px, focal_px, min_share)


def agreement(
    rotation: np.ndarray,
    translation: np.ndarray,
    query: np.ndarray,
    match: np.ndarray,
    max_error: float,
) -> TwoView:
    """Say how two pictures relate that are moved as is known already.

    Args:
        rotation: (3, 3), as of `TwoView`.
        translation: (3,) likewise, of any length.
        query: (M, 2) rays at z = 1 of correspondences.
        match: (M, 2) likewise.
        max_error: Sampson distance from which a correspondence disagrees, on that plane.

    Returns:
        What agrees with the motion; without a covariance, which correspondences do not tell.
    """
    way = float(np.linalg.norm(translation))
    if not way:
        return TwoView(Model.NONE, len(query), np.zeros(0, np.int64))
    direction = translation / way
    inliers = _inliers(rotation, direction, query, match, max_error)
    if not len(inliers):
        return TwoView(Model.NONE, len(query), inliers)
    parallax = _parallax(rotation, query[inliers], match[inliers])
    return TwoView(
        Model.ESSENTIAL, len(query), inliers, rotation, direction, parallax_rad=parallax
    )


def occupied_cells(keypoints: np.ndarray, features: LocalFeatures, cells: int) -> int:
    """Count the cells of a `cells` x `cells` grid over a picture that hold a keypoint.

    Args:
        keypoints: (I, 2) pixels.
        features: Of the picture, for its size.
        cells: Cells a side.
    """
    size = np.array([features.width, features.height])
    index = np.clip((keypoints * cells / size).astype(np.int64), 0, cells - 1)
    return len(np.unique(index[:, 0] * cells + index[:, 1]))


def zoom(query: np.ndarray, match: np.ndarray, query_width: int, match_width: int) -> float:
    """Return how much larger the query shows what both show; below 1: smaller.

    The median over pairs of features of the ratio of their distances, in picture widths: who
    walks towards what both pictures show sees it grow.

    Args:
        query: (I, 2) pixels in the query; the first 200 are taken.
        match: (I, 2) pixels in the match.
        query_width: Pixels.
        match_width: Pixels.

    Returns:
        The ratio; NaN if no two features lie apart.
    """
    first, second = pdist(query[:_ZOOM_FEATURES]), pdist(match[:_ZOOM_FEATURES])
    apart = np.minimum(first / query_width, second / match_width) > _ZOOM_APART
    if not apart.any():
        return np.nan
    return float(np.median(first[apart] / second[apart])) * match_width / query_width


def coherence(query: np.ndarray, match: np.ndarray, query_width: int, match_width: int) -> float:
    """Return the share of features that have moved as most of those around them have.

    A row of equal windows fits an epipolar geometry whichever is taken for which, as long as the
    camera moved along it: a feature may lie anywhere on its line. Only right matches move
    together (Bian et al., GMS: Grid-Based Motion Statistics, CVPR 2017). A turn of the whole
    picture does not count.

    Args:
        query: (I, 2) pixels in the query.
        match: (I, 2) pixels in the match.
        query_width: Pixels.
        match_width: Pixels.

    Returns:
        The share; NaN of fewer than two features.
    """
    count = min(_NEIGHBOURS, len(query) - 1)
    if count < 1:
        return np.nan
    first, second = (
        (points - points.mean(axis=0)) @ [1, 1j] / width
        for points, width in ((query, query_width), (match, match_width))
    )
    turn = np.exp(1j * np.angle(np.vdot(first, second)))
    nearest = cKDTree(query).query(query, k=count + 1)[1][:, 1:]  # the first is itself
    before, after = (spots[nearest] - spots[:, np.newaxis] for spots in (turn * first, second))
    stretch = np.abs(after - before) / (np.abs(before) + _STRETCH_SLACK)
    return float(np.mean(np.median(stretch, axis=1) < _MOST_STRETCH))


def _iterations(min_share: float, sample: int) -> int:
    """Return the samples after which one was probably free of what disagrees."""
    clean = (_LEAST_OF_SHARE * min_share) ** sample
    wanted = np.log1p(-_CONFIDENCE) / np.log1p(-clean) if clean else np.inf
    return int(min(_MAX_ITERATIONS, np.ceil(wanted)))


def _uncalibrated(
    query: np.ndarray, match: np.ndarray, max_error: float, min_share: float
) -> TwoView:
    pixels = query.astype(np.float64), match.astype(np.float64)
    most = _iterations(min_share, _SAMPLE_OF_FUNDAMENTAL)
    model = Model.FUNDAMENTAL
    try:
        _, mask = cv2.findFundamentalMat(*pixels, cv2.USAC_MAGSAC, max_error, _CONFIDENCE, most)
    except (
        cv2.error
    ):  # OpenCV fails an assertion where no sample tells one: the camera stood still
        model = Model.PLANE
        _, mask = cv2.findHomography(
            *pixels, cv2.USAC_MAGSAC, max_error, None, _MAX_ITERATIONS, _CONFIDENCE
        )
    inliers = _rows(mask)
    return TwoView(model if len(inliers) else Model.NONE, len(query), inliers)


def _calibrated(
    query: np.ndarray, match: np.ndarray, max_error: float, focal_px: float, min_share: float
) -> TwoView:
    """Choose between turning, a plane and a scene with depth; rays at z = 1, errors likewise."""
    essential, mask = cv2.findEssentialMat(
        query,
        match,
        np.eye(3),
        cv2.USAC_MAGSAC,
        _CONFIDENCE,
        max_error,
        _iterations(min_share, _SAMPLE_OF_ESSENTIAL),
    )
    nothing = TwoView(Model.NONE, len(query), np.zeros(0, np.int64))
    homography, of_plane = _homography(query, match, max_error, focal_px)
    agreeing = np.union1d(_rows(mask), _rows(of_plane))
    if essential is None or essential.shape != (3, 3) or len(agreeing) < _MIN_FOR_MODEL:
        return nothing
    poses = _poses_of_essential(essential, query[agreeing], match[agreeing])
    turned = np.eye(3)
    in_plane = _rows(of_plane)
    costs = {}
    if homography is not None and len(in_plane) >= _MIN_FOR_MODEL:
        if len(in_plane) >= _PLANE_SHARE * len(agreeing):
            poses += _poses_of_homography(homography)
        turned = aligning_rotation(_unit(match[in_plane]), _unit(query[in_plane]))
        errors = _transfer_error(homography, query[agreeing], match[agreeing])
        costs[Model.PLANE] = _gric(errors, max_error, dimension=2, parameters=8)
        errors = _transfer_error(turned, query[agreeing], match[agreeing])
        costs[Model.ROTATION] = _gric(errors, max_error, dimension=2, parameters=3)
    refined = (_refine(pose, query, match, max_error) for pose in poses)
    fits = sorted((fit for fit in refined if fit), key=lambda fit: -len(fit.inliers))
    if fits:
        errors = sampson_distance(fits[0].essential, query[agreeing], match[agreeing])
        costs[Model.ESSENTIAL] = _gric(errors, max_error, dimension=3, parameters=5)
    if not costs:
        return nothing
    model = min(costs, key=lambda m: costs[m])
    if model is Model.ROTATION or not fits:
        errors = _transfer_error(turned, query, match)
        return _only_turned(turned, query, match, np.flatnonzero(errors <= max_error))
    return _moved(model, fits, query, match)


def _homography(
    query: np.ndarray, match: np.ndarray, max_error: float, focal_px: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Find a homography of rays; OpenCV's MAGSAC++ does so well for coordinates in pixels only."""
    homography, mask = cv2.findHomography(
        query * focal_px,
        match * focal_px,
        cv2.USAC_MAGSAC,
        max_error * focal_px,
        None,
        _MAX_ITERATIONS,
        _CONFIDENCE,
    )
    if homography is None:
        return None, None
    to_pixels = np.diag([focal_px, focal_px, 1.0])
    return np.linalg.inv(to_pixels) @ homography @ to_pixels, mask


@dataclass(frozen=True)
class _Fit:
    rotation: np.ndarray
    direction: np.ndarray
    inliers: np.ndarray
    covariance: np.ndarray

    @property
    def essential(self) -> np.ndarray:
        return cross_matrix(self.direction) @ self.rotation


def _moved(model: Model, fits: list[_Fit], query: np.ndarray, match: np.ndarray) -> TwoView:
    best = fits[0]
    rivals = [
        fit
        for fit in fits[1:]
        if len(fit.inliers) >= _RIVAL_SHARE * len(best.inliers)
        and fit.direction @ best.direction < _SAME_DIRECTION
    ]
    covariance = best.covariance
    direction: np.ndarray | None = best.direction
    if rivals:  # one plane allows two motions; nothing says which
        direction = None
        between = max(angle_of(fit.rotation @ best.rotation.T) for fit in rivals)
        covariance = covariance.copy()
        covariance[:3], covariance[:, :3] = 0, 0
        covariance[:3, :3] = _UNKNOWN_DIRECTION
        covariance[3:, 3:] += between**2 * np.eye(3)
    return TwoView(
        model,
        len(query),
        best.inliers,
        best.rotation,
        direction,
        covariance,
        _parallax(best.rotation, query[best.inliers], match[best.inliers]),
    )


def _only_turned(
    turned: np.ndarray, query: np.ndarray, match: np.ndarray, inliers: np.ndarray
) -> TwoView:
    if len(inliers) < _MIN_FOR_MODEL:
        return TwoView(Model.NONE, len(query), np.zeros(0, np.int64))
    seen, expected = _unit(match[inliers]), _unit(query[inliers]) @ turned.T
    spread = np.eye(3) * len(inliers) - expected.T @ expected  # sum of I - ray ray^T
    error = np.sum((seen - expected) ** 2) / max(2 * len(inliers) - 3, 1)
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = _UNKNOWN_DIRECTION
    covariance[3:, 3:] = error * np.linalg.inv(spread)
    parallax = _parallax(turned, query[inliers], match[inliers])
    return TwoView(Model.ROTATION, len(query), inliers, turned, None, covariance, parallax)


def _poses_of_essential(
    essential: np.ndarray, query: np.ndarray, match: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    _, rotation, translation, _ = cv2.recoverPose(essential, query, match, np.eye(3))
    return [(rotation, translation.ravel())]


def _poses_of_homography(homography: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    _, rotations, translations, _ = cv2.decomposeHomographyMat(homography, np.eye(3))
    return [
        (rotation, translation.ravel() / np.linalg.norm(translation))
        for rotation, translation in zip(rotations, translations, strict=True)
        if np.linalg.norm(translation) > np.finfo(np.float32).eps
    ]


def _refine(
    pose: tuple[np.ndarray, np.ndarray], query: np.ndarray, match: np.ndarray, max_error: float
) -> _Fit | None:
    """Minimise the Sampson distance; None where too little agrees or lies behind a camera."""
    motion = _Motion(*pose)
    inliers = _inliers(*pose, query, match, max_error)
    for _ in range(2):
        if len(inliers) < _MIN_FOR_MODEL:
            return None
        distances = partial(
            _Motion.linearise,
            query=homogeneous(query[inliers]),
            match=homogeneous(match[inliers]),
        )
        found = minimise(distances, _Motion.moved, motion)
        motion = found.state
        inliers = _inliers(motion.rotation, motion.direction, query, match, max_error)
    if len(inliers) < _MIN_FOR_MODEL:
        return None
    scale = np.sum(found.residuals**2) / max(len(found.residuals) - 5, 1)
    of_step = scale * np.linalg.pinv(found.jacobian.T @ found.jacobian)
    spread = np.zeros((6, 5))
    spread[:3, :2] = motion.tangent.T
    spread[3:, 2:] = np.eye(3)
    covariance = spread @ of_step @ spread.T
    covariance[:3, :3] += _UNKNOWN_LENGTH * np.outer(motion.direction, motion.direction)
    return _Fit(motion.rotation, motion.direction, inliers, covariance)


class _Motion:
    """A rotation and a direction; five numbers say how another one differs from it.

    Attributes:
        rotation: (3, 3).
        direction: (3,) unit.
        tangent: (2, 3), unit vectors across the direction: what the first two numbers move along.
    """

    def __init__(self, rotation: np.ndarray, direction: np.ndarray) -> None:
        self.rotation = rotation
        self.direction = direction
        self.tangent = np.linalg.svd(direction[np.newaxis])[2][1:]

    def moved(self, step: np.ndarray) -> _Motion:
        direction = self.direction + step[:2] @ self.tangent
        rotation = rotation_of(step[2:]) @ self.rotation
        return _Motion(rotation, direction / np.linalg.norm(direction))

    def linearise(self, query: np.ndarray, match: np.ndarray) -> Linearised:
        """Return Sampson distances (M,) of homogeneous rays and their derivatives (M, 5)."""
        across = cross_matrix(self.direction)
        by_direction = cross_matrix(self.tangent) @ self.rotation
        by_rotation = across @ cross_matrix(np.eye(3)) @ self.rotation
        residual, slopes = sampson_slopes(
            across @ self.rotation, np.concatenate([by_direction, by_rotation]), query, match
        )
        return Linearised(float(residual @ residual), residual, slopes)


def _inliers(
    rotation: np.ndarray,
    direction: np.ndarray,
    query: np.ndarray,
    match: np.ndarray,
    max_error: float,
) -> np.ndarray:
    errors = np.abs(sampson_distance(cross_matrix(direction) @ rotation, query, match))
    return np.flatnonzero((errors <= max_error) & _in_front(rotation, direction, query, match))


def _in_front(
    rotation: np.ndarray, direction: np.ndarray, query: np.ndarray, match: np.ndarray
) -> np.ndarray:
    """Tell which points lie before both cameras; one at infinity may lie on either side."""
    turned, seen = homogeneous(query) @ rotation.T, homogeneous(match)
    # depth_match * seen = depth_query * turned + direction
    normal = np.cross(turned, seen)
    weight = np.maximum(np.sum(normal**2, axis=1), np.finfo(np.float64).tiny)
    depth_match = np.sum(np.cross(turned, np.broadcast_to(direction, turned.shape)) * normal, 1)
    depth_query = np.sum(np.cross(seen, np.broadcast_to(direction, seen.shape)) * normal, 1)
    infinite = np.sqrt(weight) < _PARALLEL * np.linalg.norm(turned, axis=1)
    same_side = np.sum(turned * seen, axis=1) > 0
    return same_side & (infinite | ((depth_match > 0) & (depth_query > 0)))


_PARALLEL = 2e-3  # sine of the angle between two rays that say nothing about depth


def _parallax(rotation: np.ndarray, query: np.ndarray, match: np.ndarray) -> float:
    turned, seen = _unit(query) @ rotation.T, _unit(match)
    return float(
        np.median(np.arcsin(np.clip(np.linalg.norm(turned - seen, axis=1) / 2, 0, 1))) * 2
    )


def _transfer_error(homography: np.ndarray, query: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Return the larger (M,) of the distances of transfer there and back over sqrt 2."""
    there = _apply(homography, query) - match
    back = _apply(np.linalg.inv(homography), match) - query
    both = np.maximum(np.sum(there**2, axis=1), np.sum(back**2, axis=1))
    return np.sqrt(both / 2)


def _apply(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    mapped = homogeneous(points) @ homography.T
    depth = np.where(np.abs(mapped[:, 2:]) < 1e-9, 1e-9, mapped[:, 2:])
    return mapped[:, :2] / depth


def _gric(errors: np.ndarray, max_error: float, *, dimension: int, parameters: int) -> float:
    """Cost of a model by GRIC (Torr 1997): misfit, freedom of the points, and parameters."""
    n = len(errors)
    sigma = max_error / 2
    misfit = np.minimum((errors / sigma) ** 2, 2.0 * (4 - dimension)).sum()
    return float(misfit + np.log(4) * dimension * n + np.log(4 * n) * parameters)


def _unit(rays: np.ndarray) -> np.ndarray:
    vectors = homogeneous(rays)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _rows(mask: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, np.int64) if mask is None else np.flatnonzero(mask.ravel())
