# SPDX-License-Identifier: Apache-2.0
"""Which pictures become places: known answers."""

from __future__ import annotations

import numpy as np

from vpr_ros.keyframes import EverySelector, KeyframeSelector


def about_z(degrees: float) -> np.ndarray:
    half = np.radians(degrees) / 2
    return np.array([0, 0, np.sin(half), np.cos(half)])


def chosen(selector, poses) -> list[int]:
    rows = []
    for i, (x, degrees) in enumerate(poses):
        position = np.array([x, 0.0, 0.0])
        orientation = about_z(degrees) if degrees is not None else np.full(4, np.nan)
        if selector.wants(position, orientation):
            selector.remember(position, orientation)
            rows.append(i)
    return rows


def test_straight_drive_gives_a_place_every_metre() -> None:
    selector = KeyframeSelector(min_distance_m=1.0, min_angle_deg=20)
    assert chosen(selector, [(0.25 * i, 0) for i in range(13)]) == [0, 4, 8, 12]


def test_turning_on_the_spot_gives_a_place_every_twenty_degrees() -> None:
    selector = KeyframeSelector(min_distance_m=1.0, min_angle_deg=20)
    assert chosen(selector, [(0, 5.001 * i) for i in range(13)]) == [0, 4, 8, 12]


def test_either_limit_is_enough() -> None:
    selector = KeyframeSelector(min_distance_m=1.0, min_angle_deg=20)
    assert chosen(selector, [(0, 0), (0.5, 10), (0.5, 25), (1.4, 30), (1.6, 30)]) == [0, 2, 4]


def test_unknown_orientation_leaves_the_distance() -> None:
    selector = KeyframeSelector(min_distance_m=1.0, min_angle_deg=20)
    assert chosen(selector, [(0, None), (0.9, 90), (1.0, None), (1.5, None)]) == [0, 2]


def test_a_picture_that_was_not_remembered_does_not_count() -> None:
    selector = KeyframeSelector(min_distance_m=1.0, min_angle_deg=20)
    selector.remember(np.zeros(3), about_z(0))
    blank = np.array([1.0, 0, 0])
    assert selector.wants(blank, about_z(0))
    assert selector.wants(np.array([1.1, 0, 0]), about_z(0))


def test_without_poses_every_picture_is_wanted() -> None:
    assert chosen(EverySelector(), [(0, 0)] * 3) == [0, 1, 2]
