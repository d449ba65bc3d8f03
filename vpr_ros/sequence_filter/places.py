# SPDX-License-Identifier: Apache-2.0
"""Which places are near which: neighbourhoods in steps, for maps that grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vpr_ros.growing_array import GrowingArray

_CELL_STEPS = 6.0
_AXIS_BITS = 20
_AXIS_LIMIT = 1 << (_AXIS_BITS - 1)  # cells either side of the origin
_MIN_TO_MEASURE = 10  # places from which their spacing is taken
_GROWN = 1.25  # growth from which all that depends on the whole map is decided anew
_APART_M = 1e5  # between pieces of odometry, which are nowhere near each other


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

    A step is the spacing of the places of one camera, or `place_radius_m` if that is more; and
    `place_angle_deg` of turning, where orientations are known. Unless most positions are known a
    step is one place in map order, where cameras that take turns share it: a map that joins
    several drives then takes the end of one and the start of the next for neighbours, which costs
    nothing but a little certainty there.

    Places are found through a hash of cells kept in order, so that adding one and asking for the
    neighbours of a few both take well under a millisecond at 100,000 places; now and then, as the
    map grows by a quarter, what to measure by is decided anew.

    Attributes:
        is_metric: Whether most positions are known.
        has_orientations: Whether any orientation is known, too.
        step_m: Length of a step, metres; NaN without positions.
    """

    def __init__(self, *, place_radius_m: float, place_angle_deg: float) -> None:
        """Start without places."""
        self._radius_m = place_radius_m
        self._angle_rad = math.radians(place_angle_deg)
        self.is_metric = False
        self.has_orientations = False
        self.step_m = math.nan
        self._measured_at = 0
        self._given = GrowingArray(np.float64, (3,))  # metres; NaN: unknown
        self._pieces = GrowingArray(np.int64)
        self._cameras = GrowingArray(np.int64)
        self._turns = GrowingArray(np.int64)
        self._newest_turn = -1
        self._turn_of: dict[int, int] = {}  # a camera's last
        self._orientations = GrowingArray(np.float64, (4,))
        self._positions = GrowingArray(np.float64, (3,))  # metres, or steps in map order
        self._keys: np.ndarray = np.empty(0, np.int64)  # of cells, ascending
        self._order: np.ndarray = np.empty(0, np.int64)  # the rows in that order
        self._axes: np.ndarray = np.arange(3)  # the longest last: its cells have neighbouring keys
        self._reach = np.zeros((2, 3), np.int64)  # lowest and highest cell

    def __len__(self) -> int:
        """Return N, the number of places."""
        return len(self._given)

    def append(
        self,
        positions: np.ndarray,
        orientations_xyzw: np.ndarray,
        *,
        pieces: np.ndarray,
        cameras: np.ndarray,
    ) -> None:
        """Add places.

        Args:
            positions: (n, 3) float64, metres; NaN: unknown. A few unknown ones among known ones
                are put between their neighbours in map order.
            orientations_xyzw: (n, 4) float64, unit quaternions; NaN: unknown.
            pieces: (n,) int, of the odometry: positions of two pieces are not in one frame.
            cameras: (n,) int, number of the camera that saw each.

        Raises:
            ValueError: Shapes disagree or a value is infinite.
        """
        n, first = len(positions), len(self)
        if positions.shape != (n, 3) or orientations_xyzw.shape != (n, 4):
            raise ValueError(
                'places need positions (n, 3) and orientations (n, 4), not '
                f'{positions.shape} and {orientations_xyzw.shape}'
            )
        if not len(pieces) == len(cameras) == n:
            raise ValueError(f'{n} places need as many pieces and cameras')
        if np.isinf(positions).any() or np.isinf(orientations_xyzw).any():
            raise ValueError('the pose of a place is infinite')
        if n == 0:
            return
        self._given.append(positions + np.outer(pieces, [_APART_M, 0.0, 0.0]))
        self._orientations.append(orientations_xyzw)
        self._pieces.append(pieces)
        self._cameras.append(cameras)
        self._turns.append(np.array([self._next_turn(camera) for camera in cameras.tolist()]))
        if first < _MIN_TO_MEASURE or len(self) >= _GROWN * self._measured_at:
            self._measure()
        else:
            self._insert(first)

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

    @property
    def turns(self) -> np.ndarray:
        """(N,) int64, ascending from 0: how many steps in map order each place is on."""
        return self._turns.rows

    def _next_turn(self, camera: int) -> int:
        """Return the step of the next place: one on from the camera's last, if not behind others.

        So cameras that see places by turns go on together, each by a step at most.
        """
        last = self._turn_of.get(camera, self._newest_turn)
        self._newest_turn = self._turn_of[camera] = max(last + 1, self._newest_turn)
        return self._newest_turn

    def _measure(self) -> None:
        """Decide what a step is, and place and hash all places anew."""
        self._measured_at = len(self)
        known = np.isfinite(self._given.rows).all(axis=1)
        self.is_metric = 2 * int(known.sum()) > len(self)
        self.has_orientations = self.is_metric and bool(np.isfinite(self._orientations.rows).any())
        self.step_m = max(self._spacing_m(known), self._radius_m) if self.is_metric else math.nan
        self._positions = GrowingArray(np.float64, (3,))
        self._positions.append(self._placed(0))
        cells = self._cells(self._positions.rows)
        self._reach = np.stack([cells.min(axis=0), cells.max(axis=0)])
        self._axes = np.argsort(np.ptp(cells, axis=0), kind='stable')
        keys = self._keys_of(cells)
        self._order = np.argsort(keys, kind='stable')
        self._keys = keys[self._order]

    def _spacing_m(self, known: np.ndarray) -> float:
        """Return the median distance from a camera's known place to its next; 0 of a few."""
        pieces, cameras = self._pieces.rows[known], self._cameras.rows[known]
        order = np.lexsort((cameras, pieces))
        steps = np.linalg.norm(np.diff(self._given.rows[known][order], axis=0), axis=1)
        together = (np.diff(pieces[order]) == 0) & (np.diff(cameras[order]) == 0)
        steps = steps[together & (steps > 0)]
        return float(np.median(steps)) if len(self) >= _MIN_TO_MEASURE and len(steps) else 0.0

    def _insert(self, first: int) -> None:
        """Place and hash those from row `first` on."""
        rows = np.arange(first, len(self))
        self._positions.append(self._placed(first))
        cells = self._cells(self._positions.rows[first:])
        self._reach[0] = np.minimum(self._reach[0], cells.min(axis=0))
        self._reach[1] = np.maximum(self._reach[1], cells.max(axis=0))
        keys = self._keys_of(cells)
        by_key = np.argsort(keys, kind='stable')
        where = np.searchsorted(self._keys, keys[by_key], side='right')
        self._keys = np.insert(self._keys, where, keys[by_key])
        self._order = np.insert(self._order, where, rows[by_key])

    def _placed(self, first: int) -> np.ndarray:
        """Return the positions from row `first` on; without any, the place in map order counts."""
        if not self.is_metric:
            return np.outer(self._turns.rows[first:], [1.0, 0.0, 0.0])
        last = self._positions.rows[first - 1 : first]  # none before the first
        begin = first - len(last)
        given = np.concatenate([last, self._given.rows[first:]])
        return _filled(given, self._pieces.rows[begin:], self.step_m)[len(last) :]

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
        cells = self._cells(self._positions.rows[rows])
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
        away = self._positions.rows[rows] - self._positions.rows[others]
        return np.sqrt(np.einsum('ij,ij->i', away, away)) / self._unit_m()

    def _turn_steps(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        if not self.has_orientations:
            return np.zeros(len(rows))
        views = self._orientations.rows
        cosine = np.abs(np.einsum('ij,ij->i', views[rows], views[others]))
        turn = 2 * np.arccos(np.minimum(cosine, 1.0)) / self._angle_rad
        return np.nan_to_num(turn, nan=0.0)


def _filled(positions: np.ndarray, pieces: np.ndarray, step_m: float) -> np.ndarray:
    """Give unknown positions one, so that each is near its neighbours in map order.

    Those between places of one piece lie on the way between; others a step on each, straight up,
    where they are near nothing else: at one spot they would all count as one place.

    Args:
        positions: (n, 3), at least one known.
        pieces: (n,)
        step_m: Metres.
    """
    known = np.flatnonzero(np.isfinite(positions).all(axis=1))
    rows = np.arange(len(positions))
    before = known[np.maximum(np.searchsorted(known, rows, side='right') - 1, 0)]
    after = known[np.minimum(np.searchsorted(known, rows), len(known) - 1)]
    between = (before < after) & (pieces[before] == pieces[after])
    share = np.where(between, (rows - before) / np.maximum(after - before, 1), 0.0)
    filled = positions[before] + share[:, None] * (positions[after] - positions[before])
    filled[:, 2] += np.where(between, 0.0, (rows - before) * step_m)
    return filled
