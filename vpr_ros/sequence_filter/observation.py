# SPDX-License-Identifier: Apache-2.0
"""Observation model: from similarities to likelihoods.

Xu, Sünderhauf and Milford, "Probabilistic Visual Place Recognition for Hierarchical Localization",
RA-L 2021: the likelihood of a place falls as exp(-lambda d) with the distance d of its descriptor
from the picture's, and lambda is chosen so that between the 2.5 and the 97.5 % quantile of the
distances the likelihood falls by a given ratio. They calibrate on the first picture; here every
picture is calibrated for itself, so that light which dulls all similarities costs no certainty.

The off-map state (Xu, Fischer, Sünderhauf and Milford, "Probabilistic Appearance-Invariant
Topometric Localization with New Place Awareness", RA-L 2021) is as likely as a place that looks
exactly as much like the picture as the model's recorded threshold says, less `off_map_relief`
spreads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vpr_ros.sequence_filter.config import SequenceFilterConfig

_SAMPLE = 4096  # places that the quantiles and the novelty are taken from
_FEW = 20  # below this many places quantiles mean nothing
_STANDING = 0.2  # of the novelty: less is the noise of a camera that stands
_MIN_SPREAD = 0.05  # of distances; pictures of nothing at all
# Where the picture's own cannot be had: the median over the 1,259 pictures of ie_tower, each held
# against all others with the shipped model, is 0.171; over 953 views of gsv_cambridge, 0.175.
TYPICAL_SPREAD = 0.17


@dataclass(frozen=True)
class Evidence:
    """What one picture says, before it is weighted.

    Attributes:
        rows: (K,) int64, the places whose similarity is known; None: all N.
        log_ratio: (K,) or (N,) float64, log likelihood of each against off the map.
        others: The same for every place not in `rows`; NaN if there are none.
        weight: 0..1, how far the picture is new.
    """

    rows: np.ndarray | None
    log_ratio: np.ndarray
    others: float
    weight: float

    def everywhere(self, num_places: int) -> np.ndarray:
        """Return (N,) float64, the log likelihood of every place against off the map."""
        if self.rows is None:
            return self.log_ratio
        log_all = np.full(num_places, self.others)
        log_all[self.rows] = self.log_ratio
        return log_all


class Observation:
    """Turns the similarities of successive pictures into evidence."""

    def __init__(self, config: SequenceFilterConfig, threshold: float) -> None:
        """Set the threshold: cosine similarity, of the model or the user."""
        self._config = config
        self._threshold_distance = float(_distance(np.array(threshold)))
        self._reference: np.ndarray | None = None
        self._reference_rows: np.ndarray | None = None

    def reset(self) -> None:
        """Forget the pictures before."""
        self._reference = None

    def evidence(
        self,
        similarities: np.ndarray,
        rows: np.ndarray | None,
        num_places: int,
        *,
        late: bool = False,
    ) -> Evidence:
        """Weigh one picture.

        Args:
            similarities: (N,) of all places, or (K,) of `rows`; cosine.
            rows: (K,) int64; None: all places.
            num_places: N.
            late: Whether the pictures before were taken after it: then nothing in it is new.
        """
        distances = _distance(similarities)
        spread = self._spread(distances, whole=rows is None)
        closer = (self._threshold_distance - distances) / spread
        log_ratio = math.log(self._config.likelihood_ratio) * (
            closer + self._config.off_map_relief
        )
        unknown = rows is not None and len(rows) < num_places
        return Evidence(
            rows=rows,
            log_ratio=log_ratio,
            others=float(log_ratio.min()) if unknown else math.nan,
            weight=0.0 if late else self._weight(similarities, rows),
        )

    def _spread(self, distances: np.ndarray, *, whole: bool) -> float:
        """Return the distance between the 2.5 and the 97.5 % quantile of the distances."""
        if not whole or len(distances) < _FEW:
            return TYPICAL_SPREAD
        sample = distances[:: math.ceil(len(distances) / _SAMPLE)]
        near, far = np.quantile(sample, [0.025, 0.975])
        return max(float(far - near), _MIN_SPREAD)

    def _weight(self, similarities: np.ndarray, rows: np.ndarray | None) -> float:
        """Return how much of this picture is new evidence, 0..1.

        What changed since the last picture that counted: many pictures on the way from one view to
        the next weigh together as much as a few, and a camera that stands still adds nothing,
        however long, because changes as small as noise are not added up.
        """
        if self._config.novelty == 0:
            return 1.0
        weight = min(1.0, self._change(similarities, rows) / self._config.novelty)
        if weight < _STANDING:
            return 0.0
        self._reference, self._reference_rows = similarities.copy(), rows
        return weight

    def _change(self, similarities: np.ndarray, rows: np.ndarray | None) -> float:
        """Return the rms change against the reference, relative to the spread; inf: unknown."""
        if self._reference is None:
            return math.inf
        before, now = self._reference, similarities
        if rows is not None and self._reference_rows is not None:
            _, then_at, now_at = np.intersect1d(
                self._reference_rows, rows, assume_unique=True, return_indices=True
            )
            if 2 * len(now_at) < len(rows):
                return math.inf  # mostly other places: another view
            before, now = before[then_at], now[now_at]
        elif (rows is None) != (self._reference_rows is None):
            return math.inf
        n = min(len(before), len(now))  # a growing map appends
        if n == 0:
            return math.inf
        stride = math.ceil(n / _SAMPLE)
        before, now = before[:n:stride], now[:n:stride]
        spread = float(now.std())
        change = float(np.sqrt(np.mean((now - before) ** 2)))
        return change / spread if spread > 0 else (math.inf if change > 0 else 0.0)


def _distance(similarities: np.ndarray) -> np.ndarray:
    """Return the distances of unit vectors from their cosine similarities."""
    return np.sqrt(np.maximum(2.0 - 2.0 * np.asarray(similarities, np.float64), 0.0))
