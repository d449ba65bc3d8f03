# SPDX-License-Identifier: Apache-2.0
"""Flat painted polygons in the world, and the walls, roofs and cars made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vpr_ros.demo import paint
from vpr_ros.demo.facade import STYLES, Facade, paint_facade, paint_mural
from vpr_ros.demo.light import Light
from vpr_ros.demo.town import Block, Car, House

EAVES_M = 0.4
CAR_PIXELS_PER_M = 40
_CAR_VISIBLE_M = 50.0
_LAMP = (168, 132, 78)  # RGB that a lit window adds


@dataclass(frozen=True)
class Surface:
    """A convex polygon with a picture on it.

    The texture's top left corner lies at `origin`; its columns run along the unit vector `right`,
    its rows along `down`, `pixels_per_m` to the metre. All vectors are in the map frame.
    """

    corners: np.ndarray  # (M, 3), M = 3 or 4
    origin: np.ndarray  # (3,)
    right: np.ndarray  # (3,)
    down: np.ndarray  # (3,)
    pixels_per_m: float
    texture: np.ndarray  # RGB uint8 (H, W, 3); the paint itself, until `lit` puts light on it
    glow: np.ndarray | None = None  # uint8 (H, W): which windows a lamp lights first; 0: none
    visible_m: float = 400.0  # not drawn from farther away

    @property
    def normal(self) -> np.ndarray:
        """Outward unit normal (3,): towards a viewer who sees the texture upright."""
        return np.cross(self.down, self.right)


def rectangle(
    top_left: np.ndarray,
    right: np.ndarray,
    down: np.ndarray,
    texture: np.ndarray,
    *,
    pixels_per_m: float,
) -> Surface:
    """A whole texture as a surface; float textures (H, W, 3) are rounded to uint8."""
    height, width = np.asarray(texture.shape[:2]) / pixels_per_m
    corners = np.stack([top_left, top_left + width * right,
                        top_left + width * right + height * down,
                        top_left + height * down])  # fmt: skip
    return Surface(corners, top_left, right, down, pixels_per_m, _uint8(texture))


def _uint8(texture: np.ndarray) -> np.ndarray:
    return texture if texture.dtype == np.uint8 else np.clip(texture, 0, 255).astype(np.uint8)


def lit(surface: Surface, light: Light) -> Surface:
    """The surface under a light: sun and sky on the paint, lamps behind some of the windows."""
    factor = light.shade(surface.normal)
    texture = cv2.transform(surface.texture, np.diag(factor))
    if light.lit_windows and surface.glow is not None:
        glows = surface.glow > 255 * (1 - light.lit_windows)
        texture[glows] = (0.35 * texture[glows] + np.asarray(_LAMP)).astype(np.uint8)
    return replace(surface, texture=texture, glow=None)


def _up(xy: np.ndarray, z: float) -> np.ndarray:
    return np.array([xy[0], xy[1], z], float)


def _walls(
    box: tuple[float, ...], front: tuple[float, float] = (1.0, 0.0)
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """Each wall as (name, outward normal (2,), left end seen from outside (2,), width)."""
    x_min, y_min, x_max, y_max = box
    middle = np.array([(x_min + x_max) / 2, (y_min + y_max) / 2])
    half = np.array([(x_max - x_min) / 2, (y_max - y_min) / 2])
    towards = np.asarray(front)
    side = np.array([-towards[1], towards[0]])
    for name, normal in (('front', towards), ('left', side), ('right', -side), ('back', -towards)):
        along = np.array([-normal[1], normal[0]])
        width = float(abs(along) @ half)
        yield name, normal, middle + normal * half - along * width, 2 * width


def _wall_surface(
    left: np.ndarray, normal: np.ndarray, height_m: float, texture: np.ndarray
) -> Surface:
    """An upright wall from its left end, as seen from outside, up to `height_m`."""
    right = np.array([-normal[1], normal[0], 0.0])
    return rectangle(_up(left, height_m), right, np.array([0, 0, -1.0]), texture,
                     pixels_per_m=paint.PIXELS_PER_M)  # fmt: skip


def house_surfaces(house: House) -> list[Surface]:
    """The four walls of a house and its roof."""
    surfaces = []
    style, colour = STYLES[house.style], np.asarray(house.colour)
    for number, (name, normal, left, width) in enumerate(_walls(house.box, house.front)):
        paint_wall = paint_facade
        if name in ('left', 'right') and house.seed % 4 == number % 4:
            paint_wall = paint_mural
        facade = paint_wall(
            style, width_m=width, storeys=house.storeys, colour=colour,
            seed=house.seed + number,
            ground_floor=house.ground_floor if name == 'front' else 'plain',
        )  # fmt: skip
        wall = _wall_surface(left, normal, house.height_m, facade.albedo)
        surfaces.append(replace(wall, glow=facade.glow))
    if house.roof == 'gable':
        surfaces += _gable_roof(house)
    return surfaces


def block_surfaces(block: Block) -> list[Surface]:
    """The walls of a plain box, and what covers it: a flat top or a tower's pyramid."""
    rng = np.random.default_rng(block.seed)
    colour = np.asarray(block.colour)
    surfaces = []
    for _, normal, left, width in _walls(block.box):
        rows, columns = (max(2, round(m * paint.PIXELS_PER_M)) for m in (block.height_m, width))
        if block.kind == 'hedge':
            albedo = paint.leaves(rows, columns, colour, rng)
        elif block.kind == 'tower':
            albedo = paint_facade(STYLES['church'], width_m=width, seed=block.seed, colour=colour,
                                  storeys=round(block.height_m / 8), ground_floor='plain'
                                  ).albedo.astype(np.float32)  # fmt: skip
        else:
            albedo = paint.wall('stone' if block.kind == 'wall' else 'boards', rows, columns,
                                colour, rng)  # fmt: skip
        height_m = albedo.shape[0] / paint.PIXELS_PER_M
        surfaces.append(_wall_surface(left, normal, height_m, albedo))
        if block.kind == 'tower':
            surfaces.append(_spire(left, normal, width, height_m, rng))
    if block.kind != 'tower':
        surfaces.append(_flat_top(block, rng))
    return surfaces


