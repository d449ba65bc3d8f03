# SPDX-License-Identifier: Apache-2.0
"""The numbers of a run, each computed from its `Outcomes`, and how sure they are.

Definitions, stated once:

* asked: judged pictures that were answered; judged by poses, those alone that the map has a place
  of. Otherwise one without counts as missed (the protocol of MixVPR and gsv-cities).
* recall@K: share of the asked with a right place among the K most similar matches.
* accepted: not rejected by the recognizer; at a stage: what got at least so far (`retrieved`: the
  most similar match reaches the threshold, whatever later stages said).
* precision: share of the accepted and judged whose answer is right: the first match, which
  verification may have chosen; of `retrieved`, the most similar one.
* recall: accepted and right, divided by the answered pictures whose place is in the map.
* fix: an accepted answer that is not known to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from vpr_ros.evaluation.metrics import PrecisionRecall, precision_recall
from vpr_ros.evaluation.outcomes import Outcomes
from vpr_ros.poses import NS_PER_S
from vpr_ros.recognizer import Status

RECALL_AT = (1, 5, 10, 20)
RETRIEVED = 'retrieved'
_LATER_STAGES = {'consistent': Status.CONSISTENT, 'verified': Status.VERIFIED}
_CONFIDENCE = 0.95
_RESAMPLES = 1000
_SEGMENTS = 30
_LEAST_SEGMENTS = 10
_LEAST_PICTURES = 3  # in a segment


@dataclass(frozen=True)
class Stage:
    """How good the answers are that got as far as a stage.

    Attributes:
        name: `retrieved`, `consistent` or `verified`.
        accepted: How many judged answers got so far.
        right: How many of them are right.
        precision: Fraction; NaN if none got so far.
        recall: Fraction of the mapped; NaN if there are none.
        curve: Over the thresholds of the score: similarity, or where there is one, probability.
    """

    name: str
    accepted: int
    right: int
    precision: float
    recall: float
    curve: PrecisionRecall


def stages(outcomes: Outcomes, threshold: float) -> dict[str, Stage]:
    """Judge the run at every stage that any answer reached; `retrieved` is always one.

    Args:
        outcomes: The run.
        threshold: Cosine similarity from which retrieval accepts.
    """
    judged = outcomes.take(np.flatnonzero(outcomes.judged & outcomes.answered))
    num_mapped = int(judged.mapped.sum())
    found = {}
    everything = np.ones(len(judged), bool)
    accepted = judged.similarity >= threshold  # NaN: no match, not accepted
    found[RETRIEVED] = _stage(
        RETRIEVED, judged.rank == 1, everything, accepted, judged.similarity, num_mapped
    )
    for name, least in _LATER_STAGES.items():
        reached = judged.accepted & (judged.status >= least)
        if (outcomes.accepted & (outcomes.status >= least)).any():
            sure = np.where(np.isfinite(judged.probability), judged.probability, judged.similarity)
            found[name] = _stage(name, judged.right, reached, reached, sure, num_mapped)
    return found


def _stage(
    name: str,
    is_right: np.ndarray,
    swept: np.ndarray,
    accepted: np.ndarray,
    score: np.ndarray,
    num_mapped: int,
) -> Stage:
    swept = swept & np.isfinite(score)
    right = int((accepted & is_right).sum())
    num_accepted = int(accepted.sum())
    return Stage(
        name=name,
        accepted=num_accepted,
        right=right,
        precision=right / num_accepted if num_accepted else np.nan,
        recall=right / num_mapped if num_mapped else np.nan,
        curve=precision_recall(score[swept], is_right[swept], num_mapped),
    )


def recall_at(outcomes: Outcomes, *, only_mapped: bool) -> dict[int, float]:
    """Return K to recall@K, fraction; NaN where no picture is asked.

    Args:
        outcomes: The run.
        only_mapped: Ask only pictures whose place is in the map.
    """
    asked = outcomes.answered & (outcomes.mapped if only_mapped else outcomes.judged)
    rank = outcomes.rank[asked]
    return {
        k: float(((rank > 0) & (rank <= k)).mean()) if len(rank) else np.nan for k in RECALL_AT
    }


@dataclass(frozen=True)
class Coverage:
    """How often and how soon there is a fix.

    Attributes:
        share: Of all pictures, fraction.
        first_fix: Pictures until the first, itself not counted; NaN: never.
        first_fix_s: The same in seconds.
        longest_gap: Most successive pictures without one.
        longest_gap_s: Longest time without one, from the run's start or to its end too.
        longest_gap_m: Longest way without one, metres, where the truth tells the way.
    """

    share: float
    first_fix: float
    first_fix_s: float
    longest_gap: int
    longest_gap_s: float
    longest_gap_m: float


def coverage(outcomes: Outcomes, positions: np.ndarray | None, *, has_times: bool) -> Coverage:
    """Measure fixes along the run.

    Args:
        outcomes: The run, of one picture at least.
        positions: (Q, 3) where the pictures were taken, metres; None: not known.
        has_times: Whether stamps are times.
    """
    fix = outcomes.accepted & (~outcomes.judged | outcomes.right)
    rows = np.flatnonzero(fix)
    seconds = (outcomes.stamp_ns - outcomes.stamp_ns[0]) / NS_PER_S
    way = _way(positions, len(outcomes))
    edges = np.concatenate([[0], rows, [len(outcomes) - 1]])  # of the stretches in between
    without = np.diff(np.concatenate([[-1], rows, [len(outcomes)]])) - 1
    first = int(rows[0]) if len(rows) else None
    return Coverage(
        share=float(fix.mean()),
        first_fix=np.nan if first is None else first,
        first_fix_s=np.nan if first is None or not has_times else float(seconds[first]),
        longest_gap=int(without.max()),
        longest_gap_s=float(np.diff(seconds[edges]).max()) if has_times else np.nan,
        longest_gap_m=float(np.diff(way[edges]).max()),
    )


def _way(positions: np.ndarray | None, num: int) -> np.ndarray:
    """Return the way behind each picture, (Q,) metres; a picture without a position adds none."""
    if positions is None:
        return np.full(num, np.nan)
    known = np.flatnonzero(np.isfinite(positions).all(axis=1))
    if not len(known):
        return np.full(num, np.nan)
    way = np.zeros(num)
    way[known[1:]] = np.linalg.norm(np.diff(positions[known], axis=0), axis=1)
    return np.cumsum(way)


def numbers(
    outcomes: Outcomes,
    *,
    threshold: float,
    only_mapped: bool,
    positions: np.ndarray | None = None,
    has_times: bool = True,
) -> dict[str, float]:
    """Return every number of a run by its name; fractions unless the name says a unit.

    Args:
        outcomes: The run.
        threshold: Cosine similarity from which retrieval accepts.
        only_mapped: Ask recall@K only of pictures whose place is in the map.
        positions: (Q, 3) where the pictures were taken, metres; None: not known.
        has_times: Whether stamps are times.
    """
    found = {
        f'recall@{k}': value for k, value in recall_at(outcomes, only_mapped=only_mapped).items()
    }
    for name, stage in stages(outcomes, threshold).items():
        prefix = '' if name == RETRIEVED else f'{name}.'
        found |= {f'{prefix}{key}': value for key, value in _stage_numbers(stage).items()}
    found |= published_numbers(outcomes)
    covered = coverage(outcomes, positions, has_times=has_times)
    found |= {
        'coverage': covered.share,
        'dropped': float((~outcomes.answered).mean()),
        'first_fix_pictures': covered.first_fix,
        'first_fix_s': covered.first_fix_s,
        'longest_gap_pictures': covered.longest_gap,
        'longest_gap_s': covered.longest_gap_s,
        'longest_gap_m': covered.longest_gap_m,
    }
    found |= error_numbers('position_error_m', outcomes.position_error_m)
    found |= error_numbers('angle_error_deg', outcomes.angle_error_deg)
    return found


def number_names() -> list[str]:
    """Return the names that every run has; those of later stages have the stage before them."""
    nothing, unknown = np.zeros(1), np.full(1, np.nan)
    nobody = Outcomes(
        stamp_ns=nothing.astype(np.int64),
        status=nothing.astype(np.int8),
        judged=nothing.astype(bool),
        mapped=nothing.astype(bool),
        right=nothing.astype(bool),
        rank=nothing.astype(np.int32),
        similarity=unknown,
        probability=unknown,
        position_error_m=unknown,
        angle_error_deg=unknown,
        latency_s=unknown,
    )
    return list(numbers(nobody, threshold=0.0, only_mapped=False))


def _stage_numbers(stage: Stage) -> dict[str, float]:
    undefined = np.isnan(stage.recall)  # no answered picture shows a mapped place
    found = {
        'average_precision': np.nan if undefined else stage.curve.average_precision,
        'precision_at_threshold': stage.precision,
        'recall_at_threshold': stage.recall,
    }
    for percent in (100, 99):
        recall, threshold = stage.curve.best_recall(percent / 100)
        found[f'recall_at_{percent}_precision'] = np.nan if undefined else recall
        found[f'threshold_at_{percent}_precision'] = threshold
    return found


def published_numbers(outcomes: Outcomes) -> dict[str, float]:
    """Precision and recall of what is published as accepted, after all stages."""
    answered = outcomes.answered & outcomes.judged
    accepted = answered & outcomes.accepted
    right = int((accepted & outcomes.right).sum())
    mapped = int((answered & outcomes.mapped).sum())
    return {
        'precision': right / int(accepted.sum()) if accepted.any() else np.nan,
        'recall': right / mapped if mapped else np.nan,
    }


def error_numbers(name: str, errors: np.ndarray) -> dict[str, float]:
    """Summarise errors as evo does; NaN: unknown, left out."""
    known = errors[np.isfinite(errors)]
    if not len(known):
        return {f'{name}.{key}': np.nan for key in ('rmse', 'median', 'p95', 'max')}
    return {
        f'{name}.rmse': float(np.sqrt(np.mean(known**2))),
        f'{name}.median': float(np.median(known)),
        f'{name}.p95': float(np.percentile(known, 95)),
        f'{name}.max': float(known.max()),
    }


def segments(num: int) -> list[np.ndarray]:
    """Cut a run of `num` pictures into successive segments of about equal length.

    Successive pictures succeed and fail together, so that they are no independent trials; the
    segments nearly are. A run too short for enough of them has none.
    """
    count = min(_SEGMENTS, num // _LEAST_PICTURES)
    return np.array_split(np.arange(num), count) if count >= _LEAST_SEGMENTS else []


def resamples(num: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw runs from the segments of a run, with replacement (block bootstrap, Künsch 1989).

    Args:
        num: Pictures in the run.
        seed: Of the draw.

    Yields:
        The rows of the run that a resample is made of; none for a run that is too short.
    """
    rng = np.random.default_rng(seed)
    parts = segments(num)
    for _ in range(_RESAMPLES if parts else 0):
        draw = rng.integers(len(parts), size=len(parts))
        yield np.concatenate([parts[part] for part in draw])


