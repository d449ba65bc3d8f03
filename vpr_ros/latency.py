# SPDX-License-Identifier: Apache-2.0
"""Latency as percentiles: what a control engineer asks for, not the mean."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Percentiles of durations, milliseconds; NaN if nothing was timed."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        """Return e.g. `p50 9.8 ms, p95 12.1 ms, max 30.4 ms`."""
        return f'p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms, max {self.max_ms:.1f} ms'


def latency_of(durations_s: Sequence[float]) -> Latency:
    """Summarise durations given in seconds."""
    if len(durations_s) == 0:
        return Latency(*[math.nan] * 4)
    percentiles = np.percentile(np.asarray(durations_s) * 1e3, (50, 95, 99, 100))
    return Latency(*map(float, percentiles))


def time_calls(call: Callable[[], object], *, runs: int, warm_up: int = 3) -> Latency:
    """Time `runs` calls after `warm_up` untimed ones."""
    for _ in range(warm_up):
        call()
    durations = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return latency_of(durations)
