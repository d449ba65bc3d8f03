# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as (4, 4) float64 matrices, named `target_from_source`.

A small motion is (6,): rotation vector in radians, then translation in metres, applied on the
right (in the frame of the source), as GTSAM has it.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def transform(position: np.ndarray, orientation_xyzw: np.ndarray) -> np.ndarray:
    """Return the (4, 4) matrix of a position (3,), metres, and a quaternion (4,).

    Raises:
        ValueError: A value is not finite, or the quaternion has no length.
    """
    numbers = np.concatenate([position, orientation_xyzw])
    if not np.isfinite(numbers).all() or not np.linalg.norm(orientation_xyzw) > 0.5:
        raise ValueError(
            f'position {np.asarray(position).tolist()}, orientation x y z w '
            f'{np.asarray(orientation_xyzw).tolist()} is no pose: a value is not finite, or the '
            'quaternion is not of length 1'
        )
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(orientation_xyzw).as_matrix()
    matrix[:3, 3] = position
    return matrix


def quaternion_xyzw(matrix: np.ndarray) -> np.ndarray:
    """Return the rotation of (..., 4, 4) as unit quaternions (..., 4)."""
    return Rotation.from_matrix(matrix[..., :3, :3]).as_quat()


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of rigid transforms (..., 4, 4)."""
    rotation_t = np.swapaxes(matrix[..., :3, :3], -1, -2)
    result = np.zeros_like(matrix)
    result[..., :3, :3] = rotation_t
    result[..., :3, 3] = -(rotation_t @ matrix[..., :3, 3:])[..., 0]
    result[..., 3, 3] = 1
    return result


def small_motion(motion: np.ndarray) -> np.ndarray:
    """Return the (4, 4) transform of a small motion (6,)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(motion[:3]).as_matrix()
    matrix[:3, 3] = motion[3:]
    return matrix


def difference(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the motions (..., 6) from one transform (4, 4) to others (..., 4, 4).

    They are in the frame of `expected`'s source.
    """
    error = inverse(expected) @ found
    turn = Rotation.from_matrix(error[..., :3, :3]).as_rotvec()
    return np.concatenate([turn, error[..., :3, 3]], axis=-1)


def adjoint(matrix: np.ndarray) -> np.ndarray:
    """Return the (6, 6) matrix that takes a small motion from source to target."""
    rotation = matrix[:3, :3]
    x, y, z = matrix[:3, 3]
    result = np.zeros((6, 6))
    result[:3, :3] = result[3:, 3:] = rotation
    result[3:, :3] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    return result


def translation_first(matrix: np.ndarray) -> np.ndarray:
    """Return a (6, 6) of small motions in the order of g2o and RTAB-Map: x y z, then rotations."""
    order = [3, 4, 5, 0, 1, 2]
    return matrix[np.ix_(order, order)]


def moved_covariance(target_from_source: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the covariance (6, 6) of a small motion, seen in the target's frame."""
    by = adjoint(target_from_source)
    return by @ covariance @ by.T
