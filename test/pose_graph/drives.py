# SPDX-License-Identifier: Apache-2.0
"""Small runs and closures for the tests of the pose graph."""

from dataclasses import replace

import numpy as np

from vpr_ros.pose_graph.closure import Closure, Kind
from vpr_ros.pose_graph.transforms import inverse, quaternion_xyzw, transform
from vpr_ros.poses import Trajectory

S = 10**9
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
TIGHT = np.diag([1e-4] * 3 + [1e-4] * 3)


def square(laps=2, *, side_m=4.0, step_m=0.5, hz=2.0, turn_error=0.0) -> Trajectory:
    """Drive a square; each corner turns by 90 degrees and `turn_error` (rad)."""
    pose, poses = np.eye(4), []
    corner = np.pi / 2 + turn_error
    for _ in range(4 * laps):
        for _ in range(round(side_m / step_m)):
            poses.append(pose)
            pose = pose @ transform(np.array([step_m, 0, 0]), UPRIGHT)
        half = corner / 2
        pose = pose @ transform(np.zeros(3), np.array([0, 0, np.sin(half), np.cos(half)]))
    poses.append(pose)
    stamps = (S + np.arange(len(poses)) * (S / hz)).astype(np.int64)
    found = np.array(poses)
    return Trajectory(stamps, found[:, :3, 3], quaternion_xyzw(found))


def drive(graph, run: Trajectory) -> None:
    for stamp_ns, position, quaternion in zip(
        run.stamps_ns.tolist(), run.positions, run.orientations_xyzw, strict=True
    ):
        graph.add_odometry(stamp_ns, position, quaternion)


def pose_of(run: Trajectory, index: int) -> np.ndarray:
    return transform(run.positions[index], run.orientations_xyzw[index])


def closure(run: Trajectory, query: int, match: int, *, kind=Kind.METRIC, wrong=None) -> Closure:
    """Return what a perfect verifier says, or that plus the transform `wrong`."""
    measured = inverse(pose_of(run, match)) @ pose_of(run, query)
    if wrong is not None:
        measured = measured @ wrong
    if kind is Kind.DIRECTION:
        measured[:3, 3] /= np.linalg.norm(measured[:3, 3])
    stamps = int(run.stamps_ns[query]), int(run.stamps_ns[match])
    return Closure(*stamps, kind, measured, TIGHT)


def seen_by(made: Closure, match: np.ndarray, query: np.ndarray | None = None) -> Closure:
    """Turn a closure between bodies into that of cameras mounted there (None: the same one)."""
    query = match if query is None else query
    return replace(
        made,
        match_from_query=inverse(match) @ made.match_from_query @ query,
        base_from_match=match,
        base_from_query=query,
    )


def rms_m(truth: Trajectory, found: Trajectory) -> float:
    """Position error without alignment; the truth has every stamp of `found`."""
    positions, _ = truth.at(found.stamps_ns, max_gap_s=10)
    return float(np.sqrt(np.mean(np.sum((positions - found.positions) ** 2, axis=1))))
