# SPDX-License-Identifier: Apache-2.0
"""The reading thread: order, bound, errors and a clean stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from vpr_ros.prefetch import Prefetcher


def test_order_is_kept() -> None:
    with Prefetcher(iter(range(1000)), depth=4) as ahead:
        assert list(ahead) == list(range(1000))


def test_production_runs_ahead_but_no_further_than_asked() -> None:
    produced = []

    def items() -> Iterator[int]:
        for i in range(100):
            produced.append(i)
            yield i

    with Prefetcher(items(), depth=5) as ahead:
        assert next(iter(ahead)) == 0
        deadline = time.monotonic() + 5
        while len(produced) < 7 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(produced) == 7  # one taken, five waiting, one in the hand of the thread


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError('disk gone')

    seen: list[int] = []
    with Prefetcher(items(), depth=8) as ahead, pytest.raises(OSError, match='disk gone'):
        seen.extend(ahead)
    assert seen == [1, 2]


def test_leaving_early_stops_the_thread() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            i = 0
            while True:
                yield i
                i += 1
        finally:
            closed.set()

    generator = items()
    with pytest.raises(KeyboardInterrupt), Prefetcher(generator, depth=2) as ahead:
        for item in ahead:
            if item == 10:
                raise KeyboardInterrupt
    assert not any(thread.name == 'prefetch' for thread in threading.enumerate())
    generator.close()
    assert closed.is_set()


def test_depth_must_be_positive() -> None:
    with pytest.raises(ValueError, match='depth'):
        Prefetcher([], depth=0)
