# SPDX-License-Identifier: Apache-2.0
"""A run in words and tables: the headline, every number with its meaning, and what to set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.evaluation.outcomes import DROPPED, Outcomes, Verdict
from vpr_ros.evaluation.run import Run
from vpr_ros.evaluation.scores import RETRIEVED, Stage
from vpr_ros.latency import Latency, latency_of
from vpr_ros.recognizer import Status

Numbers = Mapping[str, float]
Intervals = Mapping[str, tuple[float, float]]

NOT_KNOWN = 'not known'
TOTAL = 'total'  # latency of a picture: live, from handing it to DDS to the answer
VERDICT_MEANINGS = {
    Verdict.RIGHT: 'accepted, and the answer is right',
    Verdict.MISSED: 'rejected, although the map has the place',
    Verdict.WRONG: 'accepted, and the answer is not right',
    Verdict.UNMAPPED: 'the map does not have the place',
    Verdict.UNJUDGED: 'it is not known which places are right',
    Verdict.DROPPED: 'never looked at',
}


def percent(fraction: float) -> str:
    """Return e.g. `83.1 %`; only exactly all is 100 %, only exactly none is 0 %."""
    if math.isnan(fraction):
        return NOT_KNOWN
    if fraction in (0, 1):
        return f'{100 * fraction:.0f} %'
    return f'{min(max(100 * fraction, 0.1), 99.9):.1f} %'


def percent_range(interval: tuple[float, float]) -> str:
    """Return e.g. `75.0 to 90.2 %`; nothing where it is not known or no resample differed."""
    low, high = interval
    if math.isnan(low) or math.isnan(high) or low == high:
        return ''
    return f'{percent(low)[:-2]} to {percent(high)}'


# --- the headline ---------------------------------------------------------------------------


def headline(
    run: Run,
    outcomes: Outcomes,
    numbers: Numbers,
    intervals: Intervals,
    stages: Mapping[str, Stage],
) -> list[str]:
    """Return the verdict on a run, a few sentences."""
    num, answered = len(outcomes), int(outcomes.answered.sum())
    if not answered:
        return [f'None of the {num} pictures was looked at: all were dropped.']
    accepted = int(outcomes.accepted.sum())
    if not (outcomes.judged & outcomes.answered).any():
        return [
            f'{accepted} of {num} pictures were accepted.',
            'Whether rightly is not known: it is not known of any picture which places are right.',
        ]
    sentences = [
        _recall_sentence(numbers, intervals),
        _operating_sentence(run, outcomes, numbers, intervals),
        *(_stage_sentence(stage) for stage in stages.values() if stage.name != RETRIEVED),
    ]
    if answered < num:
        sentences.append(f'{num - answered} of {num} pictures were dropped and never looked at.')
    return sentences


def _recall_sentence(numbers: Numbers, intervals: Intervals) -> str:
    if math.isnan(numbers['recall@1']):
        return 'No judged picture shows a place of the map.'
    return (
        f'The most similar match is right for {percent(numbers["recall@1"])} of the pictures asked'
        f'{_in_brackets(intervals, "recall@1")}.'
    )


def _operating_sentence(
    run: Run, outcomes: Outcomes, numbers: Numbers, intervals: Intervals
) -> str:
    accepted = int(outcomes.accepted.sum())
    if not accepted:
        known = outcomes.similarity[np.isfinite(outcomes.similarity)]
        best = f'; the most similar match reached {known.max():.3f}' if len(known) else ''
        return f'Nothing was accepted: the threshold in force is {run.threshold:.3f}{best}.'
    sentence = (
        f'At the threshold in force, {run.threshold:.3f}, {accepted} of {len(outcomes)} are '
        'accepted'
    )
    if not math.isnan(numbers['precision']):
        sentence += (
            f'; {percent(numbers["precision"])} of those judged are right'
            f'{_in_brackets(intervals, "precision")}'
        )
    if not math.isnan(numbers['recall']):
        sentence += (
            f'. That finds {percent(numbers["recall"])} of the answered pictures of mapped places'
            f'{_in_brackets(intervals, "recall")}'
        )
    return f'{sentence}.'


def _stage_sentence(stage: Stage) -> str:
    sentence = f'{stage.name.capitalize()}: {stage.accepted} of those judged'
    if stage.accepted:
        sentence += f', {percent(stage.precision)} of them right'
    if not math.isnan(stage.recall):
        sentence += f', which finds {percent(stage.recall)}'
    return f'{sentence}.'


def _in_brackets(intervals: Intervals, name: str) -> str:
    text = percent_range(intervals.get(name, (math.nan, math.nan)))
    return f' ({text})' if text else ''


# --- the table of numbers -------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A number as it is shown.

    Attributes:
        label: What it is called.
        value: With its unit.
        interval: The same for its 95 % interval; '': none.
        bar: Low end, value and high end as fractions of the whole; None: it is no share.
        meaning: Its definition.
    """

    label: str
    value: str
    interval: str
    bar: tuple[float, float, float] | None
    meaning: str


