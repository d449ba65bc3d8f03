# SPDX-License-Identifier: Apache-2.0
"""The software renderer: where points land, what hides what, and the same picture every time."""

import numpy as np
import pytest

from vpr_ros.demo.ground import SKY_HEIGHT, SKY_WIDTH, Ground
from vpr_ros.demo.renderer import NEAR_M, Camera, Renderer, Scene, Sprite, View
from vpr_ros.demo.surfaces import Surface, rectangle

GREY, RED, BLUE, GREEN = (90, 90, 90), (255, 0, 0), (0, 0, 255), (0, 255, 0)
CAMERA = Camera(320, 240, 200.0)
VIEW = View(np.array([0.0, 0.0, 1.5]), yaw=0.0)  # looks along x


def wall(x, colour, *, y_left=1.0, width=2.0, top=2.5, height=2.0):
    """A wall across the view at distance x, seen upright from the origin."""
    pixels = np.full((round(height * 16), round(width * 16), 3), colour, np.uint8)
    return rectangle(
        np.array([x, y_left, top]),
        np.array([0.0, -1.0, 0.0]),
        np.array([0.0, 0.0, -1.0]),
        pixels,
        pixels_per_m=16,
    )


def scene(*surfaces, sprites=()):
    ground = Ground(np.full((640, 640, 3), GREY, np.uint8), -20.0, 20.0)
    sky = np.full((SKY_HEIGHT, SKY_WIDTH, 3), (150, 180, 220), np.uint8)
    return Scene(surfaces, sprites, ground, sky, GREY)


def bounds_of(picture, colour):
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_wall_lands_where_the_pinhole_says():
    picture = Renderer(scene(wall(10.0, RED)), CAMERA).render(VIEW)
    top, bottom, left, right = bounds_of(picture, RED)
    # y = 1 .. -1 m at 10 m: 119.5 columns + 200 * 0.1 either side of the middle 159.5
    assert (left, right) == pytest.approx((139.5, 179.5), abs=1)
    assert (top, bottom) == pytest.approx((99.5, 139.5), abs=1)


@pytest.mark.parametrize('yaw', [0.3, -0.2])
def test_turning_left_moves_the_world_right(yaw):
    view = View(VIEW.position, yaw=yaw)
    _, _, left, right = bounds_of(Renderer(scene(wall(10.0, RED)), CAMERA).render(view), RED)
    expected = 159.5 + 200 * np.tan(yaw)  # of the wall's middle
    assert (left + right) / 2 == pytest.approx(expected, abs=2)


def test_pitch_up_moves_the_world_down():
    view = View(VIEW.position, yaw=0.0, pitch=0.1)
    top, bottom, _, _ = bounds_of(Renderer(scene(wall(10.0, RED)), CAMERA).render(view), RED)
    assert (top + bottom) / 2 == pytest.approx(119.5 + 200 * np.tan(0.1), abs=2)


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_the_nearer_wall_hides_the_farther_one(order):
    walls = (wall(6.0, RED), wall(12.0, BLUE, y_left=4.0, width=8.0, top=5.5, height=6.0))
    picture = Renderer(scene(*(walls[i] for i in order)), CAMERA).render(VIEW)
    assert tuple(picture[120, 160]) == RED
    assert tuple(picture[120, 110]) == BLUE


def test_walls_that_cross_are_hidden_pixel_by_pixel():
    """A wall along the view pierces one across it: near part visible, far part hidden."""
    along = Surface(
        corners=np.array([[4.0, 0.5, 2.5], [16.0, 0.5, 2.5], [16.0, 0.5, 0.5], [4.0, 0.5, 0.5]]),
        origin=np.array([4.0, 0.5, 2.5]),
        right=np.array([1.0, 0.0, 0.0]),
        down=np.array([0.0, 0.0, -1.0]),
        pixels_per_m=16,
        texture=np.full((32, 192, 3), BLUE, np.uint8),
    )
    picture = Renderer(scene(along, wall(10.0, RED, y_left=2.0, width=4.0)), CAMERA).render(VIEW)
    near_column, far_column = (round(159.5 - 200 * 0.5 / x) for x in (6.0, 13.0))
    assert tuple(picture[120, near_column]) == BLUE
    assert tuple(picture[120, far_column]) == RED


def test_a_wall_seen_from_behind_is_not_drawn():
    view = View(np.array([20.0, 0.0, 1.5]), yaw=np.pi)
    picture = Renderer(scene(wall(10.0, RED)), CAMERA).render(view)
    assert not (picture == RED).all(axis=2).any()


def test_a_wall_that_reaches_behind_the_camera_is_cut_off_not_folded():
    beside = Surface(
        corners=np.array([[-5.0, 2.0, 3.0], [9.0, 2.0, 3.0], [9.0, 2.0, 0.0], [-5.0, 2.0, 0.0]]),
        origin=np.array([-5.0, 2.0, 3.0]),
        right=np.array([1.0, 0.0, 0.0]),
        down=np.array([0.0, 0.0, -1.0]),
        pixels_per_m=16,
        texture=np.full((48, 224, 3), RED, np.uint8),
    )
    # its normal must point to the camera at y = 0
    assert beside.normal @ np.array([0.0, -1.0, 0.0]) > 0.9
    picture = Renderer(scene(beside), CAMERA).render(VIEW)
    red = (picture == RED).all(axis=2)
    assert red[:, 0].any()  # it leaves the picture at the left
    assert not red[:, 161:].any()  # nothing of it at the right
    assert NEAR_M > 0


def test_a_cut_out_stands_at_its_foot_and_is_hidden_by_a_wall():
    rgba = np.full((64, 32, 4), (*GREEN, 255), np.uint8)
    person = Sprite(np.array([8.0, 0.0, 0.0]), 1.6, rgba)
    picture = Renderer(scene(wall(20.0, RED), sprites=[person]), CAMERA).render(VIEW)
    top, bottom, left, right = bounds_of(picture, GREEN)
    assert bottom == pytest.approx(119.5 + 200 * 1.5 / 8, abs=2)  # the ground at 8 m
    assert bottom - top == pytest.approx(200 * 1.6 / 8, abs=2)
    assert (left + right) / 2 == pytest.approx(159.5, abs=2)
    hidden = Renderer(scene(wall(5.0, RED, top=2.0), sprites=[person]), CAMERA).render(VIEW)
    assert not (hidden == GREEN).all(axis=2)[100:].any()


def test_ground_lies_below_the_horizon_and_sky_above():
    picture = Renderer(scene(wall(100.0, RED)), CAMERA).render(VIEW)
    assert tuple(picture[230, 20]) == GREY
    assert tuple(picture[10, 20]) == (150, 180, 220)


def test_the_same_view_gives_the_same_bytes():
    first, second = (Renderer(scene(wall(9.0, RED)), CAMERA).render(VIEW) for _ in range(2))
    assert first.tobytes() == second.tobytes()
