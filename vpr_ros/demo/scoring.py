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

from vpr_ros.evaluation.metrics import recall_at_k
from vpr_ros.latency import Latency, latency_of


@dataclass(frozen=True)
class Answer:
    """What the node said about one picture.

    Attributes:
        picture: Number of the picture in its source.
        accepted: Not rejected.
        place_ids: Matches, best first; rejected pictures have them too.
        similarity: Of the best match; NaN without one.
        latency_s: From handing the picture to DDS to receiving the answer.
        age_s: From the picture's stamp to publication of the answer, as the node says.
        reason: Why it was rejected, or ''.
    """

    picture: int
    accepted: bool
    place_ids: tuple[int, ...]
    similarity: float
    latency_s: float
    age_s: float
    reason: str = ''


@dataclass(frozen=True)
class Counts:
    """Pictures on their way: sent by the player; received, dropped and processed by the node."""

    sent: int
    received: int
    processed: int
    dropped: int


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
        verdicts: One an answer.
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


def best_rows(answers: Sequence[Answer], place_ids: np.ndarray) -> np.ndarray:
    """Map row of each answer's best match (A,), -1 without one.

    Raises:
        ValueError: A place id that is not in the map.
    """
    row_of = {int(place_id): row for row, place_id in enumerate(place_ids)}
    rows = np.full(len(answers), -1, np.int64)
    for number, answer in enumerate(answers):
        if answer.place_ids:
            if answer.place_ids[0] not in row_of:
                raise ValueError(f'place {answer.place_ids[0]} is not in the map')
            rows[number] = row_of[answer.place_ids[0]]
    return rows


def score(
    answers: Sequence[Answer],
    positives: Sequence[np.ndarray | None] | None,
    place_ids: np.ndarray,
    counts: Counts,
) -> Score:
    """Score the answers.

    Args:
        answers: In the order in which they came.
        positives: True map rows of EVERY picture of the source, by its number, None for one whose
            place is unknown; None: no truth at all.
        place_ids: (N,) ids of the map's rows.
        counts: Pictures on their way.
    """
    rows = best_rows(answers, place_ids)
    truth = [None if positives is None else positives[answer.picture] for answer in answers]
    verdicts = tuple(
        verdict(answer.accepted, int(row), true_rows)
        for answer, row, true_rows in zip(answers, rows, truth, strict=True)
    )
    mapped = {n: true for n, true in enumerate(truth) if true is not None and len(true)}
    right = verdicts.count(Verdict.RIGHT)
    judged = right + verdicts.count(Verdict.WRONG)
    recall_at_1 = float('nan')
    if mapped:
        best = rows[list(mapped), None]
        recall_at_1 = recall_at_k(best, list(mapped.values()), (1,))[1]
    return Score(
        counts=counts,
        verdicts=verdicts,
        num_places=len(mapped),
        accepted=sum(answer.accepted for answer in answers),
        precision=right / judged if judged else float('nan'),
        recall=right / len(mapped) if mapped else float('nan'),
        recall_at_1=recall_at_1,
        latency=latency_of([answer.latency_s for answer in answers]),
        max_age_s=max((answer.age_s for answer in answers), default=float('nan')),
    )
