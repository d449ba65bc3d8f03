# SPDX-License-Identifier: Apache-2.0
"""Successive pictures that agree: the count behind both rules, and the plain one by itself."""

from __future__ import annotations

from vpr_ros.sequence_filter.motion import Move
from vpr_ros.sequence_filter.places import Places

_SIGMAS = 3.0
SAME_PLACE_STEPS = 3.0  # places within this are too near to be told apart by retrieval


class Chain:
    """Counts pictures whose place follows from the place before.

    Attributes:
        evidence: Sum of what the pictures of the chain had to say that was new; 0: no chain.
    """

    def __init__(self, places: Places) -> None:
        """Start without a chain."""
        self._places = places
        self.reset()

    def reset(self) -> None:
        """Forget the chain."""
        self.evidence = 0.0
        self._last = -1

    @property
    def count(self) -> int:
        """Whole pictures' worth of new evidence."""
        return int(self.evidence + 1e-9)

    def extend(self, row: int, move: Move, weight: float) -> None:
        """Add a picture to the chain, or begin a new one with it.

        Args:
            row: Its place.
            move: How far the camera may have come since the picture before.
            weight: 0..1, how far the picture is new.
        """
        follows = self._last >= 0 and self._follows(row, move)
        self.evidence = self.evidence + weight if follows else weight
        self._last = row

    def _follows(self, row: int, move: Move) -> bool:
        steps, _ = self._places.apart(self._last, row)
        return steps <= move.steps + _SIGMAS * move.sigma + SAME_PLACE_STEPS
