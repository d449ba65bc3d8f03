# SPDX-License-Identifier: Apache-2.0
"""Between the callback that receives pictures and the thread that works on them."""

from __future__ import annotations

import threading
import time
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar('T')


class RateLimiter:
    """Lets items through at a mean rate at most, whatever their jitter."""

    def __init__(self) -> None:
        self._due_s = self._max_rate = float('-inf')

    def wait_s(self, now_s: float, max_rate: float) -> float:
        """Seconds until an item may pass; arguments as in `admits`."""
        if max_rate <= 0 or max_rate != self._max_rate:
            return 0.0
        return max(0.0, self._due_s - now_s)

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


class Put(Enum):
    """What a new item cost."""

    FREE = 'nothing'
    BUSY = 'it replaced one that nobody had taken'
    LIMITED = 'one of the two was skipped because of the rate limit'


class Mailbox(Generic[T]):
    """Holds one item for each sender, the newest, and serves them in turn; safe between threads.

    Under a rate limit, what comes too early from a single sender is skipped: what comes when the
    time has come is fresher. Of several senders it is kept: of two cameras whose pictures come
    together, the second would else never be let in.
    """

    def __init__(self, num_senders: int = 1) -> None:
        self._items: list[T | None] = [None] * num_senders
        self._last = num_senders - 1  # who was served last
        self._limiter = RateLimiter()
        self._max_rate = 0.0
        self._is_waiting = False  # whoever takes has nothing else to do
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T, sender: int = 0, *, max_rate: float = 0.0) -> Put:
        """Leave an item.

        Args:
            item: The item.
            sender: Whose it is, a number from 0.
            max_rate: Items taken per second at most, from now on; 0 sets no limit.
        """
        with self._changed:
            self._max_rate = max_rate
            early = self._limiter.wait_s(time.monotonic(), max_rate) > 0
            if early and len(self._items) == 1:
                return Put.LIMITED
            replaced = self._items[sender] is not None
            self._items[sender] = item
            self._changed.notify()
            if not replaced:
                return Put.FREE
            return Put.LIMITED if self._is_waiting and early else Put.BUSY

    def take(self) -> tuple[int, T] | None:
        """Wait for an item and remove it; None once the mailbox is closed.

        Returns:
            Whose it is, and the item.
        """
        with self._changed:
            while not self._closed:
                if all(item is None for item in self._items):
                    self._wait(None)
                elif self._limiter.admits(now_s := time.monotonic(), self._max_rate):
                    return self._next()
                else:
                    self._wait(self._limiter.wait_s(now_s, self._max_rate))
            return None

    def close(self) -> None:
        """Drop what is in it and wake whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, timeout_s: float | None) -> None:
        self._is_waiting = True
        self._changed.wait(timeout_s)
        self._is_waiting = False

    def _next(self) -> tuple[int, T]:
        """Take from the sender whose turn it is, of those that have something."""
        for step in range(1, len(self._items) + 1):
            sender = (self._last + step) % len(self._items)
            item, self._items[sender] = self._items[sender], None
            if item is not None:
                self._last = sender
                return sender, item
        raise AssertionError('nobody has left anything')
