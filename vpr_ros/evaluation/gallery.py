# SPDX-License-Identifier: Apache-2.0
"""The cases of a run that are worth a look: the worst false matches, and what was missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.evaluation.figures import best_rows
from vpr_ros.evaluation.outcomes import Outcomes, Verdict
from vpr_ros.evaluation.run import Run

CASES = 6  # of each kind at most


@dataclass(frozen=True)
class Case:
    """A picture beside places.

    Attributes:
        picture: Its number in the run.
        claimed: Row of the best match; -1: none, or it is the true place.
        true: Row of a place that would have been right; -1: the map has none.
    """

    picture: int
    claimed: int
    true: int


def worst_false(run: Run, outcomes: Outcomes) -> list[Case]:
    """Return accepted and wrong ones, the most similar first, spread over the run."""
    wrong = _of(outcomes, Verdict.WRONG)
    order = wrong[np.argsort(-outcomes.similarity[wrong], kind='stable')]
    return _cases(run, outcomes, order)


def worst_missed(run: Run, outcomes: Outcomes) -> list[Case]:
    """Return rejected ones whose place is in the map, spread over the run.

    Those that also look most like another place come first, then the least similar.
    """
    missed = _of(outcomes, Verdict.MISSED)
    keys = (outcomes.similarity[missed], outcomes.right[missed])
    return _cases(run, outcomes, missed[np.lexsort(keys)])


def _of(outcomes: Outcomes, verdict: Verdict) -> np.ndarray:
    return np.flatnonzero(np.array(outcomes.verdicts()) == verdict)


def _cases(run: Run, outcomes: Outcomes, order: np.ndarray) -> list[Case]:
    best = best_rows(run)
    cases = []
    for number in _spread(order, len(outcomes)):
        true = _true_row(run, number)
        claimed = int(best[number])
        cases.append(Case(number, -1 if outcomes.right[number] else claimed, true))
    return cases


def _spread(order: np.ndarray, num_pictures: int) -> list[int]:
    """Take the first, but no two within 2 % of the run: neighbours show the same failure."""
    apart = num_pictures // 50
    chosen: list[int] = []
    for number in order.tolist():
        if len(chosen) == CASES:
            break
        if all(abs(number - other) > apart for other in chosen):
            chosen.append(number)
    return chosen


def _true_row(run: Run, number: int) -> int:
    """Return the right place that is nearest, or in the middle where positions are unknown."""
    rows = None if run.truth is None else run.truth.positives[number]
    if rows is None or not len(rows):
        return -1
    if run.truth is not None and run.truth.track is not None:
        offsets = run.place_map.places['position'][rows] - run.truth.track.positions[number]
        distances = np.linalg.norm(offsets, axis=1)
        if np.isfinite(distances).any():
            return int(rows[np.nanargmin(distances)])
    return int(rows[len(rows) // 2])
