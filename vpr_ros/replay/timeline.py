# SPDX-License-Identifier: Apache-2.0
"""The time of a recording against real time: at a rate, with pauses, from any thread."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class _Anchor:
    """One moment in three times: of the recording [ns], steady [s], of the system [ns]."""

    recorded_ns: int
    steady_s: float
    system_ns: int


class Timeline:
    """Runs through the time of a recording; stands until `begin` and `resume`."""

    def __init__(self, rate: float = 1.0, *, paused: bool = False) -> None:
        """Set the pace.

        Args:
            rate: Seconds of the recording in a second, 1 is real time.
            paused: Whether somebody must `resume` it.

        Raises:
            ValueError: `rate` is not positive and finite.
        """
        if not 0 < rate < float('inf'):
            raise ValueError(f'rate must be positive, not {rate}')
        self._rate = rate
        self._paused = paused
        self._held = True
        self._stopped = False
        self._anchor: _Anchor | None = None
        self._changed = threading.Condition()

    @property
    def paused(self) -> bool:
        """Whether it stands because somebody paused it."""
        return self._paused

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def now_ns(self) -> int | None:
        """Where it is in the recording, nanoseconds; None before `begin`."""
        with self._changed:
            return None if self._anchor is None else self._at(time.monotonic())

    def begin(self, recorded_ns: int, *, held: bool = False) -> None:
        """Jump to a time of the recording.

        Args:
            recorded_ns: Nanoseconds.
            held: Stand there until the next `begin`, whatever `resume` says.
        """
        with self._changed:
            self._anchor = _Anchor(recorded_ns, time.monotonic(), time.time_ns())
            self._held = held
            self._changed.notify_all()

    def pause(self) -> None:
        """Stand still."""
        self._switch(paused=True)

    def resume(self) -> None:
        """Go on from where it stands."""
        self._switch(paused=False)

    def stop(self) -> None:
        """End every wait, for good."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait_until(self, recorded_ns: int) -> bool:
        """Wait for a time of the recording and for the end of a pause; False once stopped."""
        with self._changed:
            while not self._stopped:
                if self._paused or self._held:
                    self._changed.wait()
                    continue
                missing_s = (recorded_ns - self._at(time.monotonic())) / 1e9 / self._rate
                if missing_s <= 0:
                    return True
                self._changed.wait(missing_s)
        return False

    def late_s(self, recorded_ns: int) -> float:
        """Real seconds since a time of the recording was due."""
        with self._changed:
            return (self._at(time.monotonic()) - recorded_ns) / 1e9 / self._rate

    def system_ns(self, recorded_ns: int) -> int:
        """Move a time of the recording to the present, nanoseconds of the system's clock."""
        with self._changed:
            anchor = self._begun
            return anchor.system_ns + round((recorded_ns - anchor.recorded_ns) / self._rate)

    @property
    def _begun(self) -> _Anchor:
        if self._anchor is None:
            raise RuntimeError('the timeline has not begun: call begin')
        return self._anchor

    def _at(self, steady_s: float) -> int:
        anchor = self._begun
        if self._paused or self._held:
            return anchor.recorded_ns
        return anchor.recorded_ns + int((steady_s - anchor.steady_s) * self._rate * 1e9)

    def _switch(self, *, paused: bool) -> None:
        with self._changed:
            if self._anchor is not None:
                now_s = time.monotonic()
                self._anchor = _Anchor(self._at(now_s), now_s, time.time_ns())
            self._paused = paused
            self._changed.notify_all()
