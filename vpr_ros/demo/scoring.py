# SPDX-License-Identifier: Apache-2.0
"""What the demo says of a live run: right and wrong closures, dropped pictures, latency.

Judged as every run is (`evaluation.outcomes`, `evaluation.scores`), over what was answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.outcomes import Verdict, judge
from vpr_ros.evaluation.scores import Stage, published_numbers, recall_at, stages
from vpr_ros.evaluation.truth import Truth
from vpr_ros.latency import Latency, latency_of
from vpr_ros.live.counts import Counts
from vpr_ros.recognizer import Recognition


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
        precision: Of the accepted and judged, those whose answer is true.
        recall: Of the processed with a true place, those accepted with a true answer.
        recall_at_1: Share of the processed pictures with a true place whose best match is true,
            whatever its similarity.
        stages: By name: how good the answers are that got as far as a stage.
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
    stages: Mapping[str, Stage]
    latency: Latency
    max_age_s: float


def score(
    answers: Sequence[Answer],
    positives: Sequence[np.ndarray | None] | None,
    counts: Counts,
    *,
    threshold: float,
    max_age_s: float,
) -> Score:
    """Score the answers.

    Args:
        answers: One for every picture that was sent.
        positives: True map rows of EVERY picture of the source, by its number, None for one whose
            place is unknown; None: no truth at all.
        counts: Pictures on their way.
        threshold: Cosine similarity from which retrieval accepts.
        max_age_s: Age of the oldest picture that was answered, seconds.
    """
    processed = [answer for answer in answers if answer.recognition is not None]
    known = [None if positives is None else positives[answer.index] for answer in processed]
    outcomes = judge(processed, Truth('', tuple(known)))
    published = published_numbers(outcomes)
    return Score(
        counts=counts,
        pictures=tuple(answer.index for answer in processed),
        recognitions=tuple(a.recognition for a in processed if a.recognition is not None),
        verdicts=tuple(outcomes.verdicts()),
        num_places=int(outcomes.mapped.sum()),
        accepted=int(outcomes.accepted.sum()),
        precision=published['precision'],
        recall=published['recall'],
        recall_at_1=recall_at(outcomes, only_mapped=True)[1],
        stages=stages(outcomes, threshold),
        latency=latency_of(outcomes.latency_s.tolist()),
        max_age_s=max_age_s,
    )
