# SPDX-License-Identifier: Apache-2.0
"""Which keyframes give each other depth."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

_OFFSETS = (4, 8, 2, 16, 1, 32)  # along the drive; some of them fit any spacing of keyframes
REACH = max(_OFFSETS)  # rows further along the drive are never neighbours
_MAX_ANGLE_RAD = np.radians(30.0)


def neighbours_along_drive(
    place: int, poses: np.ndarray, *, limit: int = 8, min_baseline_m: float = 0.03
) -> list[int]:
    """Return keyframes before and after one that look the same way from elsewhere.

    They lie along the drive, not merely near: odometry is exact from one picture to the next
    and drifts between two visits.

    Args:
        place: Row of `poses`.
        poses: (N, 4, 4) float64, camera to map, metres, in the order of the drive; NaN: unknown.
        limit: Neighbours at most.
        min_baseline_m: Metres a neighbour must lie away: nearer ones tell no depth.

    Returns:
        Rows, at most `limit`; none if the place's own pose is unknown.
    """
    if not np.isfinite(poses[place]).all():
        return []
    found: list[int] = []
    for row in (place + sign * offset for offset in _OFFSETS for sign in (-1, 1)):
        if not 0 <= row < len(poses) or not np.isfinite(poses[row]).all():
            continue
        if np.linalg.norm(poses[row, :3, 3] - poses[place, :3, 3]) < min_baseline_m:
            continue
        turn = Rotation.from_matrix(poses[place, :3, :3].T @ poses[row, :3, :3]).magnitude()
        if turn <= _MAX_ANGLE_RAD:
            found.append(row)
    return found[:limit]
