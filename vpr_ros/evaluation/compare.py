# SPDX-License-Identifier: Apache-2.0
"""Runs side by side: by how much they differ, and whether that is more than chance.

Two runs of the same pictures are resampled together, segment by segment, so that what is hard for
both cancels out (paired bootstrap over segments); others each by themselves, which needs a larger
difference to be sure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.errors import SourceError
from vpr_ros.evaluation.outcomes import Outcomes
from vpr_ros.evaluation.results import QUERIES, read_metrics, read_outcomes
from vpr_ros.evaluation.scores import INTERVALS_OF, interval, numbers, resamples


@dataclass(frozen=True)
class SavedRun:
    """A run as it lies in its folder.

    Attributes:
        folder: The folder.
        metrics: Content of metrics.json.
        names: Of the pictures.
        outcomes: What came of them.
    """

    folder: Path
    metrics: Mapping[str, Any]
    names: Sequence[str]
    outcomes: Outcomes

    @property
    def asks_only_mapped(self) -> bool:
        """Whether recall@K asks only pictures of mapped places."""
        return bool(self.metrics['asks_only_mapped'])


@dataclass(frozen=True)
class Difference:
    """How much a run differs from the first in one number.

    Attributes:
        value: The run's number; NaN: undefined.
        difference: It less the first run's.
        low: Lower end of the difference's 95 % interval.
        high: Upper end.
    """

    value: float
    difference: float
    low: float
    high: float

    @property
    def exceeds_noise(self) -> bool:
        """Whether the interval leaves out zero."""
        return bool(self.low > 0 or self.high < 0)


def load_run(folder: Path) -> SavedRun:
    """Read what `vpr evaluate` left in a folder.

    Raises:
        FileNotFoundError: It is no folder of results.
        SourceError: A file of it is damaged.
    """
    metrics = read_metrics(folder)
    names, outcomes = read_outcomes(folder)
    if len(names) != metrics['num_queries']:
        raise SourceError(
            f'{folder / QUERIES} has {len(names)} rows for {metrics["num_queries"]} pictures: cut '
            'off? Evaluate again'
        )
    return SavedRun(folder, metrics, names, outcomes)


def same_pictures(first: SavedRun, other: SavedRun) -> bool:
    """Tell whether two runs asked for the same pictures in the same order: not by names alone."""
    paths = [run.metrics['query']['path'] for run in (first, other)]
    return list(first.names) == list(other.names) and paths[0] == paths[1]


COMPARED = (*INTERVALS_OF, 'recall_at_100_precision', 'recall_at_99_precision')


def differences(first: SavedRun, other: SavedRun) -> dict[str, Difference]:
    """Compare a run with the first, in each of `COMPARED`; without an interval where none is."""
    paired = same_pictures(first, other)
    drawn = zip(_drawn(first, seed=0), _drawn(other, seed=0 if paired else 1), strict=False)
    gaps = [{name: b[name] - a[name] for name in INTERVALS_OF} for a, b in drawn]
    found = {}
    for name in COMPARED:
        values = [_number(run.metrics.get(name)) for run in (first, other)]
        difference = values[1] - values[0]
        is_known = np.isfinite(difference)  # a node with a small top_k does not tell recall@20
        low, high = interval([gap.get(name, np.nan) if is_known else np.nan for gap in gaps])
        found[name] = Difference(values[1], difference, low, high)
    return found


def _drawn(run: SavedRun, *, seed: int) -> list[dict[str, float]]:
    return [
        numbers(
            run.outcomes.take(rows),
            threshold=run.metrics['threshold'],
            only_mapped=run.asks_only_mapped,
            has_times=False,
        )
        for rows in resamples(len(run.outcomes), seed=seed)
    ]


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
