# SPDX-License-Identifier: Apache-2.0
"""What a live run is worth: right and wrong closures, dropped pictures, latency.

Definitions, printed with the numbers: a map place is true for a picture if it lies within so many
metres and degrees of where the picture was taken (or, for folders, within so many pictures). A
closure is accepted if the node did not reject it. Precision: share of the accepted closures whose
best match is true; those given where the map has no true place are in it, and wrong. Recall: share
of the processed pictures with a true place that were accepted with a true best match. A picture
taken nobody knows where is in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.metrics import recall_at_k
from vpr_ros.latency import Latency, latency_of
from vpr_ros.live.counts import Counts
from vpr_ros.recognizer import Recognition, Status


class Verdict(Enum):
    """What an answer turned out to be."""

    RIGHT = 'right'  # accepted, and the best match is true
    WRONG = 'wrong'  # accepted, and it is not
    MISSED = 'missed'  # rejected although there is a true place
    UNKNOWN = 'unknown place'  # rejected, and rightly: the map does not have it
    UNJUDGED = 'no truth'


@dataclass(frozen=True)
class Score:
    """A scored run; fractions, NaN where nothing could be counted.

    Attributes:
        counts: Pictures on their way.
        pictures: Numbers of the processed pictures.
        recognitions: Of these, one each.
        verdicts: Likewise.
        num_places: Processed pictures that have a true place.
        accepted: Accepted closures.
        precision: See the module.
        recall: See the module.
        recall_at_1: Share of the processed pictures with a true place whose best match is true,
            whatever its similarity.
        latency: From DDS to the answer.
        max_age_s: Age of the oldest picture that was answered.
    """

    counts: Counts
    pictures: tuple[int, ...]
    recognitions: tuple[Recognition, ...]
    verdicts: tuple[Verdict, ...]
    num_places: int
    accepted: int
    precision: float
    recall: float
    recall_at_1: float
    latency: Latency
    max_age_s: float


def verdict(accepted: bool, best_row: int, true_rows: np.ndarray | None) -> Verdict:
    """Judge one answer; `best_row` is -1 without a match, `true_rows` None without truth."""
    if true_rows is None:
        return Verdict.UNJUDGED
    if accepted:
        return Verdict.RIGHT if best_row in true_rows else Verdict.WRONG
    return Verdict.MISSED if len(true_rows) else Verdict.UNKNOWN


def score(
    answers: Sequence[Answer],
    positives: Sequence[np.ndarray | None] | None,
    counts: Counts,
    *,
    max_age_s: float,
) -> Score:
    """Score the answers.

    Args:
        answers: One for every picture that was sent.
        positives: True map rows of EVERY picture of the source, by its number, None for one whose
            place is unknown; None: no truth at all.
        counts: Pictures on their way.
        max_age_s: Age of the oldest picture that was answered, seconds.
    """
    processed = [(a.index, a.recognition) for a in answers if a.recognition is not None]
    recognitions = tuple(recognition for _, recognition in processed)
    rows = [r.matches[0].row if r.matches else -1 for r in recognitions]
    accepted = [r.status is not Status.REJECTED for r in recognitions]
    truth = [None if positives is None else positives[index] for index, _ in processed]
    verdicts = tuple(map(verdict, accepted, rows, truth))
    mapped = {n: true for n, true in enumerate(truth) if true is not None and len(true)}
    right = verdicts.count(Verdict.RIGHT)
    judged = right + verdicts.count(Verdict.WRONG)
    recall_at_1 = float('nan')
    if mapped:
        best = np.array(rows)[list(mapped), None]
        recall_at_1 = recall_at_k(best, list(mapped.values()), (1,))[1]
    return Score(
        counts=counts,
        pictures=tuple(index for index, _ in processed),
        recognitions=recognitions,
        verdicts=verdicts,
        num_places=len(mapped),
        accepted=sum(accepted),
        precision=right / judged if judged else float('nan'),
        recall=right / len(mapped) if mapped else float('nan'),
        recall_at_1=recall_at_1,
        latency=latency_of([a.latency_s for a in answers if a.recognition is not None]),
        max_age_s=max_age_s,
    )
