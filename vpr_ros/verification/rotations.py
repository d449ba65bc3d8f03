# SPDX-License-Identifier: Apache-2.0
"""Rotations of single cameras; OpenCV's Rodrigues costs a tenth of scipy's Rotation here."""

from __future__ import annotations

import cv2
import numpy as np


def rotation_of(rotvec: np.ndarray) -> np.ndarray:
    """Return the matrix (3, 3) of a rotation vector (3,), radians."""
    return cv2.Rodrigues(np.asarray(rotvec, np.float64).reshape(3, 1))[0]


def rotvec_of(rotation: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,), radians, of a matrix (3, 3)."""
    return cv2.Rodrigues(np.asarray(rotation, np.float64))[0].ravel()


def angle_of(rotation: np.ndarray) -> float:
    """Return the angle of a rotation (3, 3), radians, 0 to pi."""
    return float(np.linalg.norm(rotvec_of(rotation)))


def cross_matrix(vectors: np.ndarray) -> np.ndarray:
    """Return (..., 3, 3) matrices that multiply as the cross product with vectors (..., 3)."""
    vectors = np.asarray(vectors, np.float64)
    matrices = np.zeros((*vectors.shape, 3))
    matrices[..., 0, 1], matrices[..., 0, 2] = -vectors[..., 2], vectors[..., 1]
    matrices[..., 1, 0], matrices[..., 1, 2] = vectors[..., 2], -vectors[..., 0]
    matrices[..., 2, 0], matrices[..., 2, 1] = -vectors[..., 1], vectors[..., 0]
    return matrices


def aligning_rotation(targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) that best turns `sources` (N, 3) to `targets` (Kabsch 1976)."""
    left, _, right = np.linalg.svd(targets.T @ sources)
    handed = np.diag([1.0, 1.0, np.linalg.det(left @ right)])
    return left @ handed @ right
