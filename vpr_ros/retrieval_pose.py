# SPDX-License-Identifier: Apache-2.0
"""What retrieval alone knows about the pose: near that place, and how surely.

A pose is never invented: the estimate is the matched place's pose, and its covariance says how
far the camera may be from it. Only verified geometry may narrow it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vpr_ros.place_map import Match, PlaceMap

UNKNOWN_RECALL = 0.5  # a model without a measured recall is trusted no further than a coin
_NEAR_PLACES = 2.0  # the field counts a match right within two places
_NEAR_ANGLE_RAD = math.radians(20.0)  # views of one place in the training data agree within this
_ANY_ANGLE_RAD = math.pi / math.sqrt(3)  # standard deviation of a uniform heading
_MIN_SPACING_M = 0.05  # a standing camera: places at one spot are still not exact


@dataclass(frozen=True)
class PoseEstimate:
    """A pose in the map's frame.

    Attributes:
        position: (3,) float64, metres.
        orientation_xyzw: (4,) float64, unit quaternion.
        covariance: (6, 6) float64, order x y z [m^2], rotation about x y z [rad^2]; never zero.
    """

    position: np.ndarray
    orientation_xyzw: np.ndarray
    covariance: np.ndarray


def retrieval_covariance(place_map: PlaceMap, recall_at_1: float | None) -> np.ndarray:
    """Covariance of "the camera is at the matched place".

    A mixture of two cases: right with probability `recall_at_1`, then within two places and
    20 degrees; wrong otherwise, then anywhere on the map with any heading.

    Args:
        place_map: A map with poses.
        recall_at_1: Measured recall@1 of the model, fraction; None: unknown.

    Returns:
        (6, 6) float64, diagonal, metres^2 and radians^2.
    """
    recall = UNKNOWN_RECALL if recall_at_1 is None else recall_at_1
    positions = place_map.places['position']
    positions = positions[np.isfinite(positions).all(axis=1)]  # a map may know some poses only
    near = _NEAR_PLACES * max(np.nan_to_num(place_map.spacing_m), _MIN_SPACING_M)
    spread = math.sqrt(np.var(positions, axis=0).sum()) if len(positions) else 0.0
    position = recall * near**2 + (1 - recall) * max(spread, near) ** 2
    rotation = recall * _NEAR_ANGLE_RAD**2 + (1 - recall) * _ANY_ANGLE_RAD**2
    return np.diag([position] * 3 + [rotation] * 3)


def pose_of_match(match: Match, covariance: np.ndarray) -> PoseEstimate | None:
    """Return the matched place's pose with `covariance`, or None where the map has no position.

    A map of positions alone (GNSS) gives the identity as orientation, with the variance of one
    that may be any.
    """
    if not np.isfinite(match.position).all():
        return None
    if np.isfinite(match.orientation_xyzw).all():
        return PoseEstimate(match.position, match.orientation_xyzw, covariance)
    covariance = covariance.copy()
    covariance[3:, 3:] = _ANY_ANGLE_RAD**2 * np.eye(3)
    return PoseEstimate(match.position, np.array([0.0, 0.0, 0.0, 1.0]), covariance)
