# SPDX-License-Identifier: Apache-2.0
"""Odometry that drifts and closures with errors, made from true poses: for proofs and tests."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from vpr_ros.pose_graph.closure import Closure, Kind
from vpr_ros.pose_graph.transforms import (
    difference,
    inverse,
    quaternion_xyzw,
    small_motion,
    transform,
)
from vpr_ros.poses import Trajectory

_OUTLIER_TRIES = 1000


@dataclass(frozen=True)
class Drift:
    """How odometry errs: a part that is the same all along the way, and random walks.

    The first part makes drift grow with the way, which is how the field measures it: percent of
    the way and degrees a metre (Geiger et al., Are we ready for autonomous driving?, CVPR 2012).
    Its size is given and not drawn; chance has its signs alone, so that no seed is an odometry
    that hardly errs. The defaults stand for hand-held frame-to-frame visual odometry: about 4 % of
    the way and 5 degrees over one metre.

    Attributes:
        scale: Share by which every step is too long or too short.
        yaw_deg_per_m: Turn about the world's vertical, degrees for every metre.
        tilt_deg_per_m: Turn about one horizontal axis, which chance picks, likewise.
        translation: Random walk, m after one metre, each axis.
        yaw_deg: Random walk, degrees after one metre, about the world's vertical.
        tilt_deg: The same about the two other axes.
    """

    scale: float = 0.02
    yaw_deg_per_m: float = 4.0
    tilt_deg_per_m: float = 2.0
    translation: float = 0.02
    yaw_deg: float = 2.0
    tilt_deg: float = 1.0


@dataclass(frozen=True)
class Revisits:
    """Which two poses see one place, and how well a closure between them is measured.

    Attributes:
        distance_m: At most so far apart,
        angle_deg: turned by no more,
        min_between: and at least so many poses in between.
        every: A closure for every so many poses.
        translation_m: Standard deviation of its translation, each axis; of the unit direction
            for DIRECTION.
        rotation_deg: Of its rotation, each axis.
        outliers: Share of closures that join places that are not one,
        outlier_distance_m: but lie at least so far apart.
    """

    distance_m: float
    angle_deg: float
    min_between: int
    every: int = 3
    translation_m: float = 0.02
    rotation_deg: float = 1.0
    outliers: float = 0.1
    outlier_distance_m: float = 0.75


def matrices(trajectory: Trajectory) -> np.ndarray:
    """Return the poses of a trajectory as (N, 4, 4)."""
    return np.array(
        [
            transform(position, quaternion)
            for position, quaternion in zip(
                trajectory.positions, trajectory.orientations_xyzw, strict=True
            )
        ]
    )


def drifted(truth: Trajectory, drift: Drift, rng: np.random.Generator) -> Trajectory:
    """Return odometry that begins at the true pose and then errs; z of the world is up."""
    true = matrices(truth)
    scale = 1 + drift.scale * rng.choice([-1, 1])
    axis = rng.uniform(0, 2 * np.pi)
    tilt = drift.tilt_deg_per_m * np.array([np.cos(axis), np.sin(axis)])
    steady = np.deg2rad([*tilt, drift.yaw_deg_per_m * rng.choice([-1, 1])])
    walk = np.deg2rad([drift.tilt_deg, drift.tilt_deg, drift.yaw_deg])
    poses = [true[0]]
    for before, after in pairwise(true):
        step = inverse(before) @ after
        way_m = float(np.linalg.norm(step[:3, 3]))
        step[:3, 3] = scale * step[:3, 3] + rng.normal(0, drift.translation, 3) * np.sqrt(way_m)
        world = poses[-1] @ step
        turn = steady * way_m + rng.normal(0, 1, 3) * walk * np.sqrt(way_m)
        world[:3, :3] = small_motion(np.concatenate([turn, np.zeros(3)]))[:3, :3] @ world[:3, :3]
        poses.append(world)
    found = np.array(poses)
    return Trajectory(truth.stamps_ns, found[:, :3, 3], quaternion_xyzw(found))


def revisits(truth: Trajectory, which: Revisits) -> list[tuple[int, int]]:
    """Return numbers of query and match, the nearest earlier pose, for poses that come back."""
    true = matrices(truth)
    tree = cKDTree(truth.positions)
    pairs = []
    for query in range(0, len(truth), which.every):
        near = [
            (float(np.linalg.norm(difference(true[i], true[query])[3:])), i)
            for i in tree.query_ball_point(truth.positions[query], which.distance_m)
            if query - i >= which.min_between
            and np.linalg.norm(difference(true[i], true[query])[:3]) < np.deg2rad(which.angle_deg)
        ]
        if near:
            pairs.append((query, min(near)[1]))
    return pairs


def made_closures(
    truth: Trajectory,
    which: Revisits,
    rng: np.random.Generator,
    *,
    kind: Kind = Kind.METRIC,
) -> list[tuple[Closure, bool]]:
    """Return a closure for every revisit, and whether it is right.

    A wrong one joins the query to a pose elsewhere and says what a right one would: that both
    stand close together.
    """
    true = matrices(truth)
    pairs = revisits(truth, which)
    sigmas = np.repeat([np.deg2rad(which.rotation_deg), which.translation_m], 3)
    covariance = np.diag(np.repeat([which.translation_m**2, sigmas[0] ** 2], 3))
    found = []
    for query, near in pairs:
        right = bool(rng.random() >= which.outliers)
        measured = inverse(true[near]) @ true[query]
        match = near if right else _elsewhere(truth, query, which, rng)
        noise = rng.normal(0, sigmas)
        if kind is Kind.DIRECTION:
            measured = measured.copy()
            measured[:3, 3] /= np.linalg.norm(measured[:3, 3])
        measured = measured @ small_motion(noise)
        if kind is Kind.DIRECTION:
            measured[:3, 3] /= np.linalg.norm(measured[:3, 3])
        stamps = int(truth.stamps_ns[query]), int(truth.stamps_ns[match])
        found.append((Closure(*stamps, kind, measured, covariance), right))
    return found


def _elsewhere(truth: Trajectory, query: int, which: Revisits, rng: np.random.Generator) -> int:
    for _ in range(_OUTLIER_TRIES):
        match = int(rng.integers(len(truth)))
        way = np.linalg.norm(truth.positions[match] - truth.positions[query])
        if way > which.outlier_distance_m:
            return match
    raise ValueError(
        f'hardly a pose lies {which.outlier_distance_m:g} m from pose {query}: the run is too '
        'small; make outlier_distance_m smaller'
    )