def _flat_top(block: Block, rng: np.random.Generator) -> Surface:
    x_min, y_min, x_max, y_max = block.box
    rows, columns = (max(2, round(m * paint.PIXELS_PER_M)) for m in (y_max - y_min, x_max - x_min))
    albedo = paint.leaves(rows, columns, np.asarray(block.colour), rng)
    return rectangle(np.array([x_min, y_max, block.height_m]), np.array([1.0, 0, 0]),
                     np.array([0, -1.0, 0]), albedo, pixels_per_m=paint.PIXELS_PER_M)  # fmt: skip


def _spire(
    left: np.ndarray, normal: np.ndarray, width: float, height_m: float,
    rng: np.random.Generator,
) -> Surface:  # fmt: skip
    """One of the four triangles of a tower's roof."""
    right = np.array([-normal[1], normal[0], 0.0])
    down = np.array([normal[0] * width / 2, normal[1] * width / 2, -1.3 * width])
    slope = float(np.linalg.norm(down))
    down /= slope
    eaves = _up(left, height_m)
    corners = np.stack([eaves + width / 2 * right - slope * down, eaves + width * right, eaves])
    scale = paint.PIXELS_PER_M / 2
    tiles = paint.roof(round(slope * scale), round(width * scale), np.array((88, 118, 108)), rng)
    return Surface(corners, eaves - slope * down, right, down, scale, _uint8(tiles))


