# SPDX-License-Identifier: Apache-2.0
"""Roads as lines with rounded corners, and the poses of a vehicle that drives along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_STEP_M = 0.05  # of the dense line that a route is sampled from


@dataclass(frozen=True)
class Drive:
    """Camera poses along a drive: x forward, y left, z up, in the map frame."""

    positions: np.ndarray  # (N, 3) metres
    yaws: np.ndarray  # (N,) radians, counter-clockwise from x
    driven_m: np.ndarray  # (N,) metres since the start

    def __len__(self) -> int:
        return len(self.yaws)

    @property
    def orientations_xyzw(self) -> np.ndarray:
        """Unit quaternions (N, 4)."""
        zeros = np.zeros_like(self.yaws)
        return np.column_stack([zeros, zeros, np.sin(self.yaws / 2), np.cos(self.yaws / 2)])


def _rounded_corner(
    before: np.ndarray, corner: np.ndarray, after: np.ndarray, radius: float
) -> np.ndarray:
    """Points of the arc that replaces a right-angled corner."""
    into = (corner - before) / np.linalg.norm(corner - before)
    out = (after - corner) / np.linalg.norm(after - corner)
    centre = corner - into * radius + out * radius
    angles = np.linspace(0, np.pi / 2, max(3, int(radius / _STEP_M)))[:, None]
    return centre - out * radius * np.cos(angles) + into * radius * np.sin(angles)


def rounded_line(corners: Sequence[tuple[float, float]], *, radius: float) -> np.ndarray:
    """A dense line (M, 2) through right-angled `corners`, each rounded with `radius` metres."""
    points = np.asarray(corners, float)
    pieces = [points[:1]]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        pieces.append(_rounded_corner(before, corner, after, radius))
    pieces.append(points[-1:])
    coarse = np.concatenate(pieces)
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(coarse, axis=0), axis=1))]
    even = np.arange(0, lengths[-1], _STEP_M)
    return np.column_stack([np.interp(even, lengths, coarse[:, axis]) for axis in range(2)])


def drive_along(
    line: np.ndarray, *, spacing_m: float, left_m: float, sway_m: float, camera_height_m: float
) -> Drive:
    """Poses every `spacing_m` along a dense line.

    The vehicle keeps `left_m` to the left of the line (negative: to the right) and sways by
    `sway_m` more, slowly, to both sides.
    """
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    tangents = np.gradient(line, axis=0)
    normals = np.column_stack([-tangents[:, 1], tangents[:, 0]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offset = left_m + sway_m * np.sin(2 * np.pi * along / 47.0)
    path = line + offset[:, None] * normals
    driven = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    stops = np.arange(0, driven[-1], spacing_m)
    x, y = (np.interp(stops, driven, path[:, axis]) for axis in range(2))
    direction = np.gradient(path, axis=0)
    yaw = np.interp(stops, driven, np.unwrap(np.arctan2(direction[:, 1], direction[:, 0])))
    return Drive(np.column_stack([x, y, np.full_like(x, camera_height_m)]), yaw, stops)
