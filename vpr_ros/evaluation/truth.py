# SPDX-License-Identifier: Apache-2.0
"""Which places would have been right: by the order of pictures, or by where they were taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Track:
    """Where pictures were taken.

    Attributes:
        positions: (Q, 3) float64, metres in the map's frame; NaN: unknown.
        orientations_xyzw: (Q, 4) float64, unit quaternions; NaN: unknown.
    """

    positions: np.ndarray
    orientations_xyzw: np.ndarray


@dataclass(frozen=True)
class Truth:
    """What would have been right for each picture of a run.

    Attributes:
        rule: What counts as right, one clause to be read after "right is".
        positives: For each picture the rows (int64, ascending) of the map that are right, none
            where the map does not have its place; None: not known, the picture is not judged.
        track: Where the pictures were taken; None: not known.
        asks_only_mapped: Whether only pictures of mapped places are asked for recall@K, as in a
            run against its own past, where most places are new.
    """

    rule: str
    positives: tuple[np.ndarray | None, ...]
    track: Track | None = None
    asks_only_mapped: bool = False


def positives_by_order(num_queries: int, num_references: int, tolerance: int) -> list[np.ndarray]:
    """Truth of two traverses of one route: query i shows references i - tolerance … i + tolerance.

    Args:
        num_queries: Q.
        num_references: N.
        tolerance: Pictures either side that still count as the same place.

    Returns:
        Q arrays of reference rows, int64.

    Raises:
        ValueError: Negative tolerance.
    """
    if tolerance < 0:
        raise ValueError(f'tolerance must be 0 pictures or more, not {tolerance}')
    rows = np.arange(num_references)
    return [rows[max(0, i - tolerance) : i + tolerance + 1] for i in range(num_queries)]


def positives_by_pose(
    queries: Track, places: Track, *, within_m: float, within_deg: float
) -> list[np.ndarray | None]:
    """For each query the map rows within a distance and an angle of it, the edges included.

    Args:
        queries: Where the pictures were taken.
        places: Where the places of the map are.
        within_m: Metres.
        within_deg: Degrees; orientations that are unknown (NaN) are not compared.

    Returns:
        Q arrays of rows, int64, ascending; None: the query's position is unknown.
    """
    known = np.flatnonzero(np.isfinite(places.positions).all(axis=1))
    tree = cKDTree(places.positions[known])
    positives: list[np.ndarray | None] = []
    for position, orientation in zip(queries.positions, queries.orientations_xyzw, strict=True):
        if not np.isfinite(position).all():
            positives.append(None)
            continue
        near = np.array(tree.query_ball_point(position, within_m, return_sorted=True), np.int64)
        rows = known[near]
        cosine = np.clip(np.abs(places.orientations_xyzw[rows] @ orientation), 0, 1)
        turned = np.degrees(2 * np.arccos(cosine)) > within_deg  # NaN compares as False
        positives.append(rows[~turned])
    return positives
