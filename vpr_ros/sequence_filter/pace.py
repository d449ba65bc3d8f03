# SPDX-License-Identifier: Apache-2.0
"""The discrete Bayes filter over place and pace, where the motion of the camera is unknown.

Milford and Wyeth, "SeqSLAM: Visual Route-Based Navigation for Sunny Summer Days and Stormy Winter
Nights", ICRA 2012, gain most of what they gain by one assumption: over a short while a camera
passes the places of an earlier drive at a steady pace. They try a few paces for every window of
pictures. Here the pace is part of the state of the filter of `bayes`, as in the constant-velocity
model of Thrun, Burgard and Fox, "Probabilistic Robotics", 2005: a pace changes little from picture
to picture, now and then altogether, and pictures choose between paces as they do between places.
"""

from __future__ import annotations

import math

import numpy as np

from vpr_ros.sequence_filter.config import SequenceFilterConfig
from vpr_ros.sequence_filter.masses import PRIOR_OFF_MAP, Masses
from vpr_ros.sequence_filter.motion import Move
from vpr_ros.sequence_filter.observation import Evidence

MAX_CELLS = 1 << 18  # places x paces; an update touches all of them
PACE_STEP = 0.25  # places a picture, between one pace and the next
PACE_CHANGE = 0.15  # places a picture, standard deviation from picture to picture
NEW_PACE = 0.02  # probability of any other pace: a turn round, a stop, a start
PLACE_ERROR = 0.5  # places: the camera is anywhere within its place, and so is the map's
# Spreads of the descriptor distances, beyond `off_map_relief`. With the shipped model, of the
# nearest views of the same place three in four lie within 0.35 (webcams by day and night) to 0.61
# spreads (ie_tower) beyond the threshold, nine in ten within 0.82 to 1.24: at 0.5 every fourth
# right picture speaks against the map. Of consistent beliefs on made drives through ie_tower and
# gsv_cambridge 0.28 % are false at 0.5, 0.26 % at 0.75 and 0.46 % at 1.0.
MORE_RELIEF = 0.25
_SIGMAS = 3.0


def paces(prior_steps: float) -> np.ndarray:
    """Return (P,) the paces held, places a picture: either way, up to `prior_steps`."""
    fastest = int(prior_steps / PACE_STEP)
    return np.arange(-fastest, fastest + 1) * PACE_STEP


class PacedBelief(Masses):
    """Probability of every place at every pace, exact, for maps that are one row of places.

    Where cameras took turns in making the map, the places of one turn move as one.

    Attributes:
        rows: (N,) int64, all places.
        mass: (N,) float64, their probabilities, of all paces together.
        off: Probability of being off the map.
        is_blank: Whether nothing was seen yet.
    """

    def __init__(self, config: SequenceFilterConfig) -> None:
        """Start knowing nothing, with a map that has no places yet."""
        self._head_start = MORE_RELIEF * math.log(config.likelihood_ratio)
        self._paces = paces(config.prior_steps)
        apart = (self._paces[:, None] - self._paces[None]) / PACE_CHANGE
        steady = np.exp(-0.5 * apart**2)
        steady /= steady.sum(axis=0)
        self._becomes = (1.0 - NEW_PACE) * steady + NEW_PACE / len(self._paces)  # (to, from)
        self.start(np.empty(0, np.int64))

    @staticmethod
    def can_hold(num_places: int, prior_steps: float) -> bool:
        """Return whether a map is small enough."""
        return num_places * len(paces(prior_steps)) <= MAX_CELLS

    def reset(self) -> None:
        """Forget everything."""
        self.start(self._turns)

    def start(self, turns: np.ndarray) -> None:
        """Know nothing of some places.

        Args:
            turns: (N,) int64, as of `Places`.
        """
        self._turns = turns
        self._at_turn = np.bincount(turns)  # places
        shape = len(self._paces), len(self._at_turn)
        self._cells: np.ndarray = np.full(
            shape, (1.0 - PRIOR_OFF_MAP) / max(1, shape[0] * shape[1])
        )
        self.off = PRIOR_OFF_MAP
        self.is_blank = True
        self._share_out(np.ones(len(turns)))

    def _share_out(self, likelihood: np.ndarray) -> None:
        """Give each place its part of the belief in its turn, by (N,) likelihoods."""
        by_turn = self._cells.sum(axis=0) / np.bincount(self._turns, likelihood)
        self.mass = by_turn[self._turns] * likelihood
        self.rows = np.arange(len(self.mass))

    def predict(self, move: Move, *, come_back: float) -> None:
        """Move the belief, a pace if the picture shows anything new, of `move.stretch` times it.

        How much new a picture shows says how much it weighs, not how far the camera came: that is
        what the paces are for. So the step is whole, unlike that of a filter without paces.
        """
        if move.share == 0:
            return
        back = self.off * move.share * come_back
        self._cells = self._stepped(move.stretch) * (1.0 - move.share * move.leave)
        self._cells += back / self._cells.size
        self.off = max(0.0, 1.0 - float(self._cells.sum()))  # some left, or passed an end
        self._share_out(np.ones(len(self._turns)))

    def _stepped(self, stretch: float) -> np.ndarray:
        """Return the cells after a step that took `stretch` times the usual time."""
        before = self._becomes @ self._cells
        after: np.ndarray = np.zeros_like(before)
        n = before.shape[1]
        sigma = PLACE_ERROR * stretch
        for pace, come_from, arrive in zip(self._paces * stretch, before, after, strict=True):
            reach = _SIGMAS * sigma
            ways = np.arange(np.ceil(pace - reach), np.floor(pace + reach) + 1).astype(int)
            weights = np.exp(-0.5 * ((ways - pace) / sigma) ** 2)
            for way, weight in zip(ways, weights / weights.sum(), strict=True):
                if abs(way) >= n:
                    continue
                there = slice(max(0, way), n + min(0, way))
                here = slice(max(0, -way), n + min(0, -way))
                arrive[there] += weight * come_from[here]
        return after

    def correct(self, evidence: Evidence) -> None:
        """Weigh the belief with what a picture says; of every pace the same."""
        self.is_blank = False
        log_all = evidence.weight * (evidence.everywhere(len(self._turns)) + self._head_start)
        peak = max(0.0, float(log_all.max(initial=0.0)))
        likelihood = np.exp(log_all - peak)
        self._cells *= np.bincount(self._turns, likelihood) / self._at_turn
        self.off *= float(np.exp(-peak))
        total = float(self._cells.sum()) + self.off
        self._cells /= total
        self.off /= total
        self._share_out(likelihood)
