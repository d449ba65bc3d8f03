# SPDX-License-Identifier: Apache-2.0
"""Parked cars and vans: ten painted panels each."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vpr_ros.demo.plan import Car
from vpr_ros.demo.surfaces import Surface, as_uint8, raised

CAR_PIXELS_PER_M = 40
_VISIBLE_M = 50.0


def _car_side(car: Car, length: float, height: float) -> np.ndarray:
    scale = CAR_PIXELS_PER_M
    texture = np.full((round(height * scale), round(length * scale), 3), 24, np.float32)
    rows, columns = texture.shape[:2]
    texture[: rows - round(0.28 * scale)] = car.colour
    texture[: round(0.08 * scale)] *= 1.15
    for wheel in (0.19, 0.80):
        centre = (round(wheel * columns), rows - round(0.32 * scale))
        cv2.circle(texture, centre, round(0.36 * scale), (18, 18, 20), -1, cv2.LINE_AA)
        cv2.circle(texture, centre, round(0.19 * scale), (150, 150, 154), -1, cv2.LINE_AA)
    for seam in (0.34, 0.52, 0.68):
        texture[: rows - round(0.3 * scale), round(seam * columns)] *= 0.6
    return texture


def _car_end(car: Car, width: float, height: float, lamp: tuple[int, int, int]) -> np.ndarray:
    scale = CAR_PIXELS_PER_M
    texture = np.full((round(height * scale), round(width * scale), 3), 24, np.float32)
    rows, columns = texture.shape[:2]
    texture[: rows - round(0.28 * scale)] = car.colour
    lamp_rows = slice(round(0.14 * scale), round(0.32 * scale))
    for left in (0.05, width - 0.45):
        texture[lamp_rows, round(left * scale) : round((left + 0.4) * scale)] = lamp
    middle = columns // 2
    texture[round(0.4 * scale) : round(0.52 * scale), middle - 10 : middle + 10] = (225, 225, 205)
    return texture


def _car_glass(rows: int, columns: int) -> np.ndarray:
    fade = np.linspace(1.5, 0.7, rows, dtype=np.float32)[:, None, None]
    return np.broadcast_to(fade * np.asarray((54, 64, 74), np.float32), (rows, columns, 3)).copy()


class _CarFrame:
    """The car's own axes; z up."""

    def __init__(self, car: Car) -> None:
        self.centre = np.asarray(car.position)
        self.ahead = np.array([np.cos(car.yaw), np.sin(car.yaw)])
        self.left = np.array([-self.ahead[1], self.ahead[0]])

    def point(self, ahead: float, left: float, up: float) -> np.ndarray:
        return raised(self.centre + ahead * self.ahead + left * self.left, up)

    def panel(self, corners: list[tuple[float, float, float]], texture: np.ndarray) -> Surface:
        """A panel, clockwise from its top left as seen from outside; the texture is stretched."""
        points = np.stack([self.point(*corner) for corner in corners])
        down = points[3] - points[0]
        right = points[2] - points[3]
        width = float(np.linalg.norm(right))
        height = float(np.linalg.norm(down - (down @ right) / width**2 * right))
        right = right / width
        down = down - (down @ right) * right
        down /= np.linalg.norm(down)
        origin = points[3] - height * down
        size = (max(2, round(width * CAR_PIXELS_PER_M)), max(2, round(height * CAR_PIXELS_PER_M)))
        texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
        return Surface(
            points,
            origin,
            right,
            down,
            CAR_PIXELS_PER_M,
            as_uint8(texture),
            visible_m=_VISIBLE_M,
        )


def car_surfaces(car: Car) -> list[Surface]:
    """Body, bonnet and cabin of a parked car or van."""
    frame = _CarFrame(car)
    length, width = 2.1, 0.86  # half sizes of the body
    belt, top = (1.1, 2.05) if car.van else (0.88, 1.42)
    side = _car_side(car, 2 * length, belt)
    front, rear = (_car_end(car, 2 * width, belt, lamp) for lamp in (_HEADLAMP, _TAIL_LAMP))
    plain = np.full((8, 8, 3), car.colour, np.float32)
    body, roof = _ring(length, -length, width, belt), _ring(*_ROOF[car.van], width - 0.1, top)
    waist = _ring(*_WAIST[car.van], width, belt)
    floor = _ring(length, -length, width, 0.0)
    glass = _car_glass(16, 40)
    beside = plain if car.van else glass
    panels = [frame.panel([body[1], body[0], body[3], body[2]], plain)]
    panels += _belt(frame, body, floor, (front, side[:, ::-1], rear, side))
    panels += _belt(frame, roof, waist, (glass, beside, glass, beside))
    panels.append(frame.panel([roof[1], roof[0], roof[3], roof[2]], plain))
    return panels


_Corner = tuple[float, float, float]  # ahead, left, up; metres
_HEADLAMP, _TAIL_LAMP = (235, 232, 210), (170, 20, 20)
_ROOF = {False: (0.35, -1.45), True: (1.35, -2.05)}  # where the roof begins and ends, by `van`
_WAIST = {False: (0.95, -1.85), True: (1.75, -2.1)}  # and the windows below it


def _ring(front: float, rear: float, half_width: float, up: float) -> list[_Corner]:
    """A level rectangle: front right, front left, rear left, rear right."""
    return [
        (front, -half_width, up),
        (front, half_width, up),
        (rear, half_width, up),
        (rear, -half_width, up),
    ]


def _belt(
    frame: _CarFrame, upper: list[_Corner], lower: list[_Corner], textures: Sequence[np.ndarray]
) -> list[Surface]:
    """Four panels between two rings: front, left, rear, right."""
    return [
        frame.panel([upper[i], upper[(i + 1) % 4], lower[(i + 1) % 4], lower[i]], texture)
        for i, texture in enumerate(textures)
    ]
