# SPDX-License-Identifier: Apache-2.0
import time

from vpr_ros.benchmarks.retrieval import BATCH, READ_AHEAD, _read_ahead


def test_pictures_are_read_a_bounded_number_ahead():
    read = []
    batches = [[lambda i=i: read.append(i) or i] * BATCH for i in range(20 * READ_AHEAD)]
    reading = _read_ahead(batches)
    first = next(reading)
    time.sleep(0.2)  # in which an unbounded reader would have read them all
    assert len(read) <= (READ_AHEAD + 1) * BATCH
    assert [first, *reading] == [[i] * BATCH for i in range(20 * READ_AHEAD)]
