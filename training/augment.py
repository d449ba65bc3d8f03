# SPDX-License-Identifier: Apache-2.0
"""Augmentation: other viewpoint, other light, other camera.

Every function takes and returns uint8 RGB (H, W, 3) or, inside the light chain, float32 in 0..1,
and draws all its randomness from the generator it is given.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from PIL import Image


def augment(
    rgb: np.ndarray,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    viewpoint: float = 1.0,
    zoom: float | None = None,
    night: float = 0.35,
) -> np.ndarray:
    """Make another view of the same place.

    Args:
        rgb: uint8 RGB (H, W, 3).
        rng: Source of all randomness.
        size: (height, width) of the result.
        window: Part of the picture to look at: left, top, right, bottom as fractions.
        viewpoint: Strength of the change of viewpoint, 0 (none) to 1.
        zoom: Part of the window that is seen, about; None draws one.
        night: Probability of a night.

    Returns:
        uint8 RGB (height, width, 3).
    """
    rgb = change_viewpoint(rgb, rng, size=size, window=window, strength=viewpoint, zoom=zoom)
    light = to_light(rgb)
    light = make_night(light, rng) if rng.random() < night else change_light(light, rng)
    return degrade(to_picture(light), rng)


def to_light(rgb: np.ndarray) -> np.ndarray:
    """Return float32 in 0..1 of a uint8 picture."""
    return np.multiply(rgb, np.float32(1.0 / 255.0), dtype=np.float32)


def to_picture(light: np.ndarray) -> np.ndarray:
    """Return the uint8 picture of float32 light; what lies outside of 0..1 is cut."""
    return cv2.convertScaleAbs(np.maximum(light, 0.0), alpha=255.0)


def randaugment(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply three random operations, bilinear: the augmentation of the published recipes.

    RandAugment: Cubuk et al., CVPR Workshops 2020; torchvision's, with its default magnitude.
    """
    from torchvision.transforms import InterpolationMode, RandAugment

    operations = RandAugment(num_ops=3, interpolation=InterpolationMode.BILINEAR)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        # On Pillow's pictures, as published: twice as fast on a CPU as on tensors.
        return np.array(operations(Image.fromarray(rgb)))


def random_window(
    rng: np.random.Generator, *, smallest: float
) -> tuple[float, float, float, float]:
    """Draw a window (left, top, right, bottom, fractions) of at least `smallest` a side."""
    width, height = rng.uniform(smallest, 1.0, 2)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return left, top, left + width, top + height


