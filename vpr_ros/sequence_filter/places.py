# SPDX-License-Identifier: Apache-2.0
"""Which places are near which: neighbourhoods in steps, for maps that grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_CELL_STEPS = 6.0
_AXIS_BITS = 20
_AXIS_LIMIT = 1 << (_AXIS_BITS - 1)  # cells either side of the origin
_MIN_TO_MEASURE = 10  # places from which their spacing is taken


@dataclass(frozen=True)
class Edges:
    """Pairs of places near each other.

    Attributes:
        source: (E,) int64, index into the rows asked about.
        row: (E,) int64, the neighbour; each place is its own neighbour.
        steps: (E,) float64, distance in steps.
        turn_steps: (E,) float64, angle between the views in steps; 0 where unknown.
    """

    source: np.ndarray
    row: np.ndarray
    steps: np.ndarray
    turn_steps: np.ndarray


class Places:
    """The places of a map, with distances in steps.

    A step is the spacing of the map, or `place_radius_m` if that is more; and `place_angle_deg` of
    turning, where orientations are known. Without positions a step is one place in map order: a
    map that joins several drives then takes the end of one and the start of the next for
    neighbours, which costs nothing but a little certainty there.

    Places are found through a hash of cells kept in order, so that adding one and asking for the
    neighbours of a few both take well under a millisecond at 100,000 places.

    Attributes:
        is_metric: Whether positions are known; decided by the first places.
        has_orientations: Whether orientations are known, likewise.
        step_m: Length of a step, metres; NaN without positions.
    """

    def __init__(self, *, place_radius_m: float, place_angle_deg: float) -> None:
        """Start without places."""
        self._radius_m = place_radius_m
        self._angle_rad = math.radians(place_angle_deg)
        self.is_metric = False
        self.has_orientations = False
        self.step_m = math.nan
        self._count = 0
        self._measured_at = 0
        self._positions = np.empty((0, 3))  # metres, with room to grow
        self._orientations = np.empty((0, 4))
        self._keys: np.ndarray = np.empty(0, np.int64)  # of cells, ascending
        self._order: np.ndarray = np.empty(0, np.int64)  # the rows in that order
        self._axes: np.ndarray = np.arange(3)  # the longest last: its cells have neighbouring keys
        self._reach = np.zeros((2, 3), np.int64)  # lowest and highest cell

    def __len__(self) -> int:
        """Return N, the number of places."""
        return self._count

    def append(self, positions: np.ndarray, orientations_xyzw: np.ndarray) -> None:
        """Add places.

        Args:
            positions: (n, 3) float64, metres; NaN: unknown. A few unknown ones among known ones
                are put between their neighbours in map order.
            orientations_xyzw: (n, 4) float64, unit quaternions; NaN: unknown.

        Raises:
            ValueError: Shapes disagree or a value is infinite.
        """
        n = len(positions)
        if positions.shape != (n, 3) or orientations_xyzw.shape != (n, 4):
            raise ValueError(
                'places need positions (n, 3) and orientations (n, 4), not '
                f'{positions.shape} and {orientations_xyzw.shape}'
            )
        if np.isinf(positions).any() or np.isinf(orientations_xyzw).any():
            raise ValueError('the pose of a place is infinite')
        if n == 0:
            return
        if self._count == 0:
            known = np.isfinite(positions).all(axis=1)
            self.is_metric = 2 * int(known.sum()) > n
            self.has_orientations = self.is_metric and bool(np.isfinite(orientations_xyzw).any())
        first = self._count
        self._positions = _with_room(self._positions, first, n)
        self._orientations = _with_room(self._orientations, first, n)
        self._count = first + n
        rows = np.arange(first, self._count)
        self._positions[rows] = self._placed(positions, first)
        self._orientations[rows] = orientations_xyzw
        if self._count >= 2 * self._measured_at or n >= first:
            self._measure()
        else:
            self._insert(rows)

    def near(self, rows: np.ndarray, radius: float, *, max_edges: int | None = None) -> Edges:
        """Find the places around some places.

        Args:
            rows: (M,) int64.
            radius: Steps; the turn is not limited.
            max_edges: Stop after the row that reaches this many; None: never.
        """
        begin, length = self._spans(rows, math.ceil(radius / _CELL_STEPS))
        if max_edges is not None:
            per_row = length.sum(axis=1)
            enough = int(np.searchsorted(np.cumsum(per_row), max_edges)) + 1
            begin, length, rows = begin[:enough], length[:enough], rows[:enough]
        source = np.repeat(np.arange(len(rows)), length.sum(axis=1))
        flat = length.ravel()
        starts = np.repeat(begin.ravel() - np.cumsum(flat) + flat, flat)
        found = self._order[starts + np.arange(len(starts))]
        steps = self._steps(rows[source], found)
        inside = steps <= radius
        source, found, steps = source[inside], found[inside], steps[inside]
        return Edges(source, found, steps, self._turn_steps(rows[source], found))

    def apart(self, first: int, second: int) -> tuple[float, float]:
        """Return distance and turn between two places, steps."""
        one, other = np.array([first]), np.array([second])
        return float(self._steps(one, other)[0]), float(self._turn_steps(one, other)[0])

    def _placed(self, positions: np.ndarray, first: int) -> np.ndarray:
        """Give unknown positions one; without any, the place in map order counts."""
        n = len(positions)
        if not self.is_metric:
            order = np.arange(first, first + n, dtype=np.float64)
            return np.stack([order, np.zeros(n), np.zeros(n)], axis=1)
        known = np.isfinite(positions).all(axis=1)
        if not known.any():
            return np.repeat(self._positions[first - 1][None], n, axis=0)
        index = np.arange(n)
        return np.stack(
            [np.interp(index, index[known], axis[known]) for axis in positions.T], axis=1
        )

    def _measure(self) -> None:
        """Take the step from the spacing, and hash all places anew."""
        self._measured_at = max(self._count, _MIN_TO_MEASURE)
        positions = self._positions[: self._count]
        self.step_m = math.nan
        if self.is_metric:
            apart = np.linalg.norm(np.diff(positions, axis=0), axis=1)
            apart = apart[apart > 0]
            spacing = float(np.median(apart)) if len(apart) else 0.0
            self.step_m = max(spacing, self._radius_m)
        cells = self._cells(positions)
        self._reach = np.stack([cells.min(axis=0), cells.max(axis=0)])
        self._axes = np.argsort(np.ptp(cells, axis=0), kind='stable')
        keys = self._keys_of(cells)
        self._order = np.argsort(keys, kind='stable')
        self._keys = keys[self._order]

    def _insert(self, rows: np.ndarray) -> None:
        cells = self._cells(self._positions[rows])
        self._reach[0] = np.minimum(self._reach[0], cells.min(axis=0))
        self._reach[1] = np.maximum(self._reach[1], cells.max(axis=0))
        keys = self._keys_of(cells)
        by_key = np.argsort(keys, kind='stable')
        where = np.searchsorted(self._keys, keys[by_key], side='right')
        self._keys = np.insert(self._keys, where, keys[by_key])
        self._order = np.insert(self._order, where, rows[by_key])

    def _unit_m(self) -> float:
        return self.step_m if self.is_metric else 1.0

    def _cells(self, positions: np.ndarray) -> np.ndarray:
        cells = np.floor(positions / (self._unit_m() * _CELL_STEPS))
        return np.clip(cells, 2 - _AXIS_LIMIT, _AXIS_LIMIT - 2).astype(np.int64)

    def _keys_of(self, cells: np.ndarray) -> np.ndarray:
        shifted = np.clip(cells + _AXIS_LIMIT, 0, 2 * _AXIS_LIMIT - 1)[..., self._axes]
        return (
            (shifted[..., 0] << 2 * _AXIS_BITS) | (shifted[..., 1] << _AXIS_BITS) | shifted[..., 2]
        )

    def _spans(self, rows: np.ndarray, rings: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (M, B) begins and lengths in `_order` of the cells around each row."""
        cells = self._cells(self._positions[rows])
        size = self._reach[1] - self._reach[0]
        outer, middle, inner = self._axes
        wide = [np.arange(-r, r + 1) for r in np.minimum(rings, size[[outer, middle]])]
        steps = np.stack(np.meshgrid(*wide, indexing='ij'), axis=-1).reshape(-1, 2)
        block = np.repeat(cells[:, None], len(steps), axis=1)  # (M, B, 3)
        block[..., outer] += steps[:, 0]
        block[..., middle] += steps[:, 1]
        low, high = block.copy(), block
        low[..., inner] -= rings
        high[..., inner] += rings
        begin = np.searchsorted(self._keys, self._keys_of(low), side='left')
        end = np.searchsorted(self._keys, self._keys_of(high), side='right')
        return begin, end - begin

    def _steps(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        away = self._positions[rows] - self._positions[others]
        return np.sqrt(np.einsum('ij,ij->i', away, away)) / self._unit_m()

    def _turn_steps(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        if not self.has_orientations:
            return np.zeros(len(rows))
        cosine = np.abs(
            np.einsum('ij,ij->i', self._orientations[rows], self._orientations[others])
        )
        turn = 2 * np.arccos(np.minimum(cosine, 1.0)) / self._angle_rad
        return np.nan_to_num(turn, nan=0.0)


def _with_room(values: np.ndarray, used: int, wanted: int) -> np.ndarray:
    """Return the array with room for more rows, doubling it when it is full."""
    if used + wanted <= len(values):
        return values
    larger = np.full((max(used + wanted, 2 * len(values)), values.shape[1]), np.nan)
    larger[:used] = values[:used]
    return larger