def _gable_roof(house: House) -> list[Surface]:
    """Two slopes, their ridge along the front, and the triangles below its ends."""
    rng = np.random.default_rng(house.seed + 11)
    walls = {name: (normal, left, width) for name, normal, left, width in _walls(house.box, house.front)}
    depth = walls['left'][2]
    rise = 0.42 * depth
    surfaces = []
    for name in ('front', 'back'):
        normal, left, width = walls[name]
        right = np.array([-normal[1], normal[0], 0.0])
        down = np.array([normal[0] * depth / 2, normal[1] * depth / 2, -rise])
        slope = float(np.linalg.norm(down))
        down /= slope
        ridge = _up(left - normal * depth / 2, house.height_m + rise)
        rows, columns = (round(paint.PIXELS_PER_M / 2 * m) for m in (slope + EAVES_M, width))
        tiles = paint.roof(rows, columns, np.asarray(house.roof_colour), rng)
        surfaces.append(rectangle(ridge, right, down, tiles,
                                  pixels_per_m=paint.PIXELS_PER_M / 2))  # fmt: skip
    for name in ('left', 'right'):
        surfaces.append(_gable(house, walls[name], rise, rng))
    return surfaces


def _gable(house: House, wall: tuple, rise: float, rng: np.random.Generator) -> Surface:
    normal, left, width = wall
    right, down = np.array([-normal[1], normal[0], 0.0]), np.array([0, 0, -1.0])
    rows, columns = (max(2, round(paint.PIXELS_PER_M * m)) for m in (rise, width))
    bare = paint.wall(STYLES[house.style].material, rows, columns, np.asarray(house.colour), rng)
    foot = _up(left, house.height_m)
    corners = np.stack([foot - rise * down + width / 2 * right, foot + width * right, foot])
    return Surface(
        corners, foot - rise * down, right, down, paint.PIXELS_PER_M, _uint8(bare)
    )


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
        return _up(self.centre + ahead * self.ahead + left * self.left, up)

    def panel(
        self, corners: list[tuple[float, float, float]], texture: np.ndarray
    ) -> Surface:
        """A panel given clockwise from its top left, seen from outside; the texture is stretched."""
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
            points, origin, right, down, CAR_PIXELS_PER_M, _uint8(texture),
            visible_m=_CAR_VISIBLE_M,
        )  # fmt: skip


def car_surfaces(car: Car) -> list[Surface]:
    """Body, bonnet and cabin of a parked car or van."""
    frame = _CarFrame(car)
    length, width = 2.1, 0.86  # half sizes
    belt, top = (1.1, 2.05) if car.van else (0.88, 1.42)
    side = _car_side(car, 2 * length, belt)
    front, rear = (_car_end(car, 2 * width, belt, lamp) for lamp in ((235, 232, 210), (170, 20, 20)))
    paint_ = np.full((8, 8, 3), car.colour, np.float32)
    glass = _car_glass(16, 40)
    cabin = paint_ if car.van else glass
    a, b, c, d = (1.75, 1.35, -2.05, -2.1) if car.van else (0.95, 0.35, -1.45, -1.85)
    w = width - 0.1
    panels = [
        ([(length, width, belt), (-length, width, belt), (-length, width, 0),
          (length, width, 0)], side[:, ::-1]),
        ([(-length, -width, belt), (length, -width, belt), (length, -width, 0),
          (-length, -width, 0)], side),
        ([(length, -width, belt), (length, width, belt), (length, width, 0),
          (length, -width, 0)], front),
        ([(-length, width, belt), (-length, -width, belt), (-length, -width, 0),
          (-length, width, 0)], rear),
        ([(length, width, belt), (length, -width, belt), (-length, -width, belt),
          (-length, width, belt)], paint_),
        ([(b, -w, top), (b, w, top), (a, width, belt), (a, -width, belt)], glass),
        ([(c, w, top), (c, -w, top), (d, -width, belt), (d, width, belt)], glass),
        ([(b, w, top), (c, w, top), (d, width, belt), (a, width, belt)], cabin),
        ([(c, -w, top), (b, -w, top), (a, -width, belt), (d, -width, belt)], cabin),
        ([(b, w, top), (b, -w, top), (c, -w, top), (c, w, top)], paint_),
    ]  # fmt: skip
    return [frame.panel(corners, texture) for corners, texture in panels]
