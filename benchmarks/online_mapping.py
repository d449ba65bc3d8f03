# SPDX-License-Identifier: Apache-2.0
"""What adding a place and searching cost while a map grows, and what the search misses.

Every step adds one place and searches one picture, as a robot that learns its map; the same
picture then goes through the exact search of `PlaceMap.search_batch` (FAISS, flat), the baseline.
CPU is the time in which the one thread that adds and searches had a core: where others want the
cores, the rest is waiting.

The descriptors are those of the shipped model for the sequences in VPR_DATA, every second
picture; the pictures between them ask, by day and night. There are too few for a large map, so
the rest is made from them: half lie between two successive pictures, half are blends of any two
(which look like several places at once), all with noise of a length of 0.1 to 0.5. As many
queries again are made places with noise of 0.4. Sizes below the model's come by a fixed random
orthogonal projection, which keeps the similarities.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.model_ref import ModelRef
from vpr_ros.picture_folder import read_picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.resources import default_model

SEQUENCES = (
    *('gardens_point/day_left', 'gardens_point/day_right', 'gardens_point/night_right'),
    *('kitti_03', 'red_kitchen', 'tum_fr1_desk'),
)
NOISE_OF_PLACES, NOISE_OF_QUERIES = (0.1, 0.3, 0.5), 0.4
TOP_K = 20
SAME = 1e-5  # similarities that differ by less are equal: two ways of adding up 512 products


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds, recall of the exact search's places."""

    places: int
    values: int
    add_ms_p50: float
    add_ms_p95: float
    search_ms_p50: float
    search_ms_p95: float
    flat_ms_p50: float
    flat_ms_p95: float
    ratio_to_flat: float
    both_ms_p95: float
    both_cpu_ms_p95: float
    prepare_s: float
    recall_1: float
    recall_20: float
    queries: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--places', type=int, nargs='+', default=[10_000, 100_000])
    parser.add_argument('--sizes', type=int, nargs='+', default=[512, 1024])
    parser.add_argument('--steps', type=int, default=300, help='timed, of each map')
    parser.add_argument('--every', type=int, default=1, help='describe every N-th picture only')
    parser.add_argument('--json', type=Path, help='write the rows here, too')
    args = parser.parse_args()
    described = describe(args.every)
    print(f'{sum(map(len, described))} pictures, {os.cpu_count()} cores\n')
    print(
        '| places | values | add, ms p50 / p95 | search, ms p50 / p95 | flat, ms p50 / p95 | '
        'search / flat | add + search, ms p95 | CPU ms p95 | recall@1 | recall@20 |'
    )
    print('|' + '---|' * 10)
    rows = []
    for places in args.places:
        for size in args.sizes:
            row = measure(*make_map(described, places + args.steps, size), args.steps)
            rows.append(row)
            print(
                f'| {row.places:,} | {row.values} | {row.add_ms_p50:.2f} / {row.add_ms_p95:.2f} | '
                f'{row.search_ms_p50:.2f} / {row.search_ms_p95:.2f} | '
                f'{row.flat_ms_p50:.2f} / {row.flat_ms_p95:.2f} | {row.ratio_to_flat:.3f} | '
                f'{row.both_ms_p95:.2f} | {row.both_cpu_ms_p95:.2f} | '
                f'{row.recall_1:.4f} | {row.recall_20:.4f} |',
                flush=True,
            )
    if args.json:
        content = [asdict(row) for row in rows]
        args.json.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def describe(every: int) -> list[np.ndarray]:
    """Describe the sequences, (N, D) float32 each."""
    data = Path(os.environ.get('VPR_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
    extractor = DescriptorExtractor(default_model(), device='cpu')
    found = []
    for name in SEQUENCES:
        files = sorted((data / name).rglob('*.jpg'))[::every]
        if not files:
            raise SystemExit(f'no pictures at {data / name}; set VPR_DATA')
        found.append(np.stack([extractor.extract(read_picture(file)) for file in files]))
    return found


def make_map(described: list[np.ndarray], num: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the descriptors of places (num, size) and of queries (Q, size), both float32."""
    rng = np.random.default_rng(0)
    full = described[0].shape[1]
    if size > full:
        raise SystemExit(f'--sizes: the model has {full} values, not {size}')
    turn = np.linalg.qr(rng.standard_normal((full, full)))[0][:, :size]
    places = [_unit(sequence[::2] @ turn) for sequence in described]
    queries = _unit(np.concatenate([sequence[1::2] for sequence in described]) @ turn)
    after = np.concatenate([np.minimum(np.arange(len(p)) + 1, len(p) - 1) for p in places])
    after += np.repeat(np.cumsum([0, *map(len, places[:-1])]), [len(p) for p in places])
    real = np.concatenate(places)
    made = max(0, num - len(real))
    first = rng.integers(len(real), size=made)
    second = np.where(rng.random(made) < 0.5, after[first], rng.integers(len(real), size=made))
    share = rng.random((made, 1))
    between = _unit(share * real[first] + (1 - share) * real[second])
    between += rng.choice(NOISE_OF_PLACES, (made, 1)) * _unit(rng.standard_normal(between.shape))
    everything = np.concatenate([real, _unit(between)])[rng.permutation(num)]
    seen = everything[rng.choice(num, len(queries))]
    seen = _unit(seen + NOISE_OF_QUERIES * _unit(rng.standard_normal(seen.shape)))
    asked = np.concatenate([queries, seen])[rng.permutation(2 * len(queries))]
    return everything.astype(np.float32), asked.astype(np.float32)


def measure(places: np.ndarray, queries: np.ndarray, steps: int) -> Row:
    """Grow a map by its last places, a search after each; compare with the exact search."""
    size = places.shape[1]
    place_map = PlaceMap(ModelRef('made', '0' * 64, size))
    known = len(places) - steps
    place_map.add(places[:known], stamps_ns=np.arange(known))
    prepare_s, _ = _timed(place_map.prepare)
    add_s, search_s, flat_s, cpu_s = np.empty((4, steps))
    for step in range(steps):
        row, query = known + step, queries[step % len(queries)]
        add_s[step], add_cpu_s = _timed(
            lambda row=row: place_map.add(
                places[row : row + 1], stamps_ns=np.array([row]), positions=np.zeros((1, 3))
            )
        )
        search_s[step], search_cpu_s = _timed(lambda query=query: place_map.search(query, TOP_K))
        flat_s[step], _ = _timed(lambda query=query: place_map.search_batch(query[None], TOP_K))
        cpu_s[step] = add_cpu_s + search_cpu_s
    recall_1, recall_20 = recall(place_map, queries)
    return Row(
        places=known,
        values=size,
        add_ms_p50=_ms(add_s, 50),
        add_ms_p95=_ms(add_s, 95),
        search_ms_p50=_ms(search_s, 50),
        search_ms_p95=_ms(search_s, 95),
        flat_ms_p50=_ms(flat_s, 50),
        flat_ms_p95=_ms(flat_s, 95),
        ratio_to_flat=_ms(search_s, 50) / _ms(flat_s, 50),
        both_ms_p95=_ms(add_s + search_s, 95),
        both_cpu_ms_p95=_ms(cpu_s, 95),
        prepare_s=prepare_s,
        recall_1=recall_1,
        recall_20=recall_20,
        queries=len(queries),
    )


def recall(place_map: PlaceMap, queries: np.ndarray) -> tuple[float, float]:
    """Return the shares of the exact search's first and first 20 places that `search` finds."""
    first, found = 0, 0
    exact, _ = place_map.search_batch(queries, TOP_K)
    for query, wanted in zip(queries, exact, strict=True):
        given = np.array([match.similarity for match in place_map.search(query, TOP_K)])
        first += bool(given[0] >= wanted[0] - SAME)
        found += int((given >= wanted[-1] - SAME).sum())
    return first / len(queries), found / (len(queries) * exact.shape[1])


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that passed, and those that this thread had a core."""
    start, start_cpu = time.perf_counter(), time.thread_time()
    call()
    cpu = time.thread_time() - start_cpu
    return time.perf_counter() - start, cpu


def _ms(seconds: np.ndarray, percent: int) -> float:
    return 1e3 * float(np.percentile(seconds, percent))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


if __name__ == '__main__':
    main()
