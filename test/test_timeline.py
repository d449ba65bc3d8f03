# SPDX-License-Identifier: Apache-2.0
"""Time of a recording against real time."""

import threading
import time

import pytest

from vpr_ros.replay.timeline import Timeline

BEGIN_NS = 10**18


LATE_S = 5.0  # what a busy machine may add; nothing may ever be early


def seconds_until(timeline, second, *, since):
    assert timeline.wait_until(BEGIN_NS + round(second * 1e9))
    return time.monotonic() - since


def is_about(seconds, expected):
    return expected - 1e-6 <= seconds < expected + LATE_S


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_runs_at_its_rate(rate):
    timeline = Timeline(rate)
    assert timeline.now_ns() is None
    since = time.monotonic()
    timeline.begin(BEGIN_NS)
    assert is_about(seconds_until(timeline, 0.1 * rate, since=since), 0.1)
    assert is_about((timeline.now_ns() - BEGIN_NS) / 1e9 / rate, 0.1)
    since = time.monotonic()
    assert seconds_until(timeline, -1.0, since=since) < LATE_S  # what is late waits no longer
    assert is_about(timeline.late_s(BEGIN_NS), 0.1)


def test_stands_in_a_pause_and_goes_on_from_there():
    timeline = Timeline()
    timeline.begin(BEGIN_NS)
    timeline.pause()
    assert timeline.paused
    stood_at, before_ns = timeline.now_ns(), time.time_ns()
    since = time.monotonic()
    threading.Timer(0.2, timeline.resume).start()
    time.sleep(0.1)
    assert timeline.now_ns() == stood_at
    assert timeline.wait_until(stood_at + 10**8)
    assert is_about(time.monotonic() - since, 0.3)
    # What is due at a moment of the recording is moved to the present by what the pause took.
    assert is_about((timeline.system_ns(stood_at) - before_ns) / 1e9, 0.2)


def test_a_pause_holds_back_what_is_late():
    timeline = Timeline(paused=True)
    timeline.begin(BEGIN_NS)
    since = time.monotonic()
    threading.Timer(0.1, timeline.resume).start()
    assert is_about(seconds_until(timeline, -5.0, since=since), 0.1)


def test_held_stands_whatever_the_keys_say():
    timeline = Timeline()
    timeline.begin(BEGIN_NS, held=True)
    timeline.pause()
    timeline.resume()
    time.sleep(0.05)
    assert timeline.now_ns() == BEGIN_NS
    since = time.monotonic()
    timeline.begin(BEGIN_NS)
    assert is_about(seconds_until(timeline, 0.05, since=since), 0.05)


def test_stop_ends_every_wait():
    timeline = Timeline(paused=True)
    timeline.begin(BEGIN_NS)
    threading.Timer(0.1, timeline.stop).start()
    assert not timeline.wait_until(BEGIN_NS)
    assert timeline.stopped


@pytest.mark.parametrize('rate', [0.0, -1.0, float('inf'), float('nan')])
def test_rate_must_be_positive(rate):
    with pytest.raises(ValueError, match='rate must be positive'):
        Timeline(rate)


def test_nothing_is_due_before_it_begins():
    with pytest.raises(RuntimeError, match='has not begun'):
        Timeline().late_s(0)
