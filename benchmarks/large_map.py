# SPDX-License-Identifier: Apache-2.0
"""What an evaluation among a million places costs: memory and time of the whole road.

Descriptors are made, everything after the network is what `vpr evaluate benchmark` runs. Every
query is the descriptor of a known place with noise, so that the answers are checked, too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.benchmarks.retrieval import Describer, look_up
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.evaluation.metrics import recall_at_k
from vpr_ros.model_ref import ModelRef

BATCH = 256
TOP_K = 20
PARTS = 1024  # a place is a sum of two of so many parts each: a million places, made in no time
NOISE = 0.5  # length of a query's noise; its place has length 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--places', type=int, nargs='+', default=[10_000, 100_000, 1_000_000])
    parser.add_argument('--queries', type=int, default=1_000)
    parser.add_argument('--size', type=int, default=512, help='values of a descriptor')
    parser.add_argument('--json', type=Path, help='write the rows here, too')
    args = parser.parse_args()
    print(f'{args.queries} queries, {args.size} values, {os.cpu_count()} cores\n')
    print('| places | descriptors, GiB | peak memory, GiB | seconds | recall@1 |')
    print('|---|---|---|---|---|')
    rows = []
    for places in sorted(args.places):  # the peak is that of the process so far
        start = time.perf_counter()
        recall = measure(places, args.queries, args.size)
        row = {
            'places': places,
            'descriptors_gib': places * args.size * 4 / 2**30,
            'peak_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            'seconds': time.perf_counter() - start,
            'recall@1': recall,
        }
        rows.append(row)
        print(
            f'| {places:,} | {row["descriptors_gib"]:.2f} | {row["peak_gib"]:.2f} | '
            f'{row["seconds"]:.1f} | {recall:.3f} |',
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + '\n', encoding='utf-8')


def measure(places: int, queries: int, size: int) -> float:
    """Look queries up among so many places; return recall@1."""
    planted = np.random.default_rng(0).choice(places, queries, replace=False)
    truth = [np.array([place]) for place in planted]
    asked = RetrievalSet(
        'made',
        '',
        [partial(np.array, [place, 0]) for place in range(places)],
        [partial(np.array, [place, 1]) for place in planted],
        truth,
        truth,
    )
    ref = ModelRef('made', '0' * 64, size)
    describer = Describer(ref, MadeDescriptors(size))
    found = look_up(describer, asked, top_k=TOP_K, batch_size=BATCH)
    return recall_at_k(found.rows, asked.truth, (1,))[1]


class MadeDescriptors:
    """In place of a network: a 'picture' is [number of the place, whether it is a query]."""

    def __init__(self, size: int) -> None:
        self._rng = np.random.default_rng(1)
        self._first, self._second = self._rng.standard_normal((2, PARTS, size), np.float32)

    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Return (B, D) float32 of unit norm."""
        place, is_query = np.stack(pictures).T
        described = _unit(self._first[place % PARTS] + self._second[place // PARTS])
        noise = _unit(self._rng.standard_normal(described.shape, np.float32))
        return _unit(described + NOISE * is_query[:, None].astype(np.float32) * noise)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == '__main__':
    main()
