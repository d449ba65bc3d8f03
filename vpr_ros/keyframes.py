# SPDX-License-Identifier: Apache-2.0
"""Which pictures become places."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from vpr_ros.poses import rotation_angle


class Selector(Protocol):
    """Chooses the pictures that become places."""

    def wants(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> bool:
        """Tell whether a picture taken there would be a new place.

        Args:
            position: (3,) metres; NaN: unknown.
            orientation_xyzw: (4,) unit quaternion; NaN: unknown.
        """
        ...

    def remember(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> None:
        """Make this the last place."""
        ...


class KeyframeSelector:
    """Wants a picture when the camera moved or turned enough since the last place."""

    def __init__(self, *, min_distance_m: float, min_angle_deg: float) -> None:
        """Set the two limits; reaching either is enough."""
        self._min_distance_m = min_distance_m
        self._min_angle_rad = math.radians(min_angle_deg)
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def wants(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> bool:
        """Tell whether either limit is reached; without orientations only distance counts."""
        if self._last is None:
            return True
        last_position, last_orientation = self._last
        if np.linalg.norm(position - last_position) >= self._min_distance_m:
            return True
        return rotation_angle(orientation_xyzw, last_orientation) >= self._min_angle_rad

    def remember(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> None:
        """Make this the last place."""
        self._last = (position, orientation_xyzw)


class EverySelector:
    """Wants every picture: for sources without poses."""

    def wants(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> bool:
        """Accept."""
        return True

    def remember(self, position: np.ndarray, orientation_xyzw: np.ndarray) -> None:
        """Nothing depends on the last place."""
