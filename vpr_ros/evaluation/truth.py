# SPDX-License-Identifier: Apache-2.0
"""Which places would have been right: by the order of pictures, or by where they were taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

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


class Positives(Protocol):
    """For each of Q pictures the rows (int64, ascending) of the map that are right."""

    def __len__(self) -> int:
        """Return Q."""
        ...

    def __getitem__(self, picture: int, /) -> np.ndarray | None:
        """Return the rows, none where the map does not have the place; None: not known."""
        ...

    def __iter__(self) -> Iterator[np.ndarray | None]:
        """Yield those of each picture."""
        ...


@dataclass(frozen=True)
class Truth:
    """What would have been right for each picture of a run.

    Attributes:
        rule: What counts as right, one clause to be read after "right is".
        positives: What is right for each picture; one of which it is not known is not judged.
        track: Where the pictures were taken; None: not known.
        asks_only_mapped: Whether only pictures of mapped places are asked for recall@K: a robot
            drives where the map does not reach, and in its own past most places are new.
    """

    rule: str
    positives: Positives
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


class PositivesByPose:
    """The rows of a map within a distance and an angle of each query, the edges included.

    Found when asked for: where a robot stood for long, all together would not fit the memory.
    """

    def __init__(
        self,
        queries: Track,
        places: Track,
        *,
        within_m: float,
        within_deg: float,
        searched: np.ndarray | None = None,
    ) -> None:
        """Prepare the search.

        Args:
            queries: Where the pictures were taken; one whose position is unknown has None.
            places: Where the places of the map are; one whose position is unknown is never right.
            within_m: Metres.
            within_deg: Degrees; orientations that are unknown (NaN) are not compared.
            searched: (Q,) how many places, from the first, each picture was looked up among;
                None: all, of a map that was there before.
        """
        self._queries = queries
        self._places = places
        self._within_m = within_m
        self._within_deg = within_deg
        self._searched = searched
        self._known = np.flatnonzero(np.isfinite(places.positions).all(axis=1))
        self._tree = cKDTree(places.positions[self._known])

    def __len__(self) -> int:
        """Return Q, the number of queries."""
        return len(self._queries.positions)

    def __getitem__(self, query: int, /) -> np.ndarray | None:
        """Return the rows, int64, ascending; None: the query's position is unknown."""
        position = self._queries.positions[query]
        if not np.isfinite(position).all():
            return None
        near = self._tree.query_ball_point(position, self._within_m, return_sorted=True)
        rows = self._known[np.array(near, np.int64)]
        if self._searched is not None:
            rows = rows[rows < self._searched[query]]
        orientation = self._queries.orientations_xyzw[query]
        cosine = np.clip(np.abs(self._places.orientations_xyzw[rows] @ orientation), 0, 1)
        turned = np.degrees(2 * np.arccos(cosine)) > self._within_deg  # NaN compares as False
        return rows[~turned]

    def __iter__(self) -> Iterator[np.ndarray | None]:
        """Yield the rows of each query."""
        return (self[query] for query in range(len(self)))


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
            f'from {first:.3f} s to {last:.3f} s; if they go by time: is it one clock? '
            '(--time-offset, --max-pose-gap, --stamps record)'
        )
    return track


def truth_by_pose(
    track: Track,
    places: Track,
    *,
    within_m: float,
    within_deg: float,
    horizontal: bool = False,
    searched: np.ndarray | None = None,
) -> Truth:
    """Judge by where pictures and places were taken.

    Args:
        track: The pictures.
        places: The places of the map.
        within_m: Metres that are still right.
        within_deg: Degrees that are still right.
        horizontal: Whether heights are left out.
        searched: (Q,) how many places, from the first, each picture was looked up among; None:
            all, of a map that was there before.

    Raises:
        SourceError: No picture was taken near a place of a map that was there before.
    """
    compared = (_flat(track), _flat(places)) if horizontal else (track, places)
    positives = PositivesByPose(
        *compared, within_m=within_m, within_deg=within_deg, searched=searched
    )
    if searched is None and not any(rows is not None and len(rows) for rows in positives):
        raise SourceError(
            f'no picture was taken within {within_m:g} m and {within_deg:g} degrees of a place: '
            f'the pictures reach over {_extent(track)}, the places over {_extent(places)}; are '
            'both in one frame? Otherwise raise --within'
        )
    metres = f'{within_m:g} m{", on the horizontal," if horizontal else ""}'
    return Truth(
        rule=f'a place within {metres} and {within_deg:g} degrees of the picture',
        positives=positives,
        track=track,
        asks_only_mapped=True,
    )


def _flat(track: Track) -> Track:
    """Leave out heights: those of GNSS err by more than places lie apart."""
    return Track(track.positions * (1.0, 1.0, 0.0), track.orientations_xyzw)


def _extent(track: Track) -> str:
    known = track.positions[np.isfinite(track.positions).all(axis=1)]
    if not len(known):
        return 'nothing known'
    ranges = zip('xyz', known.min(axis=0), known.max(axis=0), strict=True)
    return ', '.join(f'{axis} {low:.1f} to {high:.1f} m' for axis, low, high in ranges)


def truth_by_order(
    indices: Sequence[int],
    rows_of_references: np.ndarray,
    *,
    tolerance: int,
    reference: str = 'the place of reference picture i',
) -> Truth:
    """Judge by the order of two traverses of one route.

    Args:
        indices: Q numbers, of the query pictures in their traverse.
        rows_of_references: (N,) int64, the row in the map of each reference picture; -1: it became
            no place, being blank.
        tolerance: Pictures either side that are still right.
        reference: What picture i is compared with, for people.
    """
    rule = f'{reference} for picture i, give or take {tolerance}'
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
