# SPDX-License-Identifier: Apache-2.0
"""Keyframes that tests make."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import LocalFeatures
from vpr_ros.verification.metric import Keyframe, Landmarks

CAMERA = Intrinsics(np.array([[400.0, 0, 239.5], [0, 401.0, 179.5], [0, 0, 1]]), np.arange(5) / 10)
LANDMARKS = Landmarks(
    np.array([0, 7]), np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([0.1, 0.02]), 0.125
)


def pose(x: float, y: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, 3] = x, y
    return matrix


def made_features(seed: int = 0, n: int = 20, kind: str = 'xfeat', d: int = 64) -> LocalFeatures:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(n, d)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform(0, 300, (n, 2)).astype(np.float32)
    return LocalFeatures(kind, keypoints, descriptors, 480, 360)


def made_keyframe(seed: int = 0, at: np.ndarray | None = None) -> Keyframe:
    return Keyframe(made_features(seed), CAMERA, at)


def a_drive(folder: Path, n: int = 12, *, first: int = 0, drive: int = 0) -> KeyframeStore:
    store = KeyframeStore(folder)
    for i in range(n):
        row = first + i
        store.add(row, made_keyframe(row, pose(0.1 * i)), drive=drive)
        (folder / f'{row:06d}.jpg').write_bytes(b'picture %d' % row)
    return store
