# SPDX-License-Identifier: Apache-2.0
"""Which places would have been right: by the order of pictures, or by where they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vpr_ros.errors import SourceError
from vpr_ros.frames import PictureRef
from vpr_ros.pose_lookup import PoseLookup
from vpr_ros.poses import NS_PER_S


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
        asks_only_mapped: Whether only pictures of mapped places are asked for recall@K: a robot
            drives where the map does not reach, and in its own past most places are new.
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


def track_of(pictures: Sequence[PictureRef], poses: PoseLookup) -> Track:
    """Return where some pictures were taken.

    Raises:
        SourceError: There is a pose for none of them.
    """
    found = [poses.pose_of(picture) for picture in pictures]
    track = Track(np.array([pose[0] for pose in found]), np.array([pose[1] for pose in found]))
    if not np.isfinite(track.positions).all(axis=1).any():
        first, last = pictures[0].stamp_ns / NS_PER_S, pictures[-1].stamp_ns / NS_PER_S
        raise SourceError(
            f'none of the {len(pictures)} pictures has a pose: {poses.coverage()}, the pictures '
            f'from {first:.3f} s to {last:.3f} s; do both come from one clock? (--time-offset, '
            '--max-pose-gap, --stamps record)'
        )
    return track


def truth_by_pose(
    track: Track,
    places: Track,
    *,
    within_m: float,
    within_deg: float,
    searched: np.ndarray | None = None,
) -> Truth:
    """Judge by where pictures and places were taken.

    Args:
        track: The pictures.
        places: The places of the map.
        within_m: Metres that are still right.
        within_deg: Degrees that are still right.
        searched: (Q,) how many places, from the first, each picture was looked up among; None:
            all, of a map that was there before.

    Raises:
        SourceError: No picture was taken near a place, so that nothing could be right.
    """
    positives = positives_by_pose(track, places, within_m=within_m, within_deg=within_deg)
    if searched is not None:
        positives = [
            None if rows is None else rows[rows < count]
            for rows, count in zip(positives, searched, strict=True)
        ]
    if not any(rows is not None and len(rows) for rows in positives):
        raise SourceError(
            f'no picture was taken within {within_m:g} m and {within_deg:g} degrees of a place: '
            f'the pictures reach over {_extent(track)}, the places over {_extent(places)}; are '
            'both in one frame? Otherwise raise --within or, of a run against its own past, lower '
            '--apart'
        )
    return Truth(
        rule=f'a place within {within_m:g} m and {within_deg:g} degrees of the picture',
        positives=tuple(positives),
        track=track,
        asks_only_mapped=True,
    )


def _extent(track: Track) -> str:
    known = track.positions[np.isfinite(track.positions).all(axis=1)]
    if not len(known):
        return 'nothing known'
    ranges = zip('xyz', known.min(axis=0), known.max(axis=0), strict=True)
    return ', '.join(f'{axis} {low:.1f} to {high:.1f} m' for axis, low, high in ranges)


def truth_by_order(
    indices: Sequence[int], rows_of_references: np.ndarray, *, tolerance: int
) -> Truth:
    """Judge by the order of two traverses of one route.

    Args:
        indices: Q numbers, of the query pictures in their traverse.
        rows_of_references: (N,) int64, the row in the map of each reference picture; -1: it became
            no place, being blank.
        tolerance: Pictures either side that are still right.
    """
    rule = f'the place of reference picture i for picture i, give or take {tolerance}'
    of_all = positives_by_order(max(indices, default=-1) + 1, len(rows_of_references), tolerance)
    return truth_by_references([of_all[index] for index in indices], rows_of_references, rule)


def truth_by_references(
    wanted: Sequence[np.ndarray | None], rows_of_references: np.ndarray, rule: str
) -> Truth:
    """Judge by reference pictures that are known to be right.

    Args:
        wanted: For each query the indices of the reference pictures; None: not known.
        rows_of_references: As in `truth_by_order`.
        rule: What counts as right.
    """
    positives = []
    for indices in wanted:
        rows = None if indices is None else rows_of_references[indices]
        positives.append(None if rows is None else np.sort(rows[rows >= 0]))
    return Truth(rule=rule, positives=tuple(positives))
