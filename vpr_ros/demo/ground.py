# SPDX-License-Identifier: Apache-2.0
"""The ground of the town and the sky above it, as two large pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from vpr_ros.demo import paint
from vpr_ros.demo.light import Light
from vpr_ros.demo.plan import Street, Town, Traffic

GROUND_PIXELS_PER_M = 16
SKY_WIDTH, SKY_HEIGHT = 2048, 400
SKY_TOP_RAD, SKY_BOTTOM_RAD = 0.95, -0.12  # elevation of the first and the last row
_MARGIN_M = 24.0


@dataclass(frozen=True)
class Ground:
    """A plan view, north up: RGB uint8 (H, W, 3), and where its top left corner lies."""

    texture: np.ndarray
    x_min: float
    y_max: float


class _Plan:
    """The plan while it is being painted, in metres."""

    def __init__(self, town: Town, rng: np.random.Generator) -> None:
        boxes = np.asarray([street.ground for street in town.streets])
        self.x_min, self.y_max = boxes[:, 0].min() - _MARGIN_M, boxes[:, 3].max() + _MARGIN_M
        width = boxes[:, 2].max() + _MARGIN_M - self.x_min
        height = self.y_max - boxes[:, 1].min() + _MARGIN_M
        self.shape = tuple(round(m * GROUND_PIXELS_PER_M) for m in (height, width))
        self.rgb = np.empty((*self.shape, 3), np.uint8)
        self.rgb[:] = (92, 112, 66)
        self.rng = rng

    def fill(self, box: tuple[float, ...], colour: tuple[float, float, float]) -> None:
        low = ((box[0] - self.x_min), (self.y_max - box[3]))
        high = ((box[2] - self.x_min), (self.y_max - box[1]))
        cv2.rectangle(
            self.rgb,
            *[tuple(round(m * GROUND_PIXELS_PER_M) for m in p) for p in (low, high)],
            colour,
            -1,
        )

    def lay(self, box: tuple[float, ...], stone: tuple[int, int]) -> None:
        """Divides the ground in a box into stones of (height, width) pixels."""
        left, bottom = self.pixel(np.array(box[:2]))
        right, top = self.pixel(np.array(box[2:]))
        part = self.rgb[top:bottom, left:right]
        height, width = part.shape[:2]
        factor = paint.blocks(height, width, self.rng, block=stone, joint=0.72)
        part[:] = np.clip(part * factor[..., None], 0, 255)

    def pixel(self, point: np.ndarray) -> tuple[int, int]:
        column, row = (point - (self.x_min, self.y_max)) * (1, -1) * GROUND_PIXELS_PER_M
        return round(column), round(row)

    def strip(
        self,
        street: Street,
        start: float,
        end: float,
        left: float,
        right: float,
        colour: tuple[float, float, float],
    ) -> None:
        """A rectangle along a street, `left` and `right` of its centre line (left positive)."""
        a, b = street.point(start, left), street.point(end, right)
        self.fill((*np.minimum(a, b), *np.maximum(a, b)), colour)


PAVINGS = {  # colour and (height, width) of a stone in pixels; None: without stones
    'asphalt': ((112, 111, 110), None),
    'cobbles': ((126, 120, 110), (4, 6)),
    'brick': ((140, 104, 88), (3, 6)),
    'gravel': ((176, 160, 128), None),
    'concrete': ((158, 156, 150), (80, 64)),
}


def _pave(plan: _Plan, town: Town) -> None:
    slab, joint, kerb = (156, 150, 142), (128, 123, 117), (182, 180, 174)
    for street in town.streets:
        plan.fill(street.ground, slab)
    for street in town.streets:
        for side in (-1, 1):
            edges = side * street.half_m, side * street.road_m
            for at in np.arange(0, street.length_m, 0.8).tolist():
                plan.strip(street, at, at + 0.04, *edges, joint)
            middle = side * (street.half_m - 1.4)
            plan.strip(street, 0, street.length_m, middle, middle + 0.05, joint)
    for street in town.streets:
        plan.fill(street.corridor(street.road_m + 0.25), kerb)
    for street in town.streets:
        colour, stone = PAVINGS[street.paving]
        plan.fill(street.road, colour)
        if stone is not None:
            plan.lay(street.road, stone)
    for street in town.streets:
        if street.paving == 'asphalt':
            _mend(plan, street)


def _mend(plan: _Plan, street: Street) -> None:
    """Patches and manholes that years of mending leave in a road."""
    for at in np.arange(3, street.length_m - 4, 7.0).tolist():
        left, tone, length, width = plan.rng.uniform(
            (0.6 - street.road_m, 0.78, 0.8, 0.5), (street.road_m - 2.2, 1.14, 5.0, 1.6)
        ).tolist()
        start = at + float(plan.rng.uniform(0, 6))
        plan.strip(
            street, start, start + length, left + width, left, (111 * tone, 110 * tone, 109 * tone)
        )
        if plan.rng.random() < 0.4:
            centre = plan.pixel(street.point(start + 6, left))
            cv2.circle(plan.rgb, centre, round(0.36 * GROUND_PIXELS_PER_M), (84, 80, 76), -1)
            cv2.circle(plan.rgb, centre, round(0.28 * GROUND_PIXELS_PER_M), (98, 94, 90), -1)


def _mark(plan: _Plan, town: Town) -> None:
    """Dashed centre lines, parking lines and zebra crossings, clear of the crossings."""
    for street in town.streets:
        others = [other.road for other in town.streets if other != street]

        def clear(at: float, street: Street = street, others: list = others) -> bool:
            x, y = street.point(at, 0)
            return not any(o[0] - 1 < x < o[2] + 1 and o[1] - 1 < y < o[3] + 1 for o in others)

        for at in np.arange(0, street.length_m - 2, 5.0).tolist():
            if street.paving == 'asphalt' and clear(at) and clear(at + 2):
                plan.strip(street, at, at + 2, 0.07, -0.07, (214, 212, 204))
        steps = np.arange(0, street.length_m, 0.5).tolist()
        for before, after in pairwise(steps):
            if clear(before) != clear(after):
                edge = before - 3.0 if clear(before) else after + 0.4
                for left in np.arange(0.6 - street.road_m, street.road_m - 0.6, 1.0).tolist():
                    plan.strip(street, edge, edge + 2.6, left + 0.5, left, (220, 218, 212))


def _wear(plan: _Plan, light: Light) -> None:
    """Grain, patches and the light on the ground."""
    rng = plan.rng
    size = 1024
    grain = 1 + 0.06 * paint.fractal_noise(size, size, rng, 96)
    grain += 0.10 * rng.normal(0, 0.6, (size, size)).astype(np.float32)
    factor = grain[..., None] * light.shade(np.array([0, 0, 1.0])).astype(np.float32) * 128
    tile = np.clip(factor, 0, 255).astype(np.uint8)
    for top in range(0, plan.shape[0], size):
        for left in range(0, plan.shape[1], size):
            part = plan.rgb[top : top + size, left : left + size]
            part[:] = cv2.multiply(part, tile[: part.shape[0], : part.shape[1]], scale=1 / 128)


def _darken(plan: _Plan, polygons: list[np.ndarray], factor: float) -> None:
    """Multiplies the ground inside polygons (M, 2), in metres, by `factor` once."""
    mask = np.zeros(plan.shape, np.uint8)
    for polygon in polygons:
        pixels = (polygon - (plan.x_min, plan.y_max)) * (1, -1) * GROUND_PIXELS_PER_M
        cv2.fillConvexPoly(mask, np.round(pixels).astype(np.int32), 255)
    mask = cv2.blur(mask, (7, 7))
    fade = 255 - cv2.convertScaleAbs(mask, alpha=1 - factor)
    plan.rgb[:] = cv2.multiply(plan.rgb, cv2.merge([fade] * 3), scale=1 / 255)


def _shadows(town: Town, light: Light) -> list[np.ndarray]:
    sun = np.asarray(light.sun_direction)
    polygons = []
    for house in town.houses:
        x_min, y_min, x_max, y_max = house.box
        base = np.array([(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)])
        cast = base - sun[:2] / sun[2] * house.height_m
        hull = cv2.convexHull(np.concatenate([base, cast]).astype(np.float32))
        polygons.append(hull[:, 0].astype(float))
    return polygons


def _car_footprints(traffic: Traffic) -> list[np.ndarray]:
    polygons = []
    for car in traffic.cars:
        ahead = np.array([np.cos(car.yaw), np.sin(car.yaw)]) * 2.3
        left = np.array([-ahead[1], ahead[0]]) / 2.3 * 1.05
        polygons.append(
            np.stack([ahead + left, ahead - left, -ahead - left, -ahead + left]) + car.position
        )
    return polygons


def paint_ground(town: Town, traffic: Traffic, light: Light) -> Ground:
    """Roads, pavements, markings, shadows of houses and of cars."""
    plan = _Plan(town, np.random.default_rng((town.seed, 77)))
    _pave(plan, town)
    _mark(plan, town)
    _wear(plan, light)
    _darken(plan, _shadows(town, light), light.shadow)
    _darken(plan, _car_footprints(traffic), 0.45)
    return Ground(plan.rgb, plan.x_min, plan.y_max)


def paint_sky(light: Light, seed: int) -> np.ndarray:
    """All-round sky, RGB uint8 (SKY_HEIGHT, SKY_WIDTH, 3); columns run eastwards from south."""
    rng = np.random.default_rng((seed, 55))
    elevation = np.linspace(SKY_TOP_RAD, SKY_BOTTOM_RAD, SKY_HEIGHT, dtype=np.float32)
    height = np.clip(elevation / SKY_TOP_RAD, 0, 1)[:, None, None] ** 0.6
    sky = np.asarray(light.horizon) * (1 - height) + np.asarray(light.zenith) * height
    sky = np.broadcast_to(sky, (SKY_HEIGHT, SKY_WIDTH, 3)).astype(np.float32)
    wide = paint.fractal_noise(SKY_HEIGHT, SKY_WIDTH + 256, rng, 110)
    wide += 0.5 * paint.fractal_noise(SKY_HEIGHT, SKY_WIDTH + 256, rng, 28)
    clouds, fade = wide[:, :SKY_WIDTH].copy(), np.linspace(1, 0, 256, dtype=np.float32)
    clouds[:, :256] = wide[:, SKY_WIDTH:] * fade + clouds[:, :256] * (1 - fade)  # no seam
    cover = np.clip((clouds - 0.05) * 2.2, 0, 0.85)[..., None]
    sky = sky * (1 - cover) + np.asarray(light.cloud, np.float32) * cover
    return np.clip(_with_hills(sky, light, rng), 0, 255).astype(np.uint8)


def _with_hills(sky: np.ndarray, light: Light, rng: np.random.Generator) -> np.ndarray:
    """Two hazy ranges of wooded hills around the horizon."""
    elevation = np.linspace(SKY_TOP_RAD, SKY_BOTTOM_RAD, SKY_HEIGHT)[:, None]
    around = np.linspace(0, 2 * np.pi, SKY_WIDTH, endpoint=False)
    wood = np.asarray((72, 92, 70)) * light.shade(np.array([0, 0, 1.0]))
    for height, haze in ((0.060, 0.75), (0.032, 0.55)):
        crest = np.full(SKY_WIDTH, height)
        for waves in (2, 3, 5, 9, 17, 31):
            crest += height * 0.5 / waves**0.6 * np.sin(waves * around + rng.uniform(0, 2 * np.pi))
        colour = haze * np.asarray(light.horizon) + (1 - haze) * wood
        sky = np.where((elevation < crest)[..., None], colour.astype(np.float32), sky)
    return sky
