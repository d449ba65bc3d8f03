# SPDX-License-Identifier: Apache-2.0
"""A drive through the town as a rosbag2: pictures, camera_info, odometry and the true pose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.bag_writer import BagWriter
from vpr_ros.demo.light import DAY, EVENING, Light
from vpr_ros.demo.plan import Town
from vpr_ros.demo.renderer import Camera, Renderer, View
from vpr_ros.demo.route import Drive
from vpr_ros.demo.sequence import Lens, make_scene, render_views, views
from vpr_ros.demo.surfaces import Surface
from vpr_ros.demo.town import drive, make_traffic

IMAGE_TOPIC = '/camera/image/compressed'
CAMERA_INFO_TOPIC = '/camera/camera_info'
ODOMETRY_TOPIC = '/odom'
TRUTH_TOPIC = '/ground_truth/pose'
CAMERA_FRAME = 'camera_optical'
RATE_HZ = 15.0
CAMERA_PITCH_RAD = 0.09  # the camera looks up a little: more facades, less asphalt
# The camera in the body that drives, x y z qx qy qz qw: optical axes, tilted up.
_TILT = math.pi / 4 - CAMERA_PITCH_RAD / 2
BODY_FROM_CAMERA = (
    *(0.0, 0.0, 0.0),
    *(-math.sin(_TILT) / math.sqrt(2), math.sin(_TILT) / math.sqrt(2)),
    *(-math.cos(_TILT) / math.sqrt(2), math.cos(_TILT) / math.sqrt(2)),
)
_JPEG_QUALITY = 92
_START_NS = 1_700_000_000_000_000_000
_LAP_NS = 600_000_000_000
_ODOMETRY_NOISE = 0.01  # of every step and, in radians a step, of the heading over ten


@dataclass(frozen=True)
class Lap:
    """One drive: where, in what light, how shifted.

    Attributes:
        number: 1 or 2; traffic, noise and time follow from it.
        light: Time of day.
        drive: Poses of the camera.
    """

    number: int
    light: Light
    drive: Drive

    @property
    def stamps_ns(self) -> np.ndarray:
        """(N,) stamps of the pictures, nanoseconds."""
        steps = np.round(np.arange(len(self.drive)) * (1e9 / RATE_HZ)).astype(np.int64)
        return _START_NS + _LAP_NS * self.number + steps


def make_laps(town: Town, *, spacing_m: float) -> tuple[Lap, Lap]:
    """The two drives: by day in the right lane; in the evening 0.5 to 1.1 m further left."""
    first = drive(town.lap_one, spacing_m=spacing_m, left_m=-1.2, sway_m=0.0)
    second = drive(town.lap_two, spacing_m=spacing_m, left_m=-0.4, sway_m=0.3)
    return Lap(1, DAY, first), Lap(2, EVENING, second)


def drifting_odometry(drive: Drive, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What wheels and a gyro would say: positions (N, 3) and yaws (N,), starting at the truth."""
    rng = np.random.default_rng((seed, 4))
    steps = np.diff(drive.positions[:, :2], axis=0)
    scale = 1 + rng.normal(0, _ODOMETRY_NOISE, len(steps))
    drift = np.cumsum(rng.normal(0, _ODOMETRY_NOISE / 10, len(steps)))
    cos, sin = np.cos(drift), np.sin(drift)
    turned = np.column_stack(
        [cos * steps[:, 0] - sin * steps[:, 1], sin * steps[:, 0] + cos * steps[:, 1]]
    )
    positions = drive.positions.copy()
    positions[1:, :2] = positions[0, :2] + np.cumsum(turned * scale[:, None], axis=0)
    return positions, drive.yaws + np.r_[0, drift]


def views_of(lap: Lap) -> list[View]:
    """Where the camera truly is at each picture of a lap."""
    return views(lap.drive, pitch_rad=CAMERA_PITCH_RAD, pitch_jitter_rad=0.004, seed=lap.number)


def render_lap(
    town: Town, painted: Sequence[Surface], lap: Lap, camera: Camera
) -> Iterator[np.ndarray]:
    """Yield the pictures of a lap, uint8 RGB (H, W, 3); arguments as of `record_lap`."""
    scene = make_scene(town, painted, make_traffic(town, lap.number), lap.light)
    lens = Lens(camera, lap.light.noise, lap.number)
    return render_views(Renderer(scene, camera), lens, views_of(lap))


def record_lap(
    town: Town,
    painted: Sequence[Surface],
    lap: Lap,
    camera: Camera,
    path: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render a lap and write it as a bag.

    Args:
        town: The world.
        painted: Its surfaces, by `paint_town`.
        lap: The drive.
        camera: The camera.
        path: Folder of the bag; it must not exist.
        progress: Is told pictures done and pictures in all.
    """
    odometry, odometry_yaws = drifting_odometry(lap.drive, lap.number)
    orientations = lap.drive.orientations_xyzw
    odometry_orientations = Drive(odometry, odometry_yaws, lap.drive.driven_m).orientations_xyzw
    pictures = render_lap(town, painted, lap, camera)
    with BagWriter(path) as bag:
        for number, jpeg in enumerate(_jpegs(pictures)):
            stamp_ns = int(lap.stamps_ns[number])
            bag.add_odometry(
                ODOMETRY_TOPIC,
                odometry[number],
                odometry_orientations[number],
                stamp_ns,
                child_frame_id='camera_link',
            )
            bag.add_pose_stamped(
                TRUTH_TOPIC, lap.drive.positions[number], orientations[number], stamp_ns
            )
            bag.add_camera_info(
                CAMERA_INFO_TOPIC,
                camera.matrix,
                (camera.height, camera.width),
                stamp_ns,
                CAMERA_FRAME,
            )
            bag.add_compressed(IMAGE_TOPIC, jpeg, stamp_ns, CAMERA_FRAME)
            if progress is not None:
                progress(number + 1, len(lap.drive))


def _jpegs(pictures: Iterator[np.ndarray]) -> Iterator[bytes]:
    for rgb in pictures:
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        yield jpeg.tobytes()