@dataclass(frozen=True)
class Group:
    """Rows that belong together.

    Attributes:
        title: What they tell.
        rows: Those that are known; none: see `missing`.
        missing: Why none is known.
    """

    title: str
    rows: Sequence[Row]
    missing: str


@dataclass(frozen=True)
class _Term:
    """What a number is called and means; a share of a whole unless a unit is given."""

    label: str
    meaning: str
    unit: str = '%'
    digits: int = 1


_AT_99_AND_100 = {
    name: term
    for share, wrong in ((100, 'nothing is wrong'), (99, 'at most 1 in 100 is wrong'))
    for name, term in (
        (
            f'recall_at_{share}_precision',
            _Term(f'recall at {share} % precision', f'the most of any threshold at which {wrong}'),
        ),
        (
            f'threshold_at_{share}_precision',
            _Term('… and its threshold', 'the strictest that gives it', '', 4),
        ),
    )
}
_AVERAGE_PRECISION = _Term(
    'average precision', 'precision over all thresholds, weighted by the recall gained'
)
_PRECISION = _Term('precision', 'of the accepted and judged, those whose answer is right')
_RECALL = _Term('recall', 'accepted and right, of the answered whose place is mapped')
_DECIDING = {
    'precision': _PRECISION,
    'recall': _RECALL,
    'average_precision': _AVERAGE_PRECISION,
    **_AT_99_AND_100,
}
_FIXES = {
    'coverage': _Term('coverage', 'of all pictures, those accepted and not known to be wrong'),
    'first_fix_pictures': _Term('first fix', 'pictures before it', '', 0),
    'first_fix_s': _Term('', 'from the start of the run', ' s'),
    'longest_gap_pictures': _Term('longest gap', 'pictures in a row without a fix', '', 0),
    'longest_gap_s': _Term('', 'start and end of the run included', ' s'),
    'longest_gap_m': _Term('', 'along the way', ' m'),
}
_ERRORS = {
    f'{name}.{key}': _Term(label if key == 'median' else '', meaning, unit, 2)
    for name, label, unit in (
        ('position_error_m', 'position error', ' m'),
        ('angle_error_deg', 'angle error', '°'),
    )
    for key, meaning in (
        ('median', 'median, between the published and the true pose'),
        ('rmse', 'root of the mean square'),
        ('p95', '95 % are within this'),
        ('max', 'the largest'),
    )
}
_NO_TRUTH = 'Not known: of no answered picture is it known which places are right.'


def has_truth(outcomes: Outcomes) -> bool:
    """Tell whether recall is defined: a picture was answered whose place the map has."""
    return bool((outcomes.answered & outcomes.mapped).any())


def groups(
    outcomes: Outcomes, numbers: Numbers, intervals: Intervals, stages: Mapping[str, Stage]
) -> list[Group]:
    """Return the table of numbers; what is not known is left out, and where, is said."""
    recalls = {
        name: _Term(name, f'of those asked, with a right place among the {name[7:]} most similar')
        for name in numbers
        if name.startswith('recall@')
    }
    deciding = _DECIDING if has_truth(outcomes) else {'precision': _PRECISION}
    found = [
        _group('Finding the place', recalls, numbers, intervals, _NO_TRUTH),
        _group('Deciding what to accept', deciding, numbers, intervals, _NO_TRUTH),
    ]
    if has_truth(outcomes) and len(stages) > 1:
        found += [_stage_group(stage, numbers) for stage in stages.values()]
    unposed = 'Not known: no published pose has a true one beside it.'
    return [
        *found,
        _group('Fixes along the run', _FIXES, numbers, intervals, ''),
        _group('Pose errors', _ERRORS, numbers, intervals, unposed),
    ]


def _stage_group(stage: Stage, numbers: Numbers) -> Group:
    reached = f'of the {stage.accepted} judged that got so far, the right'
    terms = {
        'precision_at_threshold': _Term('precision', reached),
        'recall_at_threshold': _RECALL,
    }
    prefix = ''
    if stage.name != RETRIEVED:  # the others of retrieval stand above
        terms |= {'average_precision': _AVERAGE_PRECISION, **_AT_99_AND_100}
        prefix = f'{stage.name}.'
    named = {f'{prefix}{name}': term for name, term in terms.items()}
    return _group(f'Stage: {stage.name}', named, numbers, {}, 'Nothing judged got so far.')


