# SPDX-License-Identifier: Apache-2.0
"""The town driven by a camera: scenes of both laps and their pictures, with the camera's flaws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np

from vpr_ros.demo import sprites
from vpr_ros.demo.cars import car_surfaces
from vpr_ros.demo.ground import paint_ground, paint_sky
from vpr_ros.demo.light import Light
from vpr_ros.demo.plan import Prop, Town, Traffic
from vpr_ros.demo.renderer import Camera, Renderer, Scene, Sprite, View
from vpr_ros.demo.route import Drive
from vpr_ros.demo.surfaces import (
    Surface,
    block_surfaces,
    house_surfaces,
    lit,
)


def paint_town(town: Town) -> list[Surface]:
    """Everything that stays, painted once; light is put on it by `make_scene`."""
    surfaces = [s for house in town.houses for s in house_surfaces(house)]
    return surfaces + [s for block in town.blocks for s in block_surfaces(block)]


def make_scene(town: Town, painted: Sequence[Surface], traffic: Traffic, light: Light) -> Scene:
    """The painted town under one light with one lap's traffic."""
    cars = [s for car in traffic.cars for s in car_surfaces(car)]
    surfaces = [lit(surface, light) for surface in (*painted, *cars)]
    pictures = {
        'tree': [sprites.tree(variant, light) for variant in range(6)],
        'person': [sprites.person(variant, light) for variant in range(8)],
        'lamp': [sprites.lamp(light)] * 6,
    }

    def sprite(prop: Prop) -> Sprite:
        return Sprite(
            np.array([*prop.position, 0.0]), prop.height_m, pictures[prop.kind][prop.variant]
        )

    cutouts = [sprite(prop) for prop in (*town.props, *traffic.people)]
    return Scene(
        surfaces,
        cutouts,
        paint_ground(town, traffic, light),
        paint_sky(light, town.seed),
        light.horizon,
    )


class Lens:
    """What a real camera adds: a little blur, darker corners, sensor noise."""

    def __init__(self, camera: Camera, noise: float, seed: int) -> None:
        self._seed = seed
        rng = np.random.default_rng((seed, 1))
        size = (camera.height + 64, camera.width + 64, 3)
        self._noise = np.round(rng.normal(0, noise, size)).astype(np.int16)
        x = np.linspace(-1, 1, camera.width)[None, :]
        y = np.linspace(-1, 1, camera.height)[:, None]
        corners = 255 * (1 - 0.16 * (x * x + y * y))
        self._vignette = cv2.merge([corners.astype(np.uint8)] * 3)

    def __call__(self, rgb: np.ndarray, number: int) -> np.ndarray:
        """The picture (H, W, 3) as the camera delivers picture `number`."""
        blurred = cv2.GaussianBlur(rgb, (3, 3), 0.55)
        shaded = cv2.multiply(blurred, self._vignette, scale=1 / 255)
        top, left = np.random.default_rng((self._seed, 2, number)).integers(0, 64, 2)
        height, width = rgb.shape[:2]
        noise = self._noise[top : top + height, left : left + width]
        return cv2.add(shaded, noise, dtype=cv2.CV_8U)


def views(drive: Drive, *, pitch_rad: float, pitch_jitter_rad: float, seed: int) -> list[View]:
    """The camera's views along a drive: tilted up by `pitch_rad`, shaken by the suspension."""
    pitches = np.random.default_rng((seed, 3)).normal(0, pitch_jitter_rad, len(drive) + 8)
    smooth = np.convolve(pitches, np.ones(9) / 3, 'valid')
    return [
        View(position, float(yaw), pitch_rad + float(pitch))
        for position, yaw, pitch in zip(drive.positions, drive.yaws, smooth, strict=True)
    ]


def render_views(
    renderer: Renderer, lens: Lens, places: list[View], *, workers: int = 2
) -> Iterator[np.ndarray]:
    """Pictures of `places` in order, a few drawn ahead by `workers` threads."""

    def draw(number: int) -> np.ndarray:
        return lens(renderer.render(places[number]), number)

    with ThreadPoolExecutor(workers) as pool:
        numbers = iter(range(len(places)))
        ahead = [pool.submit(draw, number) for number in islice(numbers, 2 * workers)]
        while ahead:
            yield ahead.pop(0).result()
            for number in islice(numbers, 1):
                ahead.append(pool.submit(draw, number))
