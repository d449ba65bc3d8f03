# SPDX-License-Identifier: Apache-2.0
"""The query beside its best match, with score and status, for an operator's eyes; no rclpy."""

from __future__ import annotations

import cv2
import numpy as np

from vpr_ros.node.engine import Answer
from vpr_ros.place_map import Match, PlaceMap
from vpr_ros.recognizer import Status

PANEL_HEIGHT = 240
_BAR_HEIGHT = 40
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _GREY = (255, 255, 255), (70, 70, 70)
_ACCEPTED, _REJECTED = (20, 110, 40), (150, 30, 30)


def draw(rgb: np.ndarray, answer: Answer) -> np.ndarray:
    """Draw the query (left), the best match (right) and a line of text below.

    Args:
        rgb: The query, uint8 RGB (H, W, 3).
        answer: What was found for it.

    Returns:
        uint8 RGB (PANEL_HEIGHT + 40, W', 3).
    """
    found = answer.recognition
    query = _scaled(rgb)
    matched = None
    if found.matches:
        matched = _keyframe(answer.place_map, found.matches[0])
    right = _scaled(matched) if matched is not None else _placeholder(query, found.matches)
    picture = np.hstack([query, right])
    colour = _REJECTED if found.status is Status.REJECTED else _ACCEPTED
    bar = np.full((_BAR_HEIGHT, picture.shape[1], 3), colour, np.uint8)
    similarity = f' {found.matches[0].similarity:.3f}' if found.matches else ''
    _write(bar, f'{found.status.name}{similarity} {found.reason}', (8, 26))
    return np.vstack([picture, bar])


def _scaled(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    size = (max(1, round(width * PANEL_HEIGHT / height)), PANEL_HEIGHT)
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _keyframe(place_map: PlaceMap, match: Match) -> np.ndarray | None:
    """Read the picture of a place, RGB; None where the map keeps none."""
    path = place_map.picture_path(match.image)
    if path is None:
        return None
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _placeholder(query: np.ndarray, matches: tuple[Match, ...]) -> np.ndarray:
    panel = np.full_like(query, _GREY)
    lines = ['no match']
    if matches:
        best = matches[0]
        lines = [f'place {best.place_id}', f'{best.stamp_ns * 1e-9:.3f} s', best.image]
    for row, line in enumerate(lines):
        _write(panel, line, (8, 30 + 24 * row))
    return panel


def _write(rgb: np.ndarray, text: str, origin: tuple[int, int]) -> None:
    cv2.putText(rgb, text, origin, _FONT, 0.5, _WHITE, 1, cv2.LINE_AA)
