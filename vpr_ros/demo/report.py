# SPDX-License-Identifier: Apache-2.0
"""The demo's table, and whether its bar holds."""

from __future__ import annotations

import math

from vpr_ros.demo.scoring import Score
from vpr_ros.evaluation.outcomes import Verdict
from vpr_ros.evaluation.scores import RETRIEVED

MIN_RECALL = 0.90
MIN_PRECISION = 0.95


def _percent(fraction: float) -> str:
    return 'not known' if math.isnan(fraction) else f'{100 * fraction:.1f} %'


def table(score: Score, *, threshold: float, truth: str, seconds: float) -> str:
    """The numbers of a run, one a line, each with what it means."""
    counts = score.counts
    rows = [
        ('pictures sent', f'{counts.sent}', f'in {seconds:.1f} s'),
        ('  received', f'{counts.received}', 'by the node'),
        ('  overtaken', f'{counts.overtaken}', 'in DDS, by a newer one'),
        ('  processed', f'{counts.processed}', 'answered on ~/loop_closures'),
        ('  dropped', f'{counts.dropped}', 'a newer one came while the network was busy'),
        ('candidates', f'{score.accepted}', f'similarity {threshold:.3f} or more'),
        *_judgement(score, truth),
        ('latency p50', f'{score.latency.p50_ms:.0f} ms', 'from publishing to the answer'),
        ('latency p95', f'{score.latency.p95_ms:.0f} ms', ''),
        ('oldest answer', f'{1e3 * score.max_age_s:.0f} ms', 'picture stamp to publication'),
    ]
    return '\n'.join(
        f'  {name:<16}{value:>10}   {meaning}'.rstrip() for name, value, meaning in rows
    )


def _judgement(score: Score, truth: str) -> list[tuple[str, str, str]]:
    """The rows that need the truth; where nothing could be judged, one that says why."""
    unjudged = score.verdicts.count(Verdict.UNJUDGED)
    if unjudged and unjudged == len(score.verdicts):
        return [('truth', 'not known', truth)]
    rows = [
        ('  wrong', f'{score.verdicts.count(Verdict.WRONG)}', truth),
        (
            'precision',
            _percent(score.precision),
            f'of all {"judged " if unjudged else ""}candidates, never-mapped places included',
        ),
        (
            'recall',
            _percent(score.recall),
            f'of the {score.num_places} processed pictures of mapped places',
        ),
        ('recall@1', _percent(score.recall_at_1), 'the same, whatever the similarity'),
    ]
    rows += [
        (stage.name, f'{stage.accepted}', f'{_percent(stage.precision)} of them right')
        for stage in score.stages.values()
        if stage.name != RETRIEVED
    ]
    if unjudged:
        rows.insert(1, ('  not judged', f'{unjudged}', 'processed pictures without a pose'))
    return rows


def below_bar(score: Score) -> list[str]:
    """What falls short of the demo's bar, a sentence each; empty if it holds."""
    short = []
    for name, value, least in (
        ('recall', score.recall, MIN_RECALL),
        ('precision', score.precision, MIN_PRECISION),
    ):
        if not value >= least:
            short.append(f'{name} {_percent(value)} is below {_percent(least)}')
    return short
