# SPDX-License-Identifier: Apache-2.0
"""Pictures that an export is compared on: real ones of a folder, or made ones of nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.picture_folder import PICTURE_SUFFIXES, read_picture

MADE_SIZE = (480, 640)
PATCHES = 60


def read_pictures(folder: Path, count: int) -> list[np.ndarray]:
    """Read some pictures spread over a folder and its subfolders.

    Raises:
        FileNotFoundError: There is none.
    """
    files = sorted(p for p in Path(folder).rglob('*') if p.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f'no pictures in {folder}; the comparison needs some')
    return [read_picture(path) for path in files[:: -(-len(files) // count)]]


def made_pictures(count: int) -> list[np.ndarray]:
    """Return `count` made pictures."""
    return [made_picture(seed) for seed in range(count)]


def made_picture(seed: int) -> np.ndarray:
    """Paint rectangles over a sky that darkens, with noise: uint8 RGB (480, 640, 3).

    It varies in space at every scale, which the mixers need: flat maps they amplify into noise.
    """
    height, width = MADE_SIZE
    rng = np.random.default_rng(seed)
    fade = np.linspace(1.0, 0.4, height)[:, None, None]
    picture = np.broadcast_to(fade * rng.uniform(80, 230, 3), (height, width, 3)).copy()
    for _ in range(PATCHES):
        top, left = rng.integers(0, height - 20), rng.integers(0, width - 20)
        bottom, right = top + rng.integers(10, 160), left + rng.integers(10, 160)
        picture[top:bottom, left:right] = rng.uniform(0, 255, 3)
    picture += rng.normal(0, 6, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)
