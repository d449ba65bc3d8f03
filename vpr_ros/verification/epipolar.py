# SPDX-License-Identifier: Apache-2.0
"""How far correspondences lie from an epipolar geometry, and how that changes with it."""

from __future__ import annotations

import numpy as np

_TINY_GRADIENT = 1e-18  # of the epipolar error, squared: where the epipoles lie


def sampson_distance(essential: np.ndarray, query: np.ndarray, match: np.ndarray) -> np.ndarray:
    """Return how far correspondences lie from an essential matrix, to first order (Sampson 1982).

    Args:
        essential: (3, 3), of any length: match^T essential query = 0 for what agrees.
        query: (M, 2) rays at z = 1.
        match: (M, 2) likewise.

    Returns:
        (M,) signed distances on the plane z = 1.
    """
    first, second = homogeneous(query), homogeneous(match)
    lines_match, lines_query = first @ essential.T, second @ essential
    gradient = np.sum(lines_match[:, :2] ** 2, axis=1) + np.sum(lines_query[:, :2] ** 2, axis=1)
    return np.sum(second * lines_match, axis=1) / np.sqrt(np.maximum(gradient, _TINY_GRADIENT))


def sampson_slopes(
    essential: np.ndarray, of_essential: np.ndarray, query: np.ndarray, match: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return Sampson distances and their derivatives.

    Args:
        essential: (3, 3).
        of_essential: (n, 3, 3), its derivatives by n unknowns.
        query: (M, 3) homogeneous rays.
        match: (M, 3) likewise.

    Returns:
        (M,) signed distances on the plane z = 1, and (M, n).
    """
    lines_match, lines_query = query @ essential.T, match @ essential
    residual = np.sum(match * lines_match, axis=1)
    lines_match[:, 2], lines_query[:, 2] = 0, 0  # the gradient is within the pictures
    gradient = np.sum(lines_match**2, axis=1) + np.sum(lines_query**2, axis=1)
    gradient = np.maximum(gradient, _TINY_GRADIENT)
    outer = match[:, :, np.newaxis] * query[:, np.newaxis]
    of_gradient = (
        lines_match[:, :, np.newaxis] * query[:, np.newaxis]
        + match[:, :, np.newaxis] * lines_query[:, np.newaxis]
    )
    share = (residual / gradient)[:, np.newaxis, np.newaxis]
    slopes = (outer - share * of_gradient).reshape(-1, 9) @ of_essential.reshape(-1, 9).T
    length = np.sqrt(gradient)
    return residual / length, slopes / length[:, np.newaxis]


def homogeneous(points: np.ndarray) -> np.ndarray:
    """Return (M, 3) from (M, 2) with z = 1."""
    return np.column_stack([points, np.ones(len(points))])
