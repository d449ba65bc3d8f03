# SPDX-License-Identifier: Apache-2.0
"""What the node costs over the bare extractor, and whether its memory grows.

Cost: rounds of the same pictures, 640x480 rgb8, through `DescriptorExtractor.extract` in a loop,
then over DDS through the node, player and node on the same cores, at several shares of the rate
that the loop has just reached. The most pictures a second that the node answered are what it can
do; how many fewer than in the loop is what it costs. Beside it the processor time of a picture,
which other work on the machine changes less: of the node at the lowest rate, how much more than
of the loop.

Memory: resident memory of the node while it is played many pictures. The slope is that of a
straight line through the second half, when all caches are warm.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vpr_ros.conversions import image_from_rgb
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.live.run import Hooks, LiveRun, run_live
from vpr_ros.picture_folder import read_picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.replay.player import Pace
from vpr_ros.replay.recording import Event, Recording
from vpr_ros.resources import default_model

WIDTH, HEIGHT = 640, 480
DIFFERENT = 100  # pictures that are played round and round
SHARES = (0.7, 0.8, 0.9)  # of the bare extractor's rate
SAMPLES = 20  # of the memory


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5, help='of the cost; 0: none')
    parser.add_argument('--pictures', type=int, default=400, help='each time')
    parser.add_argument('--memory-pictures', type=int, default=10_000, help='0: none')
    parser.add_argument('--memory-rate', type=float, default=40.0, help='pictures a second')
    args = parser.parse_args()
    data = Path(os.environ.get('VPR_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
    paths = sorted(data.glob('tum_fr1_desk/**/*.jpg'))[:DIFFERENT]
    if not paths:
        raise SystemExit(f'no pictures at {data}/tum_fr1_desk; set VPR_DATA')
    pictures = [cv2.resize(read_picture(path), (WIDTH, HEIGHT)) for path in paths]
    extractor = DescriptorExtractor(default_model(), device='cpu')
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        place_map = PlaceMap(extractor.info.ref, frame_id='map')
        place_map.add(extractor.extract_batch(pictures), stamps_ns=np.arange(len(pictures)))
        place_map.save(scratch / 'map')
        if args.rounds:
            measure_cost(extractor, pictures, args.pictures, args.rounds, scratch)
        if args.memory_pictures:
            measure_memory(pictures, args.memory_pictures, args.memory_rate, scratch)


def measure_cost(
    extractor: DescriptorExtractor,
    pictures: list[np.ndarray],
    count: int,
    rounds: int,
    scratch: Path,
) -> None:
    """Print a table, one row a round, and the median."""
    costs, times = [], []
    shares = ' | '.join(f'node at {share:.0%}' for share in SHARES)
    print(f'{count} pictures of {WIDTH}x{HEIGHT} each time, {os.cpu_count()} cores; per second\n')
    print(f'| round | bare extractor | {shares} | fewer, % | more processor time, % |')
    print('|---' * (len(SHARES) + 4) + '|')
    for number in range(1, rounds + 1):
        start, start_cpu = time.perf_counter(), time.process_time()
        for i in range(count):
            extractor.extract(pictures[i % len(pictures)])
        bare_hz = count / (time.perf_counter() - start)
        bare_s = (time.process_time() - start_cpu) / count
        answered_hz, node_s = [], []
        for share in SHARES:
            clock: dict[int, float] = {}
            live = play(pictures, count, share * bare_hz, scratch, recorder(clock, count))
            answered_hz.append(live.counts.processed / live.replay.seconds)
            answered = live.counts.processed / count * (max(clock) - min(clock))
            node_s.append((clock[max(clock)] - clock[min(clock)]) / answered)
        costs.append(100 * (1 - max(answered_hz) / bare_hz))
        times.append(100 * (node_s[0] / bare_s - 1))
        cells = ' | '.join(f'{hz:.1f}' for hz in (bare_hz, *answered_hz, costs[-1], times[-1]))
        print(f'| {number} | {cells} |', flush=True)
    print(
        f'\nmedian of the rounds: {np.median(costs):.1f} % fewer pictures a second, '
        f'{np.median(times):.1f} % more processor time a picture'
    )


def recorder(clock: dict[int, float], count: int) -> Callable[[int], None]:
    """Note the node's processor time after a quarter of the pictures, when it is warm, and all."""

    def note(sent: int) -> None:
        if sent in (count // 4, count):
            clock[sent] = node_seconds()

    return note


def measure_memory(pictures: list[np.ndarray], count: int, rate_hz: float, scratch: Path) -> None:
    """Print the resident memory of the node over time, and its slope."""
    samples: list[tuple[float, float]] = []

    def sample(sent: int) -> None:
        if sent % (count // SAMPLES) == 0:
            samples.append((sent / 1000, resident_mib()))

    live = play(pictures, count, rate_hz, scratch, sample)
    print(f'\n{live.counts.processed} of {count} pictures answered\n')
    print('| thousand pictures | resident memory of the node, MiB |\n|---|---|')
    for thousands, mib in samples:
        print(f'| {thousands:.1f} | {mib:.1f} |')
    half = np.array(samples[len(samples) // 2 :])
    slope = np.polyfit(half[:, 0], half[:, 1], 1)[0]
    print(f'\nslope over the second half: {slope:+.3f} MiB per 1000 pictures')


def play(
    pictures: list[np.ndarray],
    count: int,
    rate_hz: float,
    scratch: Path,
    progress: Callable[[int], None] | None = None,
) -> LiveRun:
    """Play so many pictures to a fresh node."""

    def events() -> Iterator[Event]:
        for i in range(count):
            message = image_from_rgb(pictures[i % len(pictures)], Header(frame_id='camera'))
            yield Event(round(i * 1e9 / rate_hz), 'image', message, i)

    return run_live(
        Recording({'image': Image}, events, inputs={'image': 'image'}),
        place_map=PlaceMap.load(scratch / 'map'),
        model=default_model(),
        log=scratch / 'node.log',
        pace=Pace(restamp=True),
        hooks=Hooks() if progress is None else Hooks(progress=progress),
    )


def node_folder() -> Path:
    """Where the system tells of the node, the only child of this process."""
    pid = os.getpid()
    (node,) = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    return Path('/proc') / node


def resident_mib() -> float:
    """Resident memory of the node."""
    pages = int((node_folder() / 'statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def node_seconds() -> float:
    """Processor time that the node has taken so far, user and system."""
    after_name = (node_folder() / 'stat').read_text().rpartition(')')[2].split()
    return sum(map(int, after_name[11:13])) / os.sysconf('SC_CLK_TCK')


if __name__ == '__main__':
    main()
