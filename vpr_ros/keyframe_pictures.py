# SPDX-License-Identifier: Apache-2.0
"""The small pictures that a map keeps of its places, for people's eyes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vpr_ros.place_map import KEYFRAMES
from vpr_ros.verification.picture import working_picture

_JPEG_QUALITY = 85


def picture_name(row: int) -> str:
    """Return the name of a place's picture in the map."""
    return f'{KEYFRAMES}/{_file_name(row)}'


def keep_picture(folder: Path, row: int, rgb: np.ndarray, max_height: int) -> str:
    """Write the picture of a place, made small.

    Args:
        folder: The map's `keyframes/`.
        row: Of the place.
        rgb: uint8 RGB (H, W, 3).
        max_height: Pixels.

    Returns:
        Its name in the map.

    Raises:
        OSError: The disk is full or not writable.
    """
    bgr = cv2.cvtColor(working_picture(rgb, max_height).rgb, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    (folder / _file_name(row)).write_bytes(jpeg.tobytes())
    return picture_name(row)


def _file_name(row: int) -> str:
    return f'{row:06d}.jpg'
