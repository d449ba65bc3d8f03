# SPDX-License-Identifier: Apache-2.0
"""What every evaluation ends with: files, a table, and whether a user's bar holds."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.errors import SourceError

if TYPE_CHECKING:
    from vpr_ros.evaluation.run import Run

_SHOWN = (
    *('recall@1', 'recall@5', 'recall@10', 'recall@20', 'average_precision'),
    *('precision', 'recall', 'recall_at_100_precision', 'threshold_at_100_precision'),
    *('recall_at_99_precision', 'threshold_at_99_precision', 'coverage', 'first_fix_s'),
    *('longest_gap_s', 'longest_gap_m', 'dropped'),
    *('position_error_m.median', 'angle_error_deg.median'),
)
_LATER_STAGES = ('consistent', 'verified')
_FRACTIONS = ('recall', 'precision', 'average_precision', 'coverage')


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add where results go and what they must reach."""
    group = parser.add_argument_group('results')
    group.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='report.html, its figures, metrics.json and queries.csv go here',
    )  # fmt: skip
    add_bar_options(group)


def add_bar_options(group: argparse._ActionsContainer) -> None:
    """Add `--fail-under` and `--fail-over`."""
    group.add_argument(
        '--fail-under', type=_bar, action='append', default=[], metavar='NUMBER=VALUE',
        help='exit status 1 if a number of metrics.json is lower, as in recall@1=0.9; repeatable',
    )  # fmt: skip
    group.add_argument(
        '--fail-over', type=_bar, action='append', default=[], metavar='NUMBER=VALUE',
        help='the same if it is higher, as in longest_gap_s=30; repeatable',
    )  # fmt: skip


def _bar(text: str) -> tuple[str, float]:
    name, _, value = text.partition('=')
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not name or math.isnan(limit):
        raise argparse.ArgumentTypeError(f'must be NUMBER=VALUE, as recall@1=0.9, not {text!r}')
    if name.startswith(_FRACTIONS) and not 0 <= limit <= 1:
        raise argparse.ArgumentTypeError(f'{name} is a fraction, 0 to 1, not {value}')
    return name, limit


def finish(run: Run, args: argparse.Namespace) -> int:
    """Judge a run, write its files, print its numbers; return the exit status."""
    from vpr_ros.evaluation import report, results, scores
    from vpr_ros.evaluation.outcomes import judge

    outcomes = judge(run.answers, run.truth)
    only_mapped = run.truth is not None and run.truth.asks_only_mapped
    track = None if run.truth is None else run.truth.track
    numbers = scores.numbers(
        outcomes,
        threshold=run.threshold,
        only_mapped=only_mapped,
        positions=None if track is None else track.positions,
        has_times=run.has_times,
    )
    intervals = scores.intervals(outcomes, threshold=run.threshold, only_mapped=only_mapped)
    for name in too_deep(run):
        numbers[name], intervals[name] = math.nan, (math.nan, math.nan)
    content = results.metrics(run, outcomes, numbers, intervals)
    with results.written_into(args.out) as folder:  # whatever becomes of the figures
        results.write_metrics(content, folder)
        results.write_queries(run, outcomes, folder)
    _print(content['protocol'], numbers, intervals)
    for ending in content['endings']:
        name = f'{ending["status"]} {ending["code"]}'.rstrip()
        judged = f'   {ending["right"]} right, {ending["wrong"]} wrong' if run.truth else ''
        print(f'{name:28} {ending["count"]}{judged}')
    with results.written_into(args.out, owned=report.FILES) as folder:
        report.write_report(run, outcomes, numbers, intervals, folder)
    print(f'{"report":28} {args.out / report.PAGE}')
    return judge_bars(args, numbers)


def too_deep(run: Run) -> list[str]:
    """Name the recall@K that a run cannot tell: a live node gave fewer than K matches."""
    from vpr_ros.evaluation.scores import RECALL_AT

    found = [len(a.recognition.matches) for a in run.answers if a.recognition is not None]
    deepest = max(found, default=0) if run.is_live else max(RECALL_AT)
    return [f'recall@{k}' for k in RECALL_AT if 0 < deepest < min(k, len(run.place_map))]


def check_output(args: argparse.Namespace) -> None:
    """Refuse now what would fail at the end.

    Raises:
        SourceError: `--out` is a file, or a bar is for a number that no run has.
    """
    from vpr_ros.evaluation.scores import number_names

    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise SourceError(f'{args.out} (--out) is a file, and results need a folder')
    later = [f'{stage}.{name}' for stage in _LATER_STAGES for name in number_names()]
    check_bars(args, [*number_names(), *later])


def check_bars(args: argparse.Namespace, names: Collection[str]) -> None:
    """Refuse a bar for a number that there is not.

    Raises:
        SourceError: It names what there is.
    """
    for name, _ in (*args.fail_under, *args.fail_over):
        if name not in names:
            raise SourceError(f'there is no {name} to judge; there is {", ".join(names)}')


def judge_bars(args: argparse.Namespace, numbers: Mapping[str, float]) -> int:
    """Say which bars do not hold; return 1 if any, else 0.

    Raises:
        SourceError: As `check_bars`.
    """
    check_bars(args, numbers)
    broken = [(n, 'below', limit) for n, limit in args.fail_under if not numbers[n] >= limit]
    broken += [(n, 'above', limit) for n, limit in args.fail_over if not numbers[n] <= limit]
    for name, where, limit in broken:
        shown = 'undefined' if math.isnan(numbers[name]) else f'{numbers[name]:.4f}'
        print(f'vpr evaluate: {name} is {shown}, {where} {limit:g}', file=sys.stderr)
    return 1 if broken else 0


def _print(
    protocol: str, numbers: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> None:
    print(protocol)
    for name in (*_SHOWN, *(name for name in numbers if name.split('.')[0] in _LATER_STAGES)):
        value = numbers[name]
        if math.isnan(value):
            continue
        low, high = intervals.get(name, (math.nan, math.nan))
        between = '' if math.isnan(low) else f'   95 %: {low:.4f} to {high:.4f}'
        print(f'{name:28} {value:.4f}{between}')
