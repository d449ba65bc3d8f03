# SPDX-License-Identifier: Apache-2.0
"""Time of a recording against real time."""

import threading
import time

import pytest

from vpr_ros.replay.timeline import Timeline

BEGIN_NS = 10**18


def seconds_until(timeline, second):
    begin = time.monotonic()
    assert timeline.wait_until(BEGIN_NS + round(second * 1e9))
    return time.monotonic() - begin


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_runs_at_its_rate(rate):
    timeline = Timeline(rate)
    assert timeline.now_ns() is None
    timeline.begin(BEGIN_NS)
    assert seconds_until(timeline, 0.1 * rate) == pytest.approx(0.1, abs=0.03)
    assert timeline.now_ns() - BEGIN_NS == pytest.approx(0.1e9 * rate, abs=0.03e9 * rate)
    assert seconds_until(timeline, -1.0) < 0.01  # what is late waits no longer
    assert timeline.late_s(BEGIN_NS) == pytest.approx(0.1, abs=0.03)


def test_stands_in_a_pause_and_goes_on_from_there():
    timeline = Timeline()
    timeline.begin(BEGIN_NS)
    timeline.pause()
    assert timeline.paused
    stood_at = timeline.now_ns()
    before_ns = time.time_ns()
    threading.Timer(0.2, timeline.resume).start()
    time.sleep(0.1)
    assert timeline.now_ns() == stood_at
    assert seconds_until(timeline, 0.1) == pytest.approx(0.2, abs=0.05)  # 0.1 of pause are left
    # What is due at a moment of the recording is moved to the present by what the pause took.
    assert timeline.system_ns(stood_at) - before_ns == pytest.approx(0.2e9, abs=0.05e9)


def test_a_pause_holds_back_what_is_late():
    timeline = Timeline(paused=True)
    timeline.begin(BEGIN_NS)
    threading.Timer(0.1, timeline.resume).start()
    assert seconds_until(timeline, -5.0) == pytest.approx(0.1, abs=0.05)


def test_held_stands_whatever_the_keys_say():
    timeline = Timeline()
    timeline.begin(BEGIN_NS, held=True)
    timeline.pause()
    timeline.resume()
    time.sleep(0.05)
    assert timeline.now_ns() == BEGIN_NS
    timeline.begin(BEGIN_NS)
    assert seconds_until(timeline, 0.05) == pytest.approx(0.05, abs=0.03)


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