def _group(
    title: str, terms: Mapping[str, _Term], numbers: Numbers, intervals: Intervals, missing: str
) -> Group:
    rows = [
        _row(term, numbers[name], intervals.get(name, (math.nan, math.nan)))
        for name, term in terms.items()
        if not math.isnan(numbers.get(name, math.nan))
    ]
    return Group(title, rows, missing)


def _row(term: _Term, value: float, interval: tuple[float, float]) -> Row:
    if term.unit != '%':
        return Row(term.label, f'{value:.{term.digits}f}{term.unit}', '', None, term.meaning)
    text = percent_range(interval)
    low, high = interval if text else (value, value)
    return Row(term.label, percent(value), text, (low, value, high), term.meaning)


# --- how far pictures got -------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """How far some pictures got, and why no further.

    Attributes:
        status: Name of the `Status`, or DROPPED.
        code: Of the reason; '' where there is none.
        count: Pictures that ended so.
        right: Of these, judged and with the right answer.
        wrong: Of these, judged and with a wrong one.
        example: The reason of the first of them, as the recognizer gave it.
    """

    status: str
    code: str
    count: int
    right: int
    wrong: int
    example: str


def endings(run: Run, outcomes: Outcomes) -> list[Ending]:
    """Count the reasons, by status; the furthest first, then the most frequent."""
    pictures: dict[tuple[int, str], list[int]] = {}
    for number, answer in enumerate(run.answers):
        reason = '' if answer.recognition is None else answer.recognition.reason
        key = int(outcomes.status[number]), reason.partition(':')[0]
        pictures.setdefault(key, []).append(number)
    order = [Status.VERIFIED, Status.CONSISTENT, Status.CANDIDATE, Status.REJECTED, DROPPED]
    found = []
    for status, code in sorted(pictures, key=lambda k: (order.index(k[0]), -len(pictures[k]))):
        rows = np.array(pictures[status, code])
        judged = outcomes.judged[rows] & np.isfinite(outcomes.similarity[rows])  # has an answer
        first = run.answers[rows[0]].recognition
        found.append(
            Ending(
                status='DROPPED' if status == DROPPED else Status(status).name,
                code=code,
                count=len(rows),
                right=int((judged & outcomes.right[rows]).sum()),
                wrong=int((judged & ~outcomes.right[rows]).sum()),
                example='' if first is None else first.reason,
            )
        )
    return found


# --- latency --------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageLatency:
    """How long a stage takes.

    Attributes:
        stage: Its name.
        latency: Percentiles.
        count: Pictures that went through it.
    """

    stage: str
    latency: Latency
    count: int


def stage_latencies(run: Run, outcomes: Outcomes) -> list[StageLatency]:
    """Return the latency of every stage and, last, from the picture at hand to the answer."""
    timings = [
        answer.recognition.timings_s
        for answer in run.answers
        if answer.recognition is not None and answer.recognition.timings_s
    ]
    names = dict.fromkeys(name for timing in timings for name in timing)
    rows = {name: [timing[name] for timing in timings if name in timing] for name in names}
    rows[TOTAL] = outcomes.latency_s[np.isfinite(outcomes.latency_s)].tolist()
    return [
        StageLatency(name, latency_of(seconds), len(seconds))
        for name, seconds in rows.items()
        if seconds
    ]


# --- what to set ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A threshold and what it gave on this run.

    Attributes:
        purpose: What it is for.
        line: The parameter as it is written into a parameter file; '': there is none.
        precision: With its unit.
        recall: Likewise.
    """

    purpose: str
    line: str
    precision: str
    recall: str


def settings(run: Run, outcomes: Outcomes, stage: Stage) -> list[Setting]:
    """Return the threshold in force and those that reach 99 % and 100 % precision.

    Args:
        run: The run.
        outcomes: Its outcomes.
        stage: Of retrieval.
    """
    in_force = f'min_similarity: {run.threshold:.6g}'
    found = [Setting('in force', in_force, percent(stage.precision), percent(stage.recall))]
    for share in (99, 100):
        recall, threshold = stage.curve.best_recall(share / 100)
        purpose = f'{share} % precision on this run'
        if math.isnan(threshold):
            found.append(Setting(purpose, '', '', ''))
            continue
        line = f'min_similarity: {_parameter(threshold, outcomes.similarity)}'
        precision = stage.curve.precision[stage.curve.thresholds == threshold][0]
        found.append(Setting(purpose, line, percent(float(precision)), percent(recall)))
    return found


def _parameter(threshold: float, similarities: np.ndarray) -> str:
    """Return the shortest number that accepts the same pictures of the run."""
    for digits in range(4, 10):
        rounded = math.floor(threshold * 10**digits) / 10**digits
        if not ((similarities >= rounded) & (similarities < threshold)).any():
            return f'{rounded:.{digits}f}'
    return repr(threshold)