def change_viewpoint(
    rgb: np.ndarray,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    strength: float = 1.0,
    zoom: float | None = None,
) -> np.ndarray:
    """Look at a window from a little further left, right, nearer or higher.

    A step to the side moves what is near more than what is far: in a street picture the bottom
    more than the horizon, hence the shear, and one side more than the other, hence the corners.
    """
    height, width = rgb.shape[:2]
    left, top, right, bottom = window
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    centre, half = corners.mean(axis=0), np.array([right - left, bottom - top]) / 2
    unit = (corners - centre) / half  # -1..1

    if zoom is None:
        zoom = rng.uniform(1.0 - 0.4 * strength, 1.0)
    unit *= zoom * np.exp(rng.uniform(-0.12, 0.12, 2) * strength)
    unit[:, 0] += rng.uniform(-0.2, 0.2) * strength * unit[:, 1]  # shear: sideways step
    unit += rng.uniform(-0.12, 0.12, (4, 2)) * strength  # turn and roll
    slack = max(0.0, 1.0 - zoom) + 0.15 * strength
    unit += rng.uniform(-1, 1, 2) * np.array([slack, 0.6 * slack])

    source = ((centre + unit * half) * (width, height)).astype(np.float32)
    target = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * (size[1], size[0])
    warp = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    return cv2.warpPerspective(
        rgb, warp, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def change_light(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change exposure, contrast, colour temperature and shadows of a day picture."""
    light = light ** np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    mean, contrast, exposure = light.mean(), rng.uniform(0.6, 1.3), rng.uniform(0.6, 1.4)
    light *= np.float32(contrast)
    light += np.float32(mean * (exposure - contrast))
    light = _tint(light, rng, strength=0.15)
    if rng.random() < 0.4:
        light = _times(light, 1.0 - rng.uniform(0.3, 0.8) * _smooth_mask(light.shape[:2], rng))
    if rng.random() < 0.2:
        light = _fade_to_grey(light, rng)
    return light


def make_night(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn a day picture into something like a night: black sky, few lamps, noise."""
    height, width = light.shape[:2]
    # The sky is what is bright and high up; by night it is the darkest part, not the brightest.
    rows = np.linspace(1.0, 0.0, height, dtype=np.float32)[:, None]
    sky = np.clip((_grey(light) - 0.5) * 4, 0, 1) * np.clip(rows * 2 - 0.6, 0, 1)
    light = _times(light, 1.0 - rng.uniform(0.5, 1.0) * cv2.GaussianBlur(sky, (9, 9), 0))

    ambient = rng.uniform(0.02, 0.35)
    lamps = np.zeros((height, width), np.float32)
    ys, xs = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    for _ in range(rng.integers(0, 6)):
        x, y = rng.uniform(0, width), rng.uniform(0.1, 0.9) * height
        spread = np.float32(2 * (rng.uniform(0.05, 0.4) * width) ** 2)
        glow = np.exp(-((ys - y) ** 2) / spread)[:, None] * np.exp(-((xs - x) ** 2) / spread)
        lamps += np.float32(rng.uniform(0.3, 1.2)) * glow
    light = _times(light ** np.float32(rng.uniform(1.0, 1.8)), lamps + np.float32(ambient))
    if rng.random() < 0.5:  # lamps in the picture
        shining = lamps.clip(0, 1) ** 8 * np.float32(rng.uniform(0.0, 0.6))
        light += shining[..., None]
    light = _tint(light, rng, strength=0.3)
    if rng.random() < 0.35:
        light = _fade_to_grey(light, rng)
    # The camera lifts what it gets, and its noise with it.
    light *= np.float32(rng.uniform(0.8, 3.0))
    noise = rng.standard_normal((height, width, 1), np.float32)
    light += noise * np.float32(rng.uniform(0.005, 0.06))
    return light


def degrade(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, shake, cover or compress a picture, each now and then."""
    if rng.random() < 0.25:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.8))
    elif rng.random() < 0.15:
        rgb = _shake(rgb, rng)
    if rng.random() < 0.25:
        rgb = _cover(rgb, rng)
    if rng.random() < 0.4:
        quality = int(rng.integers(25, 90))
        rgb = cv2.imdecode(cv2.imencode('.jpg', rgb, (cv2.IMWRITE_JPEG_QUALITY, quality))[1], 1)
    return rgb


def _tint(light: np.ndarray, rng: np.random.Generator, *, strength: float) -> np.ndarray:
    warm, green = rng.uniform(-strength, strength, 2)
    return cv2.transform(light, np.diag([1 + warm, 1 + green / 2, 1 - warm]))


def _fade_to_grey(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    amount = rng.uniform(0.4, 1.0)
    return cv2.transform(light, np.eye(3) * (1 - amount) + amount / 3)


def _grey(light: np.ndarray) -> np.ndarray:
    """Return the mean of the channels (H, W)."""
    return cv2.transform(light, np.full((1, 3), 1 / 3))


def _times(light: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Multiply every channel by a mask (H, W)."""
    mask = mask.astype(np.float32, copy=False)
    return cv2.multiply(light, cv2.merge([mask, mask, mask]))


def _smooth_mask(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a soft random blotch pattern (H, W) in 0..1."""
    coarse = (rng.random((4, 4)) > 0.5).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _shake(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur along a line, as a moving camera does."""
    length = int(rng.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    offset = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    centre = (length - 1) / 2
    start, end = (tuple(np.round(centre + sign * offset).astype(int).tolist()) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(rgb, -1, kernel / kernel.sum())


def _cover(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hide a part behind a flat box: a passer-by, a car."""
    height, width = rgb.shape[:2]
    box_h, box_w = (rng.uniform(0.1, 0.35, 2) * (height, width)).astype(int)
    top, left = int(rng.integers(0, height - box_h)), int(rng.integers(0, width - box_w))
    rgb = rgb.copy()
    rgb[top : top + box_h, left : left + box_w] = rng.integers(0, 256, 3, np.uint8)
    return rgb
