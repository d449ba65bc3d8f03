# SPDX-License-Identifier: Apache-2.0
"""Flat painted polygons in the world, and the houses and blocks made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vpr_ros.demo import paint
from vpr_ros.demo.facade import STYLES, paint_facade, paint_mural
from vpr_ros.demo.light import Light
from vpr_ros.demo.plan import Block, House

EAVES_M = 0.4
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
    corners = np.stack(
        [
            top_left,
            top_left + width * right,
            top_left + width * right + height * down,
            top_left + height * down,
        ]
    )
    return Surface(corners, top_left, right, down, pixels_per_m, as_uint8(texture))


def as_uint8(texture: np.ndarray) -> np.ndarray:
    """A texture with its values cut to 0..255."""
    return texture if texture.dtype == np.uint8 else np.clip(texture, 0, 255).astype(np.uint8)


def lit(surface: Surface, light: Light) -> Surface:
    """The surface under a light: sun and sky on the paint, lamps behind some of the windows."""
    factor = light.shade(surface.normal)
    texture = cv2.transform(surface.texture, np.diag(factor))
    if light.lit_windows and surface.glow is not None:
        glows = surface.glow > 255 * (1 - light.lit_windows)
        texture[glows] = (0.35 * texture[glows] + np.asarray(_LAMP)).astype(np.uint8)
    return replace(surface, texture=texture, glow=None)


def raised(xy: np.ndarray, z: float) -> np.ndarray:
    """The point (3,) at a height above (2,)."""
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
    return rectangle(
        raised(left, height_m),
        right,
        np.array([0, 0, -1.0]),
        texture,
        pixels_per_m=paint.PIXELS_PER_M,
    )


def house_surfaces(house: House) -> list[Surface]:
    """The four walls of a house and its roof."""
    surfaces = []
    style, colour = STYLES[house.style], np.asarray(house.colour)
    for number, (name, normal, left, width) in enumerate(_walls(house.box, house.front)):
        paint_wall = paint_facade
        if name in ('left', 'right') and house.seed % 4 == number % 4:
            paint_wall = paint_mural
        facade = paint_wall(
            style,
            width_m=width,
            storeys=house.storeys,
            colour=colour,
            seed=house.seed + number,
            ground_floor=house.ground_floor if name == 'front' else 'plain',
            sign=house.sign,
        )
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
            albedo = paint_facade(
                STYLES['church'],
                width_m=width,
                seed=block.seed,
                colour=colour,
                storeys=round(block.height_m / 8),
                ground_floor='plain',
                sign='',
            ).albedo.astype(np.float32)
        else:
            albedo = paint.wall(
                'stone' if block.kind == 'wall' else 'boards', rows, columns, colour, rng
            )
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
    return rectangle(
        np.array([x_min, y_max, block.height_m]),
        np.array([1.0, 0, 0]),
        np.array([0, -1.0, 0]),
        albedo,
        pixels_per_m=paint.PIXELS_PER_M,
    )


def _spire(
    left: np.ndarray, normal: np.ndarray, width: float, height_m: float,
    rng: np.random.Generator,
) -> Surface:  # fmt: skip
    """One of the four triangles of a tower's roof."""
    right = np.array([-normal[1], normal[0], 0.0])
    down = np.array([normal[0] * width / 2, normal[1] * width / 2, -1.3 * width])
    slope = float(np.linalg.norm(down))
    down /= slope
    eaves = raised(left, height_m)
    corners = np.stack([eaves + width / 2 * right - slope * down, eaves + width * right, eaves])
    scale = paint.PIXELS_PER_M / 2
    tiles = paint.roof(round(slope * scale), round(width * scale), np.array((88, 118, 108)), rng)
    return Surface(corners, eaves - slope * down, right, down, scale, as_uint8(tiles))


def _gable_roof(house: House) -> list[Surface]:
    """Two slopes, their ridge along the front, and the triangles below its ends."""
    rng = np.random.default_rng(house.seed + 11)
    walls = {
        name: (normal, left, width) for name, normal, left, width in _walls(house.box, house.front)
    }
    depth = walls['left'][2]
    rise = 0.42 * depth
    surfaces = []
    for name in ('front', 'back'):
        normal, left, width = walls[name]
        right = np.array([-normal[1], normal[0], 0.0])
        down = np.array([normal[0] * depth / 2, normal[1] * depth / 2, -rise])
        slope = float(np.linalg.norm(down))
        down /= slope
        ridge = raised(left - normal * depth / 2, house.height_m + rise)
        rows, columns = (round(paint.PIXELS_PER_M / 2 * m) for m in (slope + EAVES_M, width))
        tiles = paint.roof(rows, columns, np.asarray(house.roof_colour), rng)
        surfaces.append(rectangle(ridge, right, down, tiles, pixels_per_m=paint.PIXELS_PER_M / 2))
    for name in ('left', 'right'):
        surfaces.append(_gable(house, walls[name], rise, rng))
    return surfaces


def _gable(house: House, wall: tuple, rise: float, rng: np.random.Generator) -> Surface:
    normal, left, width = wall
    right, down = np.array([-normal[1], normal[0], 0.0]), np.array([0, 0, -1.0])
    rows, columns = (max(2, round(paint.PIXELS_PER_M * m)) for m in (rise, width))
    bare = paint.wall(STYLES[house.style].material, rows, columns, np.asarray(house.colour), rng)
    foot = raised(left, house.height_m)
    corners = np.stack([foot - rise * down + width / 2 * right, foot + width * right, foot])
    return Surface(corners, foot - rise * down, right, down, paint.PIXELS_PER_M, as_uint8(bare))
