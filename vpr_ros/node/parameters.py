# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node, each declared from one dataclass field; no rclpy.

The fields of `NodeConfig` are read-only while the node runs, those of `RecognizerConfig` can be
set.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.extractor import DEVICES
from vpr_ros.node_common import declared
from vpr_ros.node_common.declared import ParameterError, of_fields
from vpr_ros.node_common.mounting import mountings_of
from vpr_ros.odometry import MAX_GAP_S, MAX_SPEED
from vpr_ros.online_map import MappingConfig
from vpr_ros.recognizer import RecognizerConfig
from vpr_ros.settings import setting
from vpr_ros.verification.features import DEFAULT_MAX_FEATURES, FEATURE_KINDS

RELIABILITIES = ('auto', 'best_effort', 'reliable')
TRANSPORTS = ('raw', 'compressed')
MAPPING = 'mapping.'  # before the names of MappingConfig
MODES = ('localize', 'slam', 'both')
_CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')  # a part of a topic's name


@dataclass(frozen=True)
class NodeConfig:
    """What is fixed while the node runs."""

    autostart: bool = setting(
        True, 'Configure and activate at start; false leaves that to a lifecycle manager'
    )
    mode: str = setting(
        'localize',
        'What pictures are matched against: the map, what was seen since the start, or both',
        choices=MODES,
    )
    model: str = setting('', 'Model file (.onnx); empty takes the shipped one')
    map: str = setting('', 'Map directory, as path or file:// URL; empty waits for ~/load_map')
    device: str = setting('auto', 'Where the model runs', choices=DEVICES)
    num_threads: int = setting(
        0, 'CPU threads of one inference; 0 takes as many as there are cores', range=(0, 1024)
    )
    camera: str = setting('', 'Name of the single camera, copied into ~/loop_closures')
    cameras: tuple[str, ...] = setting(
        (),
        'Names of several cameras, with topics NAME/image and NAME/camera_info each; empty for a '
        'single one with image and camera_info',
        items=str,
    )
    body_from_camera: tuple[float, ...] = setting(
        (),
        "Pose of each camera's optical frame in the frame that odometry places: x y z (m) qx qy "
        'qz qw, in the order of cameras; empty: unknown, odometry serves for distances only',
        items=float,
    )
    camera_info_rectified: str = setting(
        'auto',
        'Whether the pictures are rectified, so that camera_info describes them by P instead of K '
        'and the distortion; auto: if their topic is called so after remapping (image_rect, …)',
        choices=('auto', 'true', 'false'),
    )
    features: str = setting(
        'auto',
        'Local features by which matches are verified; auto takes those of the map, or sift',
        choices=('auto', *FEATURE_KINDS),
    )
    max_features: int = setting(
        DEFAULT_MAX_FEATURES, 'Local features of a picture at most', range=(10, 100000)
    )
    map_frame_id: str = setting('', 'Frame of the map; empty takes the one recorded in the map')
    image_transport: str = setting(
        'raw', 'Subscribe to image or to image/compressed', choices=TRANSPORTS
    )
    image_reliability: str = setting(
        'auto',
        'QoS reliability of the pictures; auto is reliable where every publisher offers it',
        choices=RELIABILITIES,
    )
    max_odom_gap_s: float = setting(
        MAX_GAP_S,
        'Seconds between two odometry poses within which a picture is still placed',
        range=(0.001, 60.0),
    )
    max_odom_speed: float = setting(
        MAX_SPEED,
        'A faster step of odometry, m/s, is a jump: poses before and after it are not joined',
        range=(0.1, 1000.0),
    )
    input_timeout_s: float = setting(
        5.0, 'Seconds without a picture until the node says so, and why', range=(0.1, 3600.0)
    )
    diagnostics_period_s: float = setting(
        1.0, 'Seconds between messages on /diagnostics', range=(0.1, 60.0)
    )
    markers_period_s: float = setting(
        0.5, 'Seconds between messages on ~/markers', range=(0.05, 60.0)
    )

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            ParameterError: The text names the parameter and what is wrong.
        """
        for name in self.cameras:
            if not _CAMERA_NAME.fullmatch(name):
                raise ParameterError(
                    f'cameras: {name!r} cannot be part of a topic: a name is a letter, followed '
                    'by letters, digits and underscores'
                )
            if self.cameras.count(name) > 1:
                raise ParameterError(f'cameras: {name!r} stands there twice')
        if self.camera and self.cameras:
            raise ParameterError(
                f'camera: {self.camera!r} names a single camera and cameras lists '
                f'{", ".join(self.cameras)}: leave one of the two empty'
            )
        self.mountings  # noqa: B018  (raises)

    @property
    def learns(self) -> bool:
        """Whether what is seen is added to what pictures are matched against."""
        return self.mode != 'localize'

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Of every camera, by number."""
        return self.cameras or (self.camera,)

    @property
    def mountings(self) -> tuple[np.ndarray | None, ...]:
        """(4, 4) pose of every camera's optical frame on the body, by number; None: unknown."""
        num_cameras = len(self.camera_names)
        return mountings_of(self.body_from_camera, num_cameras) or (None,) * num_cameras


@dataclass(frozen=True)
class RuntimeConfig:
    """What can be set while the node runs, beside the fields of RecognizerConfig."""

    max_rate: float = setting(
        0.0, 'Pictures processed per second at most; 0.0 sets no limit', range=(0.0, 1000.0)
    )


PARAMETERS = {
    p.name: p
    for p in (
        *of_fields(NodeConfig, read_only=True),
        *of_fields(RuntimeConfig, read_only=False),
        *of_fields(RecognizerConfig, read_only=False),
        *of_fields(MappingConfig, read_only=False, prefix=MAPPING),
    )
}


def resolve(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what the user gave with the defaults; see `declared.resolve`."""
    return declared.resolve(overrides, PARAMETERS)


def markdown_rows() -> list[str]:
    """Return the rows of README's table."""
    return declared.markdown_rows(PARAMETERS)


if __name__ == '__main__':
    sys.stdout.write('\n'.join(declared.markdown_table(PARAMETERS)) + '\n')
