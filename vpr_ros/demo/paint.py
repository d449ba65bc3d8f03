# SPDX-License-Identifier: Apache-2.0
"""Painted materials: walls, roofs, leaves and noise, as RGB textures."""

from __future__ import annotations

import cv2
import numpy as np

PIXELS_PER_M = 32  # of facades


def fractal_noise(height: int, width: int, rng: np.random.Generator, cell: int) -> np.ndarray:
    """Smooth noise (height, width) float32, mean about 0, within about -1..1.

    `cell` is the size of the coarsest blob in pixels; three octaves are added.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(3):
        size = max(2, cell >> octave)
        coarse = rng.uniform(-1, 1, (height // size + 2, width // size + 2)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        total += fine * (0.5**octave)
    return total / 1.75


def _scaled(colour: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """An RGB colour (3,) times a factor (H, W) as a float32 texture (H, W, 3)."""
    return factor[..., None].astype(np.float32) * np.asarray(colour, np.float32)


def blocks(
    height: int, width: int, rng: np.random.Generator, *, block: tuple[int, int], joint: float
) -> np.ndarray:
    """Masonry in running bond: a factor (H, W); `block` is (height, width) in pixels."""
    block_height, block_width = block
    rows = np.arange(height) // block_height
    shift = (rows % 2) * (block_width // 2)
    columns = np.arange(width)[None, :] + shift[:, None]
    tone = rng.normal(1.0, 0.10, (rows[-1] + 1, columns.max() // block_width + 1))
    factor = tone[rows[:, None], columns // block_width].astype(np.float32)
    factor[np.arange(height) % block_height == 0] = joint
    factor[columns % block_width == 0] = joint
    return factor


def _boards(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Horizontal clapboard: a factor (H, W)."""
    rows = np.arange(height)
    tone = rng.normal(1.0, 0.04, height // 7 + 1)[rows // 7] - 0.25 * (rows % 7 == 6)
    return np.repeat(tone[:, None], width, axis=1)


def _panels(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Concrete panels with dark seams: a factor (H, W)."""
    factor = blocks(height, width, rng, block=(96, 72), joint=0.7)
    return 0.5 + 0.5 * factor


def wall(
    material: str, height: int, width: int, colour: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A bare wall, float32 (height, width, 3), RGB 0..255."""
    if material == 'brick':
        factor = blocks(height, width, rng, block=(4, 10), joint=1.22)
    elif material == 'stone':
        factor = blocks(height, width, rng, block=(14, 30), joint=0.72)
    elif material == 'boards':
        factor = _boards(height, width, rng)
    elif material == 'panels':
        factor = _panels(height, width, rng)
    else:
        factor = np.ones((height, width), np.float32)
    weather = 1 + 0.10 * fractal_noise(height, width, rng, 64)
    weather += 0.05 * fractal_noise(height, width, rng, 8)
    streaks = fractal_noise(2, width, rng, 16)[0]
    weather *= 1 - 0.07 * np.clip(streaks, 0, 1)[None, :]
    near_ground = np.linspace(0, 1, height) ** 12
    return _scaled(colour, factor * weather * (1 - 0.25 * near_ground)[:, None])


def roof(height: int, width: int, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of tiles, float32 (height, width, 3), RGB 0..255."""
    factor = blocks(height, width, rng, block=(9, 8), joint=0.72)
    return _scaled(colour, factor * (1 + 0.12 * fractal_noise(height, width, rng, 48)))


def leaves(height: int, width: int, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Foliage, float32 (height, width, 3), RGB 0..255: lighter above, dark in the gaps."""
    factor = 0.85 + 0.35 * fractal_noise(height, width, rng, 24)
    factor += 0.35 * fractal_noise(height, width, rng, 5)
    factor *= np.linspace(1.2, 0.65, height)[:, None]
    return _scaled(colour, np.clip(factor, 0.15, 1.7))
