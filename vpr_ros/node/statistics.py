# SPDX-License-Identifier: Apache-2.0
"""What happened to the pictures, counted; read by the diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vpr_ros.recognizer import Recognition, Status

_WINDOW = 200  # pictures over which rates and percentiles are taken
_RATE_WINDOW_S = 5.0


@dataclass
class CameraCounts:
    """The counts of one camera at one moment.

    Attributes:
        name: Of the camera, '' for a single unnamed one.
        received: Pictures that arrived while enabled.
        dropped: Replaced by a newer one before the worker was free.
        limited: Skipped because of `max_rate`.
        ignored: Arrived while disabled.
        refused: Not decodable or of an unknown encoding.
        processed: Recognised or rejected.
        rate_in: Pictures per second that arrive.
        silent_s: Seconds since the last picture arrived, or since the start.
        encoding: Of the last picture.
        size: Of the last picture, `640x480`.
        refusal: Why the last refused picture was refused, '' after a good one.
    """

    name: str
    received: int = 0
    dropped: int = 0
    limited: int = 0
    ignored: int = 0
    refused: int = 0
    processed: int = 0
    rate_in: float = 0.0
    silent_s: float = 0.0
    encoding: str = ''
    size: str = ''
    refusal: str = ''


@dataclass
class Snapshot:
    """The counts of all cameras at one moment.

    Attributes:
        cameras: Counts of each.
        failed: Pictures that ended in an unexpected error.
        rate_out: Pictures per second that are processed.
        process_ms: Milliseconds per picture, decoding to publication: (p50, p95), NaN at first.
        stages_ms: The same median, by stage.
        age_s: Of the last answer: from the picture's stamp to publication.
        failure: The last unexpected error, '' if the last picture went well.
        last: The last recognition.
        reasons: Rejections by reason code, and `accepted`.
    """

    cameras: tuple[CameraCounts, ...]
    failed: int = 0
    rate_out: float = 0.0
    process_ms: tuple[float, float] = (float('nan'), float('nan'))
    stages_ms: dict[str, float] = field(default_factory=dict)
    age_s: float = float('nan')
    failure: str = ''
    last: Recognition | None = None
    reasons: Counter[str] = field(default_factory=Counter)

    def total(self, count: str) -> int:
        """Return a count of CameraCounts, summed over the cameras."""
        return sum(getattr(camera, count) for camera in self.cameras)

    @property
    def rate_in(self) -> float:
        """Pictures per second that arrive."""
        return sum(camera.rate_in for camera in self.cameras)

    @property
    def silent_s(self) -> float:
        """Seconds since the last picture of any camera."""
        return min(camera.silent_s for camera in self.cameras)


class Statistics:
    """Counts from the receiving and the working thread, bounded in memory."""

    def __init__(self, cameras: Sequence[str] = ('',)) -> None:
        """Begin at zero.

        Args:
            cameras: Their names, by number.
        """
        self._lock = threading.Lock()
        self._counts = Snapshot(tuple(CameraCounts(name) for name in cameras))
        self._arrivals = [deque[float](maxlen=_WINDOW) for _ in cameras]
        self._answers: deque[float] = deque(maxlen=_WINDOW)
        self._durations_s: deque[float] = deque(maxlen=_WINDOW)
        self._stages_s: dict[str, deque[float]] = {}
        self._last_arrivals_s = [time.monotonic() for _ in cameras]

    def arrived(self, camera: int = 0) -> None:
        """Count a picture that arrived while enabled."""
        now = time.monotonic()
        with self._lock:
            self._counts.cameras[camera].received += 1
            self._arrivals[camera].append(now)
            self._last_arrivals_s[camera] = now

    def ignored(self, camera: int = 0) -> None:
        """Count a picture that arrived while disabled."""
        with self._lock:
            self._counts.cameras[camera].ignored += 1
            self._last_arrivals_s[camera] = time.monotonic()

    def dropped(self, camera: int = 0) -> None:
        """Count a picture that a newer one replaced."""
        with self._lock:
            self._counts.cameras[camera].dropped += 1

    def limited(self, camera: int = 0) -> None:
        """Count a picture that `max_rate` skipped."""
        with self._lock:
            self._counts.cameras[camera].limited += 1

    def decoded(self, encoding: str, size: str, camera: int = 0) -> None:
        """Note what the picture is like."""
        with self._lock:
            counts = self._counts.cameras[camera]
            counts.encoding, counts.size, counts.refusal = encoding, size, ''

    def refused(self, encoding: str, reason: str, camera: int = 0) -> None:
        """Count a picture that cannot be converted."""
        with self._lock:
            counts = self._counts.cameras[camera]
            counts.refused += 1
            counts.encoding, counts.refusal = encoding, reason

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
            self._counts.cameras[recognition.camera].processed += 1
            self._counts.failure = ''
            self._counts.last, self._counts.age_s = recognition, age_s
            self._counts.reasons[_outcome(recognition)] += 1
            self._answers.append(now)
            self._durations_s.append(duration_s)
            for stage, seconds in recognition.timings_s.items():
                self._stages_s.setdefault(stage, deque(maxlen=_WINDOW)).append(seconds)

    def restart_silence(self) -> None:
        """Count the silence from now: the subscriptions are new."""
        with self._lock:
            self._last_arrivals_s = [time.monotonic() for _ in self._last_arrivals_s]

    def silent_s(self, camera: int = 0) -> float:
        """Return the seconds since the last picture of a camera arrived."""
        with self._lock:
            return time.monotonic() - self._last_arrivals_s[camera]

    def snapshot(self) -> Snapshot:
        """Return the counts of this moment, as a copy."""
        now = time.monotonic()
        with self._lock:
            cameras = tuple(
                replace(counts, silent_s=now - last_s, rate_in=_rate(arrivals, now))
                for counts, last_s, arrivals in zip(
                    self._counts.cameras, self._last_arrivals_s, self._arrivals, strict=True
                )
            )
            copy = replace(self._counts, cameras=cameras, reasons=Counter(self._counts.reasons))
            copy.rate_out = _rate(self._answers, now)
            if self._durations_s:
                p50, p95 = np.percentile(self._durations_s, [50, 95]) * 1e3
                copy.process_ms = (float(p50), float(p95))
            copy.stages_ms = {k: float(np.median(v)) * 1e3 for k, v in self._stages_s.items()}
        return copy


def _outcome(found: Recognition) -> str:
    """Return how far a picture got, or why it got nowhere."""
    if found.status is Status.REJECTED:
        return found.reason.partition(':')[0]
    return found.status.name.lower()


def _rate(times_s: deque[float], now_s: float) -> float:
    """Events per second over the last seconds."""
    recent = [t for t in times_s if now_s - t <= _RATE_WINDOW_S]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(now_s - recent[0], 1e-3)
