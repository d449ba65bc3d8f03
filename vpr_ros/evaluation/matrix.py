# SPDX-License-Identifier: Apache-2.0
"""Every picture against every place, pooled to a size that can be drawn, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpr_ros.evaluation.truth import Positives

CELLS = 1000  # a side at most
_PLACES_AT_ONCE = 8192
_PICTURES_AT_ONCE = 1024


def edges(num: int, cells: int = CELLS) -> np.ndarray:
    """Return where cells of about equal size begin, and the end: (cells + 1,) int64 in 0 … num."""
    return np.linspace(0, num, min(num, cells) + 1).astype(np.int64)


def similarity_cells(
    queries: Sequence[np.ndarray | None], places: np.ndarray, *, cells: int = CELLS
) -> np.ndarray:
    """Compare all pictures with all places; a cell holds the largest similarity of its pairs.

    Args:
        queries: Q descriptors, (D,) float32, unit norm; None: there is none.
        places: (N, D) float32 or float16, unit norm; may be memory-mapped.
        cells: Most rows and columns of the result.

    Returns:
        (min(Q, cells), min(N, cells)) float32 cosine similarities; NaN where no picture of the
        row has a descriptor.
    """
    rows, columns = edges(len(queries), cells), edges(len(places), cells)
    pooled = np.full((len(rows) - 1, len(columns) - 1), -np.inf, np.float32)
    usable = np.array([query is not None for query in queries])
    unknown = np.zeros(places.shape[1], np.float32)
    for left, right in _blocks(columns, _PLACES_AT_ONCE):
        block = np.asarray(places[columns[left] : columns[right]], np.float32).T
        starts = columns[left:right] - columns[left]
        for top, bottom in _blocks(rows, _PICTURES_AT_ONCE):
            first, last = rows[top], rows[bottom]
            asked = np.stack([unknown if q is None else q for q in queries[first:last]])
            scores = np.maximum.reduceat(asked @ block, starts, axis=1)
            scores[~usable[first:last]] = -np.inf
            pooled[top:bottom, left:right] = np.maximum.reduceat(
                scores, rows[top:bottom] - first, axis=0
            )
    pooled[np.isneginf(pooled)] = np.nan
    return pooled


def truth_cells(positives: Positives, num_places: int, *, cells: int = CELLS) -> np.ndarray:
    """Mark the cells with a pair that is right.

    Args:
        positives: For each of Q pictures the rows of the map that are right; None: not known.
        num_places: N.
        cells: As of `similarity_cells`.

    Returns:
        bool, of the shape that `similarity_cells` returns.
    """
    rows, columns = edges(len(positives), cells), edges(num_places, cells)
    marked = np.zeros((len(rows) - 1, len(columns) - 1), bool)
    for query, right in enumerate(positives):
        if right is not None and len(right):
            row = np.searchsorted(rows, query, 'right') - 1
            marked[row, np.searchsorted(columns, right, 'right') - 1] = True
    return marked


def _blocks(cell_edges: np.ndarray, at_once: int) -> list[tuple[int, int]]:
    """Return ranges of cells that hold about `at_once` items each, and one cell at least."""
    num_cells = len(cell_edges) - 1
    items_per_cell = max(1, int(cell_edges[-1]) // num_cells)
    step = max(1, at_once // items_per_cell)
    return [(start, min(start + step, num_cells)) for start in range(0, num_cells, step)]