INTERVALS_OF = (
    *(f'recall@{k}' for k in RECALL_AT),
    'average_precision',
    'precision',
    'recall',
    'coverage',
)  # recall at 100 % hangs on one picture, which a third of the resamples lack: no bootstrap of it


def intervals(
    outcomes: Outcomes, *, threshold: float, only_mapped: bool
) -> dict[str, tuple[float, float]]:
    """Return a 95 % confidence interval for each of `INTERVALS_OF`, by bootstrap over segments.

    Where a number is undefined in a resample (nothing accepted), that resample is left out. NaN
    where the run is too short, or where all resamples agree: that is no certainty.
    """
    drawn = [
        numbers(outcomes.take(rows), threshold=threshold, only_mapped=only_mapped, has_times=False)
        for rows in resamples(len(outcomes))
    ]
    found = {name: interval([draw[name] for draw in drawn]) for name in INTERVALS_OF}
    return {name: ends if ends[0] < ends[1] else (np.nan, np.nan) for name, ends in found.items()}


def interval(values: list[float]) -> tuple[float, float]:
    """Return the central 95 % of some values; NaN where none is known."""
    known = np.array(values)[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(known, (tail, 100 - tail))
    return float(low), float(high)


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the same with None for NaN, which JSON does not have."""
    return {name: float(v) if np.isfinite(v) else None for name, v in values.items()}
