# SPDX-License-Identifier: Apache-2.0
"""Run an iterator in a thread of its own, a bounded number of items ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar('T')

_POLL_S = 0.1  # how late a producer that waits for room notices that nobody wants more


class _End:
    """Last item of the queue; carries what ended the iterator."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetcher(Generic[T]):
    """Iterate over `items` while a thread produces the next ones; use it as a context manager.

    Order is kept, an error of the iterator is raised where its item would have come, and leaving
    the block stops the thread and waits for it.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        """Prepare the thread.

        Args:
            items: What to produce; its `__next__` runs in the thread only.
            depth: How many finished items may wait, at least 1.

        Raises:
            ValueError: `depth` is below 1.
        """
        if depth < 1:
            raise ValueError(f'depth must be at least 1, not {depth}')
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, name='prefetch', daemon=True)

    def __enter__(self) -> Prefetcher[T]:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread; what it had produced ahead is thrown away."""
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        """Yield the items in order."""
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def _produce(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as caught:  # raised again in the consumer's thread
            error = caught
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False
