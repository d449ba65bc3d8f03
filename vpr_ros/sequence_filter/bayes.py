# SPDX-License-Identifier: Apache-2.0
"""The discrete Bayes filter over the places of a map and one state off it.

Xu, Fischer, Sünderhauf and Milford, "Probabilistic Appearance-Invariant Topometric Localization
with New Place Awareness", RA-L 2021. Only places with a share of the belief worth naming are
held one by one; all others share the rest alike, which keeps an update at a few milliseconds for
100,000 places. A map of at most `max_active` places is exact.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.sequence_filter.masses import PRIOR_OFF_MAP, Masses
from vpr_ros.sequence_filter.motion import Move
from vpr_ros.sequence_filter.observation import Evidence
from vpr_ros.sequence_filter.places import Places

MAX_ACTIVE = 256
_MAX_EDGES = 30_000  # pairs looked at; keeps the time bounded where many places crowd
_SAMPLE = 4096  # values that a cut is taken from
_FORGET = 1e-6  # of the belief; a place with less joins the rest


class PlaceBelief(Masses):
    """Probability of every place and of being off the map.

    Attributes:
        rows: (M,) int64, ascending: the places held one by one.
        mass: (M,) float64, their probabilities.
        rest: Probability of all other places together.
        off: Probability of being off the map.
    """

    def __init__(self, places: Places, *, max_active: int = MAX_ACTIVE) -> None:
        """Start knowing nothing."""
        self._places = places
        self._max_active = max_active
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.rows: np.ndarray = np.empty(0, np.int64)
        self.mass: np.ndarray = np.empty(0)
        self.off, self.rest = PRIOR_OFF_MAP, 1.0 - PRIOR_OFF_MAP

    def take_over(self, other: Masses) -> None:
        """Believe what was held in another way, of places that are all held one by one."""
        self.rows, self.mass = other.rows, other.mass
        self.off, self.rest = other.off, 0.0
        self._prune()

    def predict(self, move: Move, *, come_back: float) -> None:
        """Move the belief over the places that lie at the distance of `move`."""
        kept, moved, left = self._moved(move)
        n = len(self._places)
        back = self.off * move.share * come_back
        leaving_rest = self.rest * move.share * move.leave
        self.off += left + leaving_rest - back
        self.rest -= leaving_rest
        self._absorb(kept, moved)
        inactive = n - len(self.rows)
        self.mass += back / n
        self.rest += back * inactive / n

    def _moved(self, move: Move) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], float]:
        """Return what stays of `mass`, rows and masses of what moves, and what leaves."""
        kept = (1.0 - move.share) * self.mass
        nothing = np.empty(0, np.int64), np.empty(0)
        if move.share == 0 or not len(self.rows):
            return kept, nothing, 0.0
        likeliest = np.argsort(-self.mass, kind='stable')
        edges = self._places.near(self.rows[likeliest], move.radius, max_edges=_MAX_EDGES)
        movers = likeliest[: int(edges.source.max(initial=-1)) + 1]
        error = move.squared_error(edges)
        least = np.full(len(movers), np.inf)
        np.minimum.at(least, edges.source, error)
        weight = np.exp(-0.5 * (error - least[edges.source]))
        total = np.bincount(edges.source, weight, minlength=len(movers))
        goes = move.share * self.mass[movers]
        stays_on_map = goes * (1.0 - move.leave) * np.exp(-0.5 * least)
        moved = (stays_on_map / np.maximum(total, 1e-300))[edges.source] * weight
        others = np.setdiff1d(likeliest, movers)  # beyond the budget: they wait where they are
        waits = move.share * self.mass[others] * (1.0 - move.leave)
        kept[others] += waits
        left = float((goes - stays_on_map).sum())
        left += float(move.share * move.leave * self.mass[others].sum())
        return kept, (edges.row, moved), left

    def _absorb(self, kept: np.ndarray, moved: tuple[np.ndarray, np.ndarray]) -> None:
        """Hold one by one what stayed and what arrived; newcomers bring their part of the rest."""
        arrived, mass = moved
        rows, where = np.unique(np.concatenate([self.rows, arrived]), return_inverse=True)
        total = np.zeros(len(rows))
        np.add.at(total, where, np.concatenate([kept, mass]))
        self._share_rest(rows, total)

    def _share_rest(self, rows: np.ndarray, mass: np.ndarray) -> None:
        """Replace the places held by more of them."""
        new = ~np.isin(rows, self.rows, assume_unique=True)
        inactive = len(self._places) - len(self.rows)
        portion = self.rest / inactive if inactive else 0.0
        mass[new] += portion
        self.rest = max(0.0, self.rest - portion * int(new.sum()))
        if len(rows) == len(self._places):
            self.rest = 0.0
        self.rows, self.mass = rows, mass

    def correct(self, evidence: Evidence) -> None:
        """Weigh the belief with what a picture says."""
        self._hold_promising(evidence)
        log_all = evidence.weight * evidence.log_ratio
        log_here = log_all[self.rows] if evidence.rows is None else self._log_here(evidence)
        peak = max(0.0, float(log_here.max(initial=0.0)))
        self.mass *= np.exp(log_here - peak)
        self.off *= float(np.exp(-peak))
        self.rest *= self._rest_likelihood(evidence, log_all, log_here, peak)
        self._normalise()
        self._prune()

    def _log_here(self, evidence: Evidence) -> np.ndarray:
        """Return (M,) weighted log likelihoods of the places held, of a few that are known."""
        assert evidence.rows is not None
        log_here = np.full(len(self.rows), evidence.others)
        _, held, given = np.intersect1d(
            self.rows, evidence.rows, assume_unique=True, return_indices=True
        )
        log_here[held] = evidence.log_ratio[given]
        return evidence.weight * log_here

    def _hold_promising(self, evidence: Evidence) -> None:
        """Hold the places that the picture favours, so that any can be found again."""
        if self.rest == 0 or evidence.weight == 0:
            return
        best = _largest(evidence.log_ratio, self._max_active)
        best = best if evidence.rows is None else evidence.rows[best]
        rows = np.union1d(self.rows, best)
        mass = np.zeros(len(rows))
        mass[np.searchsorted(rows, self.rows)] = self.mass
        self._share_rest(rows, mass)

    def _rest_likelihood(
        self, evidence: Evidence, log_all: np.ndarray, log_here: np.ndarray, peak: float
    ) -> float:
        """Return the mean likelihood of the places not held."""
        inactive = len(self._places) - len(self.rows)
        if inactive == 0 or self.rest == 0:
            return 1.0
        if evidence.rows is not None:
            return float(np.exp(evidence.weight * evidence.others - peak))
        total = float(np.exp(log_all - peak).sum()) - float(np.exp(log_here - peak).sum())
        return max(total, 0.0) / inactive

    def _normalise(self) -> None:
        total = float(self.mass.sum()) + self.rest + self.off
        self.mass /= total
        self.rest /= total
        self.off /= total

    def _prune(self) -> None:
        """Let go of the least likely places."""
        if len(self._places) <= self._max_active:
            return
        keep = self.mass >= min(_FORGET, float(self.mass.max()))
        if int(keep.sum()) > self._max_active:
            least = np.partition(self.mass, -self._max_active)[-self._max_active]
            keep &= self.mass >= least
        self.rest += float(self.mass[~keep].sum())
        self.rows, self.mass = self.rows[keep], self.mass[keep]


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Return the indices of the k largest values, in any order; a sample finds where to look."""
    n = len(values)
    if n <= k:
        return np.arange(n)
    sample = values[:: max(1, n // _SAMPLE)]
    cut = np.quantile(sample, max(0.0, 1.0 - 2.0 * k / n))
    near = np.flatnonzero(values >= cut)
    if len(near) < k:
        near = np.arange(n)
    return near[np.argpartition(values[near], -k)[-k:]]
