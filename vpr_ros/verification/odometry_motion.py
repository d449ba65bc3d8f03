# SPDX-License-Identifier: Apache-2.0
"""The motion between two keyframes of one drive: as odometry has it, mended by the pictures.

Over a few centimetres odometry of hand-held cameras is wrong by degrees, which ruins the depths
that are triangulated over it. The pictures know the rotation and the direction far better, and
nothing of the length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vpr_ros.verification.epipolar import sampson_distance, sampson_slopes
from vpr_ros.verification.least_squares import Linearised, minimise
from vpr_ros.verification.rotations import cross_matrix, rotation_of, rotvec_of

# Odometry from one keyframe to the next, standard deviations: it only has to tell the length.
_ROTATION_ERROR_RAD = 0.06
_WAY_ERROR = 0.1
_WAY_ERROR_M = 0.01
_ROUNDS = (
    (3.0, 20.0),
    (1.0, 3.0),
    (1.0, 2.5),
)  # pixels: scale of the robust loss, and what agrees afterwards
_AGREES_PX = 1.5  # median distance of what both see, with which odometry is taken as it is
_SAME_WAY = math.cos(math.radians(35.0))
_MIN_AGREEING = 12
_SHORTEST_M = 1e-6


def mended_motion(
    motion: np.ndarray, rays: np.ndarray, seen: np.ndarray, focal_px: float
) -> np.ndarray | None:
    """Fit a motion to what two keyframes share.

    Args:
        motion: (4, 4) by odometry, from the first camera to the second, metres.
        rays: (M, 3) homogeneous rays of the first, z = 1.
        seen: (M, 3) of the same features in the second.
        focal_px: Turns distances of rays into pixels.

    Returns:
        (4, 4), of the same length; as it was where the pictures agree with it, or too few
        features do; None where they contradict its direction, so that its length means nothing.
    """
    if len(rays) < _MIN_AGREEING or np.linalg.norm(motion[:3, 3]) < _SHORTEST_M:
        return motion
    prior = _State(motion[:3, :3], motion[:3, 3])
    away = sampson_distance(prior.essential, rays[:, :2], seen[:, :2])
    if focal_px * np.median(np.abs(away)) <= _AGREES_PX:
        return motion  # two pictures alone would know it less well
    state = prior
    use: np.ndarray = np.ones(len(rays), bool)
    for scale_px, gate_px in _ROUNDS:
        problem = _Problem(prior, rays[use], seen[use], focal_px / scale_px)
        state = minimise(problem.linearise, _State.moved, state).state
        distances = focal_px * sampson_distance(state.essential, rays[:, :2], seen[:, :2])
        use = np.abs(distances) <= gate_px
        if np.count_nonzero(use) < _MIN_AGREEING:
            return motion
    way, turned_way = np.linalg.norm(motion[:3, 3]), np.linalg.norm(state.translation)
    if motion[:3, 3] @ state.translation < _SAME_WAY * way * turned_way:
        return None
    mended = np.eye(4)
    mended[:3, :3], mended[:3, 3] = state.rotation, state.translation * (way / turned_way)
    return mended


def way_error(motion: np.ndarray) -> float:
    """Return the standard deviation of the length of a motion (4, 4) by odometry, its share."""
    way = max(float(np.linalg.norm(motion[:3, 3])), _SHORTEST_M)
    return math.hypot(_WAY_ERROR, _WAY_ERROR_M / way)


@dataclass(frozen=True)
class _State:
    rotation: np.ndarray
    translation: np.ndarray

    @property
    def essential(self) -> np.ndarray:
        return cross_matrix(self.translation / np.linalg.norm(self.translation)) @ self.rotation

    def moved(self, step: np.ndarray) -> _State:
        return _State(rotation_of(step[3:]) @ self.rotation, self.translation + step[:3])


@dataclass(frozen=True)
class _Problem:
    prior: _State
    rays: np.ndarray
    seen: np.ndarray
    weight: float  # from distances of rays to standard deviations

    def linearise(self, state: _State) -> Linearised:
        """Return the Cauchy loss of the distances and what odometry says; step (6,)."""
        length = max(float(np.linalg.norm(state.translation)), _SHORTEST_M)
        direction = state.translation / length
        tangent = (np.eye(3) - np.outer(direction, direction)) / length
        of_essential = np.concatenate(
            [
                cross_matrix(tangent) @ state.rotation,
                cross_matrix(direction) @ cross_matrix(np.eye(3)) @ state.rotation,
            ]
        )
        distance, slopes = sampson_slopes(state.essential, of_essential, self.rays, self.seen)
        distance, slopes = distance * self.weight, slopes * self.weight
        robust = 1 / np.sqrt(1 + distance**2)  # squares of these have the slope of the loss
        way = float(np.linalg.norm(self.prior.translation))
        sigma = np.repeat([_WAY_ERROR_M + _WAY_ERROR * way, _ROTATION_ERROR_RAD], 3)
        turned = rotvec_of(state.rotation @ self.prior.rotation.T)
        off = np.concatenate([state.translation - self.prior.translation, turned]) / sigma
        return Linearised(
            float(np.sum(np.log1p(distance**2)) + off @ off),
            np.concatenate([distance * robust, off]),
            np.concatenate([slopes * robust[:, np.newaxis], np.diag(1 / sigma)]),
        )
