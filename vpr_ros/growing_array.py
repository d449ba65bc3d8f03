# SPDX-License-Identifier: Apache-2.0
"""An array that grows at its end without being copied each time."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

_FIRST_ROWS = 64


class GrowingArray:
    """Rows of one kind; the room doubles, so that adding a row costs the same however many."""

    def __init__(self, dtype: DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        """Make it empty.

        Args:
            dtype: Of the rows.
            row_shape: Shape of one row; () for scalars.
        """
        self._room = np.empty((0, *row_shape), dtype)
        self._size = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._size

    @property
    def rows(self) -> np.ndarray:
        """All rows, read-only; what was returned earlier stays as it was."""
        view = self._room[: self._size]
        view.flags.writeable = False
        return view

    def append(self, rows: np.ndarray) -> None:
        """Add rows at the end.

        Args:
            rows: (n, *row_shape), converted to the dtype.
        """
        size = self._size + len(rows)
        if size > len(self._room):
            room = np.empty(
                (max(_FIRST_ROWS, size, 2 * self._size), *self._room.shape[1:]), self._room.dtype
            )
            room[: self._size] = self._room[: self._size]
            self._room = room
        self._room[self._size : size] = rows
        self._size = size
