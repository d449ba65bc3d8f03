# SPDX-License-Identifier: Apache-2.0
"""A made scene, seen by made cameras: where truth is exact."""

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.local_features import LocalFeatures
from vpr_ros.verification.metric import Keyframe

WIDTH, HEIGHT = 640, 480
CAMERA = Intrinsics(np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]]))
NOISE_PX = 0.5


def deep_scene(rng, n=400):
    """Points two to six metres before a camera at the origin, metres."""
    pixels = rng.uniform((-200, -150), (WIDTH + 200, HEIGHT + 150), (n, 2))
    rays = np.column_stack([CAMERA.rays(pixels), np.ones(n)])
    return rays * rng.uniform(2, 6, (n, 1))


def flat_scene(rng, n=400):
    """Points of one slanting plane."""
    points = deep_scene(rng, n)
    normal = np.array([0.3, 0.2, 1.0])
    return points * (4 / (points @ normal))[:, np.newaxis]


def looks(rng, n):
    """Descriptors of n points that cannot be taken for one another."""
    descriptors = rng.normal(size=(n, 128)).astype(np.float32)
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def pose(position=(0, 0, 0), rotvec_deg=(0, 0, 0)):
    """Camera to map, (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(rotvec_deg)).as_matrix()
    matrix[:3, 3] = position
    return matrix


def project(points, camera_pose):
    """Pixels (n, 2), and which are in the picture."""
    in_camera = (points - camera_pose[:3, 3]) @ camera_pose[:3, :3]
    pixels = in_camera @ CAMERA.matrix.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    inside = (pixels >= 0).all(axis=1) & (pixels < (WIDTH, HEIGHT)).all(axis=1)
    return pixels, inside & (in_camera[:, 2] > 0)


def view(rng, points, descriptors, camera_pose, *, camera=CAMERA, known=True):
    """A keyframe that sees the points."""
    pixels, seen = project(points, camera_pose)
    pixels = pixels + rng.normal(scale=NOISE_PX, size=pixels.shape)
    order = rng.permutation(np.flatnonzero(seen))
    features = LocalFeatures(
        'made', pixels[order].astype(np.float32), descriptors[order], WIDTH, HEIGHT
    )
    return Keyframe(features, camera, camera_pose if known else None)


def turned_deg(first, second):
    """Angle between two rotations, degrees."""
    return np.degrees(Rotation.from_matrix(first @ second.T).magnitude())


class Places:
    """A map of made keyframes, each the others' neighbour; counts what it is asked for."""

    def __init__(self, keyframes):
        self.keyframes = keyframes
        self.loads = []

    def keyframe(self, place):
        self.loads.append(place)
        return self.keyframes[place]

    def neighbours(self, place):
        return [other for other in range(len(self.keyframes)) if other != place]

    def landmarks(self, place):
        return None
