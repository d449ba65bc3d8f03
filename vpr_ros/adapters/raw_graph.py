# SPDX-License-Identifier: Apache-2.0
"""Odometry and closures as a pose graph that nobody has optimised, for other programs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpr_ros.pose_graph.closure import Closure, Kind
from vpr_ros.pose_graph.export import GraphEdge
from vpr_ros.pose_graph.odometry import OdometryPose, OdometryTrack
from vpr_ros.pose_graph.optimizer import ClosureNoise, between_bases
from vpr_ros.pose_graph.transforms import inverse, transform

_LEAST = 1e-10


def raw_graph(
    track: OdometryTrack,
    closures: Sequence[Closure],
    noise: ClosureNoise,
    *,
    distance_m: float,
    angle_rad: float,
    max_gap_s: float,
) -> tuple[np.ndarray, list[GraphEdge], int]:
    """Make vertices where odometry has moved enough, and at both ends of every metric closure.

    Args:
        track: The odometry.
        closures: Any; only metric ones that lie in the odometry become edges.
        noise: Added to the closures.
        distance_m: A vertex after so many metres,
        angle_rad: or so much turn.
        max_gap_s: A stamp between two odometry poses further apart is not placed.

    Returns:
        Poses of the base by odometry (N, 4, 4); the edges, odometry first; how many closures are
        not among them.
    """
    if not len(track):
        return np.zeros((0, 4, 4)), [], len(closures)
    used = [closure for closure in closures if _is_within(closure, track, max_gap_s)]
    ends = {s for c in used for s in (c.query_stamp_ns, c.match_stamp_ns)}
    stamps = sorted({*ends, *track.keyframes(distance_m, angle_rad), track.last_ns})
    poses = [track.at(stamp_ns) for stamp_ns in stamps]
    vertices = np.array([transform(p.position, p.orientation_xyzw) for p in poses])
    edges = [_step(i, poses, vertices) for i in range(len(poses) - 1)]
    number = {stamp_ns: i for i, stamp_ns in enumerate(stamps)}
    for closure in used:
        ids = number[closure.match_stamp_ns], number[closure.query_stamp_ns]
        edges.append((*ids, *between_bases(closure, noise)))
    return vertices, edges, len(closures) - len(used)


def _is_within(closure: Closure, track: OdometryTrack, max_gap_s: float) -> bool:
    stamps = closure.query_stamp_ns, closure.match_stamp_ns
    return (
        closure.kind is Kind.METRIC
        and not closure.fault()
        and stamps[0] != stamps[1]
        and all(track.first_ns <= s <= track.last_ns for s in stamps)
        and all(track.gap_s(s) <= max_gap_s for s in stamps)
    )


def _step(i: int, poses: list[OdometryPose], vertices: np.ndarray) -> GraphEdge:
    translation, rotation = poses[i + 1].variances - poses[i].variances + _LEAST
    covariance = np.diag(np.repeat([rotation, translation], 3))
    return i, i + 1, inverse(vertices[i]) @ vertices[i + 1], covariance
