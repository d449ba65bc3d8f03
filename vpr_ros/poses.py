# SPDX-License-Identifier: Apache-2.0
"""Poses over time, and the pose at the moment a picture was taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

NS_PER_S = 1_000_000_000
SWAPPED_NS = 100_000_000  # messages may arrive swapped by this; a looped bag goes back further
POSE_NUMBERS = 7  # x y z qx qy qz qw
_UNIT_TOLERANCE = 0.01
_PARALLEL = 1 - 1e-6  # cosine of the half angle above which slerp may go straight


@dataclass(frozen=True)
class Trajectory:
    """Poses at known times.

    Attributes:
        stamps_ns: (N,) int64, nanoseconds, strictly increasing; N may be 0.
        positions: (N, 3) float64, metres.
        orientations_xyzw: (N, 4) float64, unit quaternions; NaN rows: unknown (GNSS).
    """

    stamps_ns: np.ndarray
    positions: np.ndarray
    orientations_xyzw: np.ndarray

    def __post_init__(self) -> None:
        """Refuse arrays that are no trajectory.

        Raises:
            ValueError: Shapes disagree, stamps do not increase or a position is not finite.
        """
        n = len(self.stamps_ns)
        shapes = (self.stamps_ns.shape, self.positions.shape, self.orientations_xyzw.shape)
        if shapes != ((n,), (n, 3), (n, 4)):
            raise ValueError(f'a trajectory needs shapes (N,), (N, 3), (N, 4), not {shapes}')
        if (np.diff(self.stamps_ns) <= 0).any():
            raise ValueError('the stamps of a trajectory must increase')
        if not np.isfinite(self.positions).all():
            raise ValueError('a position of the trajectory is not finite')

    def __len__(self) -> int:
        """Return N, the number of poses."""
        return len(self.stamps_ns)

    def at(self, stamps_ns: np.ndarray, *, max_gap_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Interpolate: positions linearly, orientations along the shorter great arc.

        Args:
            stamps_ns: (M,) integers, nanoseconds, in any order.
            max_gap_s: Between two poses further apart in time than this nothing is known.

        Returns:
            Positions (M, 3) and orientations (M, 4); NaN where nothing is known: in a gap, and
            before the first and after the last pose. A pose at exactly the asked time is known.
        """
        asked = np.asarray(stamps_ns, np.int64)
        if len(self) == 0:
            return np.full((len(asked), 3), np.nan), np.full((len(asked), 4), np.nan)
        after = np.searchsorted(self.stamps_ns, asked)  # first pose at or after the asked time
        last = len(self) - 1
        end = np.minimum(after, last)
        exact = self.stamps_ns[end] == asked
        begin = np.where(exact, end, np.clip(after - 1, 0, last))
        gap_ns = self.stamps_ns[end] - self.stamps_ns[begin]
        inside = exact | ((after > 0) & (after <= last))
        known = inside & (gap_ns <= max_gap_s * NS_PER_S)
        share = np.clip((asked - self.stamps_ns[begin]) / np.maximum(gap_ns, 1), 0, 1)
        positions = _lerp(self.positions[begin], self.positions[end], share)
        orientations = slerp(self.orientations_xyzw[begin], self.orientations_xyzw[end], share)
        positions[~known] = np.nan
        orientations[~known] = np.nan
        return positions, orientations


def slerp(begin: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate between rotations along the shorter arc.

    Args:
        begin: (N, 4) unit quaternions x y z w.
        end: (N, 4) unit quaternions; q and -q are the same rotation.
        share: (N,) 0 gives `begin`, 1 gives `end`.

    Returns:
        (N, 4) unit quaternions; NaN where an end is NaN.
    """
    cosine = np.sum(begin * end, axis=1)
    end = np.where(cosine[:, None] < 0, -end, end)
    cosine = np.minimum(np.abs(cosine), 1.0)
    angle = np.arccos(cosine)
    straight = cosine > _PARALLEL
    sine = np.where(straight, 1.0, np.sin(angle))
    weight_begin = np.where(straight, 1 - share, np.sin((1 - share) * angle) / sine)
    weight_end = np.where(straight, share, np.sin(share * angle) / sine)
    mixed = weight_begin[:, None] * begin + weight_end[:, None] * end
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def rotation_angle(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle between two orientations, radians 0..pi; NaN if one is NaN.

    Args:
        first: (4,) unit quaternion x y z w.
        second: (4,) unit quaternion x y z w.
    """
    # atan2 of chord lengths: exact for small angles, where arccos loses half the digits
    difference = np.linalg.norm(first - second)
    total = np.linalg.norm(first + second)
    return float(4 * np.arctan2(min(difference, total), max(difference, total)))


def quaternions_from_matrices(rotations: np.ndarray) -> np.ndarray:
    """Turn rotation matrices into quaternions (Bar-Itzhack 2000: the nearest rotation).

    Args:
        rotations: (N, 3, 3), close to orthonormal.

    Returns:
        (N, 4) unit quaternions x y z w with w >= 0.
    """
    r = np.asarray(rotations, np.float64)
    k = np.empty((len(r), 4, 4))
    k[:, :3, :3] = r + r.transpose(0, 2, 1)
    trace = np.trace(r, axis1=1, axis2=2)
    k[:, [0, 1, 2], [0, 1, 2]] -= trace[:, None]
    k[:, 3, 3] = trace
    k[:, :3, 3] = k[:, 3, :3] = np.stack(
        [r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], axis=1
    )
    quaternions = np.linalg.eigh(k)[1][:, :, -1]  # eigenvector of the largest eigenvalue
    return np.where(quaternions[:, 3:] < 0, -quaternions, quaternions)


def _lerp(begin: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    return begin + share[:, None] * (end - begin)


def checked_pose(
    position: np.ndarray, orientation_xyzw: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a pose with its quaternion brought to length 1.

    Raises:
        ValueError: A value is not finite, or the length is further than 0.01 from 1.
    """
    numbers = np.concatenate([position, orientation_xyzw]).astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f'{numbers.tolist()} (x y z qx qy qz qw) is no pose: not finite')
    length = float(np.linalg.norm(numbers[3:]))
    if abs(length - 1) > _UNIT_TOLERANCE:
        raise ValueError(
            f'the quaternion x y z w {numbers[3:].tolist()} is no unit quaternion: its '
            f'length is {length:.4g}, not 1'
        )
    return numbers[:3], numbers[3:] / length


def matrix_of_pose(numbers: Sequence[float] | np.ndarray) -> np.ndarray:
    """Turn x y z qx qy qz qw into a (4, 4) float64 matrix.

    Raises:
        ValueError: Not 7 finite numbers, or no unit quaternion.
    """
    values = np.asarray(numbers, np.float64)
    if values.shape != (POSE_NUMBERS,):
        raise ValueError(f'a pose is 7 finite numbers, x y z qx qy qz qw, not {values.tolist()}')
    matrix = np.eye(4)
    matrix[:3, 3], orientation_xyzw = checked_pose(values[:3], values[3:])
    matrix[:3, :3] = Rotation.from_quat(orientation_xyzw).as_matrix()
    return matrix
