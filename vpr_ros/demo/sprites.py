# SPDX-License-Identifier: Apache-2.0
"""Cut-out pictures that always face the camera: trees, lamps and passers-by, as RGBA uint8."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from vpr_ros.demo import paint
from vpr_ros.demo.light import Light

_LEAF_COLOURS = ((88, 118, 52), (104, 124, 60), (70, 104, 58), (122, 128, 58), (96, 108, 48),
                 (134, 118, 56))  # fmt: skip


def _lit_rgba(rgb: np.ndarray, alpha: np.ndarray, light: Light) -> np.ndarray:
    factor = np.asarray(light.ambient) + 0.5 * np.asarray(light.sun)
    colour = np.clip(rgb * factor, 0, 255).astype(np.uint8)
    return np.dstack([colour, alpha])


TREES = ('round', 'round', 'birch', 'poplar', 'conifer', 'round')


def tree(variant: int, light: Light) -> np.ndarray:
    """A tree (320, 240, 4) of the kind TREES[variant]: a trunk under a crown of blobs."""
    rng = np.random.default_rng((101, variant))
    kind = TREES[variant]
    height, width = 320, 240
    alpha = np.zeros((height, width), np.uint8)
    for centre, radius in _crown(kind, rng):
        cv2.circle(alpha, centre, radius, 255, -1, cv2.LINE_AA)
    gaps = paint.fractal_noise(height, width, rng, 12)
    alpha[gaps < (-0.12 if kind == 'birch' else -0.42)] = 0
    rgb = paint.leaves(height, width, np.asarray(_LEAF_COLOURS[variant]), rng)
    trunk = np.zeros_like(alpha)
    thickness = 7 if kind == 'birch' else 11
    cv2.line(trunk, (120, 319), (120 + int(rng.uniform(-8, 8)), 140), 255, thickness, cv2.LINE_AA)
    if kind in ('round', 'birch'):
        for _ in range(3):
            tip = (int(120 + rng.uniform(-60, 60)), int(rng.uniform(90, 150)))
            cv2.line(trunk, (120, 205), tip, 255, 5, cv2.LINE_AA)
    bare = (trunk > 0) & (alpha < 128)
    rgb[bare] = (206, 202, 192) if kind == 'birch' else (82, 66, 52)
    return _lit_rgba(rgb, np.maximum(alpha, trunk), light)


def _crown(kind: str, rng: np.random.Generator) -> Iterator[tuple[tuple[int, int], int]]:
    """Centres (column, row) and radii of the blobs of a crown, pixels."""
    for number in range(46):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) ** 0.6
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        if kind == 'conifer':
            row = 24 + 5 * number
            yield (int(120 + x * row * 0.28), row), int(10 + row * 0.09)
        elif kind == 'poplar':
            yield (int(120 + 26 * x), int(140 + 112 * y)), int(rng.uniform(12, 24))
        else:
            yield (int(120 + 82 * x), int(118 + 82 * y)), int(rng.uniform(16, 34))


def lamp(light: Light) -> np.ndarray:
    """A street lamp (400, 80, 4); its head glows when the lamps are on."""
    rgb = np.full((400, 80, 3), (58, 64, 62), np.float32)
    alpha = np.zeros((400, 80), np.uint8)
    cv2.line(alpha, (40, 399), (40, 50), 255, 7)
    cv2.rectangle(alpha, (34, 330), (46, 399), 255, -1)
    cv2.rectangle(alpha, (24, 22), (56, 52), 255, -1)
    cv2.ellipse(alpha, (40, 22), (20, 12), 0, 180, 360, 255, -1)
    rgb[26:50, 27:53] = (230, 226, 205)
    picture = _lit_rgba(rgb, alpha, light)
    if light.lamps_on:
        rows, columns = np.mgrid[0:400, 0:80]
        halo = np.exp(-((rows - 38.0) ** 2 + (columns - 40.0) ** 2) / (2 * 15.0**2))
        glows = halo > 0.08
        picture[glows, :3] = (255, 226, 165)
        picture[..., 3] = np.maximum(picture[..., 3], (230 * halo * glows).astype(np.uint8))
        picture[26:50, 27:53] = (255, 244, 214, 255)
    return picture


def person(variant: int, light: Light) -> np.ndarray:
    """A passer-by (180, 70, 4)."""
    rng = np.random.default_rng((303, variant))
    rgb = np.zeros((180, 70, 3), np.float32)
    alpha = np.zeros((180, 70), np.uint8)
    coat, trousers = (tuple(float(c) for c in rng.uniform(25, 200, 3)) for _ in range(2))
    skin = tuple(float(c) for c in np.asarray((224, 178, 146)) * rng.uniform(0.5, 1.0))
    stride = int(rng.uniform(4, 14))

    def limb(start: tuple[int, int], end: tuple[int, int], width: int, colour: tuple) -> None:
        cv2.line(rgb, start, end, colour, width, cv2.LINE_AA)
        cv2.line(alpha, start, end, 255, width, cv2.LINE_AA)

    limb((35, 100), (35 - stride, 176), 13, trousers)
    limb((35, 100), (35 + stride, 176), 13, trousers)
    limb((24, 48), (18 + stride // 2, 98), 9, coat)
    limb((46, 48), (52 - stride // 2, 98), 9, coat)
    limb((35, 46), (35, 92), 25, coat)
    limb((35, 20), (35, 24), 19, skin)
    limb((35, 13), (35, 15), 18, (48, 38, 32))
    return _lit_rgba(rgb, alpha, light)
