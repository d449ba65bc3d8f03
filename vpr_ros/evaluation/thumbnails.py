# SPDX-License-Identifier: Apache-2.0
"""Pictures made small enough for a page: one by one, or many on a sheet."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vpr_ros.evaluation.run import Pictures

# Root of a picture's number of pixels, and JPEG quality: largest first.
_SHEET_STEPS = tuple(
    (side, 45 + side // 5) for side in (176, 156, 138, 122, 108, 96, 85, 75, 67, 59, 52, 46, 40)
)
_SINGLE_STEPS = ((400, 85), (320, 80), (240, 75), (176, 65), (128, 50))  # the last always fits
_ACROSS = 10  # a sheet has ten rows of ten: few headers, and a browser decodes 100 at a time
_IN_MEMORY = 256 << 20  # bytes of small pictures held at once


@dataclass(frozen=True)
class Sheets:
    """Small pictures in a grid, row by row, all of one size.

    Attributes:
        width: Of a picture, pixels.
        height: Likewise.
        across: Pictures in a row of a sheet; a full sheet has as many rows.
        cells: Number of a picture to its cell, counted through all sheets.
        uris: The sheets, `data:` addresses of JPEG files.
    """

    width: int
    height: int
    across: int
    cells: Mapping[int, int]
    uris: Sequence[str]


def read_small(
    pictures: Pictures, small: Sequence[int], large: Sequence[int]
) -> dict[int, np.ndarray]:
    """Read pictures once and keep them only as large as they can be shown.

    Args:
        pictures: Reads them.
        small: Numbers of those for sheets.
        large: Numbers of those shown one by one as well.

    Returns:
        Number to uint8 RGB (H, W, 3); what could not be read is missing.
    """
    side = _SHEET_STEPS[0][0]
    num = max(1, len(small))
    side = min(side, int(np.sqrt(_IN_MEMORY / (3 * num))))
    wanted_large = set(large)
    return {
        number: _shrink(rgb, _SINGLE_STEPS[0][0] if number in wanted_large else side)
        for number, rgb in pictures(sorted({*small, *large}))
    }


def data_uri(data: bytes, kind: str) -> str:
    """Return a file as an address that holds it; `kind` is its MIME type."""
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def singles(groups: Sequence[Mapping[int, np.ndarray]], budget: int) -> list[dict[int, str]]:
    """Encode pictures one by one, as large as the budget allows.

    Args:
        groups: Number to uint8 RGB (H, W, 3).
        budget: Characters for all together.

    Returns:
        For each group, number to `data:` address.
    """
    encoded: list[dict[int, str]] = []
    for side, quality in _SINGLE_STEPS:
        encoded = [
            {
                number: data_uri(_jpeg(_shrink(rgb, side), quality), 'image/jpeg')
                for number, rgb in group.items()
            }
            for group in groups
        ]
        if sum(len(uri) for group in encoded for uri in group.values()) <= budget:
            break
    return encoded


def sheets(
    groups: Sequence[Mapping[int, np.ndarray]], pairs: Sequence[tuple[int, ...]], budget: int
) -> tuple[list[Sheets], int]:
    """Put pictures on sheets, as large as the budget allows.

    When even the smallest do not fit, every second pair is left out, and again, until they do.

    Args:
        groups: Number to uint8 RGB (H, W, 3).
        pairs: Numbers of pictures that are shown together, one of each group.
        budget: Characters for all together.

    Returns:
        Sheets of each group, and how many of the pairs are not on them.
    """
    kept = list(pairs)
    steps = list(_SHEET_STEPS)
    while kept:
        wanted = [
            {number: group[number] for number in numbers if number in group}
            for group, numbers in zip(groups, zip(*kept, strict=True), strict=True)
        ]
        for side, quality in steps:
            if _estimate(wanted, side, quality) > budget:
                continue
            made = [_sheets(group, side, quality) for group in wanted]
            if sum(len(uri) for group in made for uri in group.uris) <= budget:
                return made, len(pairs) - len(kept)
        steps = steps[-1:]
        kept = kept[::2] if len(kept) > 1 else []
    return [Sheets(1, 1, _ACROSS, {}, []) for _ in groups], len(pairs)


def _estimate(groups: Sequence[Mapping[int, np.ndarray]], side: int, quality: int) -> float:
    """Return about how many characters the sheets will have, from one sheet of each group."""
    total = 0.0
    for group in groups:
        numbers = list(group)[:: max(1, len(group) // _ACROSS**2)][: _ACROSS**2]
        if numbers:
            made = _sheets({number: group[number] for number in numbers}, side, quality)
            total += len(made.uris[0]) * len(group) / len(numbers)
    return total


def _sheets(group: Mapping[int, np.ndarray], side: int, quality: int) -> Sheets:
    if not group:
        return Sheets(1, 1, _ACROSS, {}, [])
    first = next(iter(group.values()))
    height, width = _size(first, side)
    numbers = list(group)
    uris = []
    for start in range(0, len(numbers), _ACROSS**2):
        part = numbers[start : start + _ACROSS**2]
        rows = -(-len(part) // _ACROSS)
        sheet = np.full((rows * height, _ACROSS * width, 3), 255, np.uint8)
        for place, number in enumerate(part):
            top, left = height * (place // _ACROSS), width * (place % _ACROSS)
            sheet[top : top + height, left : left + width] = _fitted(group[number], width, height)
        uris.append(data_uri(_jpeg(sheet, quality), 'image/jpeg'))
    cells = {number: cell for cell, number in enumerate(numbers)}
    return Sheets(width, height, _ACROSS, cells, uris)


def _size(rgb: np.ndarray, side: int) -> Iterator[int]:
    """Return height and width with side² pixels in the proportions of a picture, or its own."""
    scale = min(1.0, side / np.sqrt(rgb.shape[0] * rgb.shape[1]))
    return (max(1, round(edge * scale)) for edge in rgb.shape[:2])


def _shrink(rgb: np.ndarray, side: int) -> np.ndarray:
    height, width = _size(rgb, side)
    if (height, width) == rgb.shape[:2]:
        return rgb
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)


def _fitted(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a picture whole and in its proportions in the middle of a cell."""
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    w, h = (max(1, round(scale * edge)) for edge in (rgb.shape[1], rgb.shape[0]))
    if max(width - w, height - h) < 2:
        w, h = width, height  # off by rounding alone
    small = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA)
    top, left = (height - h) // 2, (width - w) // 2
    cell = np.full((height, width, 3), 224, np.uint8)
    cell[top : top + h, left : left + w] = small
    return cell


def _jpeg(rgb: np.ndarray, quality: int) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f'OpenCV could not write a JPEG of {rgb.shape}')
    return data.tobytes()
