# SPDX-License-Identifier: Apache-2.0
"""What happened to the pictures, counted; read by the diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from vpr_ros.recognizer import Recognition

_WINDOW = 200  # pictures over which rates and percentiles are taken
_RATE_WINDOW_S = 5.0


@dataclass
class Snapshot:
    """The counts at one moment.

    Attributes:
        received: Pictures that arrived while enabled.
        dropped: Replaced by a newer one before the worker was free.
        limited: Skipped because of `max_rate`.
        ignored: Arrived while disabled.
        refused: Not decodable or of an unknown encoding.
        processed: Recognised or rejected.
        failed: Ended in an unexpected error.
        rate_in: Pictures per second that arrive.
        rate_out: Pictures per second that are processed.
        process_ms: Milliseconds per picture, decoding to publication: (p50, p95), NaN at first.
        stages_ms: The same median, by stage.
        silent_s: Seconds since the last picture arrived, or since the start.
        encoding: Of the last picture.
        size: Of the last picture, `640x480`.
        age_s: Of the last answer: from the picture's stamp to publication.
        refusal: Why the last refused picture was refused, '' after a good one.
        failure: The last unexpected error, '' if the last picture went well.
        last: The last recognition.
        reasons: Rejections by reason code, and `accepted`.
    """

    received: int = 0
    dropped: int = 0
    limited: int = 0
    ignored: int = 0
    refused: int = 0
    processed: int = 0
    failed: int = 0
    rate_in: float = 0.0
    rate_out: float = 0.0
    process_ms: tuple[float, float] = (float('nan'), float('nan'))
    stages_ms: dict[str, float] = field(default_factory=dict)
    silent_s: float = 0.0
    encoding: str = ''
    size: str = ''
    age_s: float = float('nan')
    refusal: str = ''
    failure: str = ''
    last: Recognition | None = None
    reasons: Counter[str] = field(default_factory=Counter)


class Statistics:
    """Counts from the receiving and the working thread, bounded in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Snapshot()
        self._arrivals: deque[float] = deque(maxlen=_WINDOW)
        self._answers: deque[float] = deque(maxlen=_WINDOW)
        self._durations_s: deque[float] = deque(maxlen=_WINDOW)
        self._stages_s: dict[str, deque[float]] = {}
        self._last_arrival_s = time.monotonic()

    def arrived(self) -> None:
        """Count a picture that arrived while enabled."""
        now = time.monotonic()
        with self._lock:
            self._counts.received += 1
            self._arrivals.append(now)
            self._last_arrival_s = now

    def ignored(self) -> None:
        """Count a picture that arrived while disabled."""
        with self._lock:
            self._counts.ignored += 1
            self._last_arrival_s = time.monotonic()

    def dropped(self) -> None:
        """Count a picture that a newer one replaced."""
        with self._lock:
            self._counts.dropped += 1

    def limited(self) -> None:
        """Count a picture that `max_rate` skipped."""
        with self._lock:
            self._counts.limited += 1

    def decoded(self, encoding: str, size: str) -> None:
        """Note what the picture is like."""
        with self._lock:
            self._counts.encoding, self._counts.size = encoding, size
            self._counts.refusal = ''

    def refused(self, encoding: str, reason: str) -> None:
        """Count a picture that cannot be converted."""
        with self._lock:
            self._counts.refused += 1
            self._counts.encoding, self._counts.refusal = encoding, reason

    def failed(self, error: str) -> None:
        """Count a picture that ended in an unexpected error."""
        with self._lock:
            self._counts.failed += 1
            self._counts.failure = error

    def answered(self, recognition: Recognition, duration_s: float, age_s: float) -> None:
        """Count a published answer.

        Args:
            recognition: The answer.
            duration_s: From taking the picture to publishing, seconds.
            age_s: From the picture's stamp to publishing, seconds.
        """
        now = time.monotonic()
        with self._lock:
            self._counts.processed += 1
            self._counts.failure = ''
            self._counts.last, self._counts.age_s = recognition, age_s
            self._counts.reasons[recognition.reason.partition(':')[0] or 'accepted'] += 1
            self._answers.append(now)
            self._durations_s.append(duration_s)
            for stage, seconds in recognition.timings_s.items():
                self._stages_s.setdefault(stage, deque(maxlen=_WINDOW)).append(seconds)

    def restart_silence(self) -> None:
        """Count the silence from now: the subscription is new."""
        with self._lock:
            self._last_arrival_s = time.monotonic()

    def silent_s(self) -> float:
        """Return the seconds since the last picture arrived."""
        with self._lock:
            return time.monotonic() - self._last_arrival_s

    def snapshot(self) -> Snapshot:
        """Return the counts of this moment, as a copy."""
        now = time.monotonic()
        with self._lock:
            copy = Snapshot(**vars(self._counts))
            copy.reasons = Counter(self._counts.reasons)
            copy.silent_s = now - self._last_arrival_s
            copy.rate_in = _rate(self._arrivals, now)
            copy.rate_out = _rate(self._answers, now)
            if self._durations_s:
                p50, p95 = np.percentile(self._durations_s, [50, 95]) * 1e3
                copy.process_ms = (float(p50), float(p95))
            copy.stages_ms = {k: float(np.median(v)) * 1e3 for k, v in self._stages_s.items()}
        return copy


def _rate(times_s: deque[float], now_s: float) -> float:
    """Events per second over the last seconds."""
    recent = [t for t in times_s if now_s - t <= _RATE_WINDOW_S]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(now_s - recent[0], 1e-3)
