# SPDX-License-Identifier: Apache-2.0
"""Between the callback that receives pictures and the thread that works on them."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """Holds one item, the newest; safe between threads."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Leave an item and return True if it replaced one that nobody had taken."""
        with self._changed:
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for an item and remove it; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Drop what is in it and wake whoever waits."""
        with self._changed:
            self._closed, self._item = True, None
            self._changed.notify_all()


class RateLimiter:
    """Lets items through at a mean rate at most, whatever their jitter."""

    def __init__(self) -> None:
        self._due_s = self._max_rate = float('-inf')

    def admits(self, now_s: float, max_rate: float) -> bool:
        """Whether an item may pass now.

        Args:
            now_s: A steady clock, seconds.
            max_rate: Items per second; 0 sets no limit.
        """
        if max_rate <= 0:
            return True
        if max_rate != self._max_rate:
            self._due_s, self._max_rate = now_s, max_rate
        if now_s < self._due_s:
            return False
        # Counted from when it was due, or jitter would halve the rate of a camera at the limit.
        period_s = 1 / max_rate
        late = now_s - self._due_s >= period_s
        self._due_s = (now_s if late else self._due_s) + period_s
        return True
