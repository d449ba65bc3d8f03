# SPDX-License-Identifier: Apache-2.0
"""What both ways of holding a belief have in common: probabilities of places."""

from __future__ import annotations

import abc

import numpy as np

from vpr_ros.sequence_filter.motion import Move
from vpr_ros.sequence_filter.observation import Evidence

PRIOR_OFF_MAP = 0.5  # nothing is known: as likely on the map as off it
_UNSEEN = 1e-3  # of the belief; left out where masses are added up


class Masses(abc.ABC):
    """Probability of places and of being off the map.

    Attributes:
        rows: (M,) int64, ascending: the places held one by one.
        mass: (M,) float64, their probabilities.
        off: Probability of being off the map.
    """

    rows: np.ndarray
    mass: np.ndarray
    off: float

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget everything."""

    @abc.abstractmethod
    def predict(self, move: Move, *, come_back: float) -> None:
        """Move the belief.

        Args:
            move: How far the camera may have come.
            come_back: Probability of coming back from off the map, of a whole step.
        """

    @abc.abstractmethod
    def correct(self, evidence: Evidence) -> None:
        """Weigh the belief with what a picture says."""

    def heaviest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and masses of the likeliest places, all but a thousandth of the belief."""
        order = np.argsort(-self.mass, kind='stable')
        covered = np.cumsum(self.mass[order])
        enough = int(np.searchsorted(covered, covered[-1] - _UNSEEN)) + 1
        return self.rows[order[:enough]], self.mass[order[:enough]]

    def mass_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities of some places; those not held one by one have 0."""
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[at] == rows, self.mass[at], 0.0)
