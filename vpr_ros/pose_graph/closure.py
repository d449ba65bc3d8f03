# SPDX-License-Identifier: Apache-2.0
"""A loop closure as the pose graph takes it, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Kind(str, Enum):
    """What a closure knows of the way from the matched picture to the query."""

    METRIC = 'metric'  # rotation and translation in metres
    DIRECTION = 'direction'  # rotation and direction of the translation, not its length
    PLACE = 'place'  # only that both were taken near each other


@dataclass(frozen=True, eq=False)
class Closure:
    """Two pictures of one place.

    Attributes:
        query_stamp_ns: When the query was taken.
        match_stamp_ns: When the matched picture was taken, on the same clock as the odometry.
        kind: What is known of the way between them.
        match_from_query: (4, 4) pose of the query camera in the frame of the matched camera;
            metres, for DIRECTION a translation of length 1; ignored for PLACE.
        covariance: (6, 6) of that pose as in geometry_msgs/PoseWithCovariance: x y z, then
            rotations about the fixed axes x y z; m and rad, for DIRECTION of the unit vector;
            ignored for PLACE.
        base_from_match: (4, 4) pose of the camera that saw the place, in the body that odometry
            places.
        base_from_query: Likewise of the camera that took the query.
    """

    query_stamp_ns: int
    match_stamp_ns: int
    kind: Kind
    match_from_query: np.ndarray
    covariance: np.ndarray
    base_from_match: np.ndarray = field(default_factory=lambda: np.eye(4))
    base_from_query: np.ndarray = field(default_factory=lambda: np.eye(4))

    def fault(self) -> str:
        """Say why it cannot be used at all, '' if it can."""
        if self.kind is Kind.PLACE:
            return ''
        pose, covariance = self.match_from_query, self.covariance
        if pose.shape != (4, 4) or covariance.shape != (6, 6):
            return f'pose {pose.shape} and covariance {covariance.shape} are not (4, 4), (6, 6)'
        if not (np.isfinite(pose).all() and np.isfinite(covariance).all()):
            return 'its pose or covariance holds a value that is not finite'
        smallest = np.linalg.eigvalsh((covariance + covariance.T) / 2)[0]
        if smallest < -1e-9 or not np.diag(covariance).any():
            return f'its covariance is none (smallest eigenvalue {smallest:.3g}, or all zero)'
        length = float(np.linalg.norm(pose[:3, 3]))
        if self.kind is Kind.DIRECTION and abs(length - 1) > 0.01:
            return f'its direction has length {length:.3g} instead of 1'
        return ''


class Outcome(Enum):
    """What became of a closure so far."""

    WAITING = 'waiting'
    ACCEPTED = 'accepted'
    REJECTED = 'rejected'
    REDUNDANT = 'redundant'  # says what an accepted one says already


@dataclass(frozen=True, eq=False)
class Decision:
    """What became of a closure; a later one about the same closure replaces it.

    Attributes:
        closure_id: As `PoseGraph.add_closure` gave it.
        closure: The closure.
        outcome: What became of it.
        reason: 'code: sentence', '' when accepted.
        chi2: Squared Mahalanobis distance between what it says and what was expected without it;
            NaN before it was compared.
        weight: 0..1 of graduated non-convexity; NaN if that was not asked.
    """

    closure_id: int
    closure: Closure
    outcome: Outcome
    reason: str = ''
    chi2: float = float('nan')
    weight: float = float('nan')

    @property
    def code(self) -> str:
        """The reason's code, one word; '' when accepted."""
        return self.reason.partition(':')[0]

    @property
    def verdict(self) -> tuple[Outcome, str]:
        """Outcome and code: what changes when the decision does."""
        return self.outcome, self.code
