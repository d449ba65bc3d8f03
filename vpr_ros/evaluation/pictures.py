# SPDX-License-Identifier: Apache-2.0
"""Read some pictures of a run again, for a report that shows them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

import numpy as np

from vpr_ros.errors import SourceError
from vpr_ros.frames import Source
from vpr_ros.picture_folder import read_picture
from vpr_ros.place_map import PlaceMap

logger = logging.getLogger(__name__)


def pictures_of(source: Source, indices: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield some pictures of a source, given by their indices, with these; uint8 RGB (H, W, 3).

    What cannot be read any more is left out and logged.
    """
    wanted = set(indices)
    for frame in source.frames():
        if frame.index in wanted:
            try:
                yield frame.index, frame.rgb
            except SourceError as error:
                logger.warning('not shown: %s', error)


def pictures_of_places(
    source: Source, picture_of_row: np.ndarray, rows: Collection[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the pictures of some places whose pictures are in a source.

    Args:
        source: The pictures.
        picture_of_row: (N,) int64, index of the picture that became each place.
        rows: Of the places in the map; yielded beside their pictures.
    """
    row_of = {int(picture_of_row[row]): row for row in rows}
    for index, rgb in pictures_of(source, row_of):
        yield row_of[index], rgb


def keyframes_of(place_map: PlaceMap, rows: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the pictures that a map has kept of some places, given by their rows, with these.

    Places without one are left out; a file that cannot be read is logged as well.
    """
    for row in sorted(rows):
        path = place_map.picture_path(place_map.images[row])
        if path is not None:
            try:
                yield row, read_picture(path)
            except (SourceError, OSError) as error:
                logger.warning('not shown: %s', error)
