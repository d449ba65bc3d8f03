# SPDX-License-Identifier: Apache-2.0
"""Options about cameras and local features, and the cameras that they describe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.cli.arguments import positive

if TYPE_CHECKING:
    from vpr_ros.cameras import Calibration, MapCamera
    from vpr_ros.sources import AnySource

_OPTICAL = 'optical'
_LENS_OPTIONS = ('camera-info', 'camera-info-topic', 'camera-pose')
_PER_CAMERA = (
    'of several cameras, give it for each as NAME=…, NAME a part of its topic, such as front'
)


def add_camera_options(build: argparse.ArgumentParser) -> None:
    """Add what verification by geometry needs."""
    group = build.add_argument_group('verification')
    group.add_argument(
        '--features',
        type=feature_kind,
        default='sift',
        metavar='KIND',
        help='local features kept of each place: sift, orb, xfeat or none (default sift)',
    )
    group.add_argument(
        '--max-features', type=positive, metavar='N', help='most of these a picture (default 1000)'
    )
    add_lens_options(group)


def add_lens_options(group: argparse._ArgumentGroup, *, prefix: str = '') -> None:
    """Add what `find_cameras` reads.

    Args:
        group: Gets the options.
        prefix: What their names begin with.
    """
    intrinsics = group.add_mutually_exclusive_group()
    intrinsics.add_argument(
        f'--{prefix}camera-info',
        action='append',
        default=[],
        metavar='FILE',
        help='intrinsics, YAML as `camera_calibration` writes it; default: none, or in a bag the '
        f'CameraInfo beside the pictures; {_PER_CAMERA}',
    )
    intrinsics.add_argument(
        f'--{prefix}camera-info-topic',
        action='append',
        default=[],
        metavar='TOPIC',
        help='CameraInfo of the bag, where it is not camera_info beside the pictures; likewise',
    )
    group.add_argument(
        f'--{prefix}camera-pose',
        action='append',
        default=[],
        metavar='POSE',
        help='pose "x y z qx qy qz qw" of the camera\'s optical frame in the body that the poses '
        f'are of, or `{_OPTICAL}`: the poses are of the optical frame; default: not known, and '
        'then nothing is verified in metres; likewise',
    )


def find_cameras(
    args: argparse.Namespace,
    source: AnySource,
    *,
    has_poses: bool,
    is_needed: bool = True,
    prefix: str = '',
) -> tuple[MapCamera, ...]:
    """Return what is known of each camera, and say on stderr what is not.

    Args:
        args: With the options of `add_lens_options`.
        source: The pictures.
        has_poses: Whether mountings could be of use.
        is_needed: Whether anything is verified by geometry.
        prefix: As in `add_lens_options`.

    Raises:
        SourceError: A file, topic or pose cannot be used as asked.
    """
    from vpr_ros.bag_cameras import camera_info_topic
    from vpr_ros.camera_files import read_calibration
    from vpr_ros.cameras import MapCamera
    from vpr_ros.errors import SourceError
    from vpr_ros.sources import BagSource

    topics = [t.name for t in source.topics] if isinstance(source, BagSource) else [source.path]
    files, info_topics, poses = (
        _per_camera(option, getattr(args, option[2:].replace('-', '_')), topics)
        for option in (f'--{prefix}{name}' for name in _LENS_OPTIONS)
    )
    if info_topics and not isinstance(source, BagSource):
        raise SourceError(f'{source.path} is no rosbag2: it has no --{prefix}camera-info-topic')
    cameras = []
    for number, topic in enumerate(topics):
        calibration: Calibration | None = None
        remedy = f'--{prefix}camera-info FILE gives them'
        if number in files:
            calibration = read_calibration(Path(files[number]))
        elif isinstance(source, BagSource):
            remedy += (
                f', or --{prefix}camera-info-topic instead of {camera_info_topic(str(topic))}'
            )
            calibration = _from_bag(source, number, info_topics.get(number))
        pose = None if number not in poses else _read_pose(poses[number])
        if is_needed:
            if calibration is None:
                _say(f'intrinsics of {topic} not known: no motion is estimated; {remedy}')
            if pose is None and has_poses:
                _say(
                    f'mounting of {topic} not known: no verification in metres; '
                    f'--{prefix}camera-pose'
                )
        cameras.append(MapCamera(number, calibration, pose))
    return tuple(cameras)


def _from_bag(source: AnySource, number: int, wanted: str | None) -> Calibration | None:
    from vpr_ros.bag_cameras import read_bag_calibration
    from vpr_ros.bags import Bag
    from vpr_ros.errors import SourceError
    from vpr_ros.sources import BagSource

    assert isinstance(source, BagSource)
    with Bag(source.path, source.stamps) as bag:
        try:
            return read_bag_calibration(bag, source.topics[number], wanted)
        except SourceError as error:
            if wanted is not None:
                raise
            _say(f'intrinsics not used: {error}')  # nobody asked for these
            return None


def _per_camera(
    option: str, values: Sequence[str], topics: Sequence[str | Path]
) -> dict[int, str]:
    """Return camera to value; of several cameras each is named.

    Raises:
        SourceError: A name fits no camera or several, or a camera is given twice.
    """
    from vpr_ros.errors import SourceError

    if len(topics) == 1:
        if len(values) > 1:
            raise SourceError(f'{option} is given {len(values)} times for one camera')
        return dict(enumerate(values))
    found: dict[int, str] = {}
    for value in values:
        name, _, rest = value.partition('=')
        fitting = [n for n, topic in enumerate(topics) if name in str(topic).split('/')]
        if not rest or len(fitting) != 1:
            names = ', '.join(map(str, topics))
            raise SourceError(
                f'{option} {value!r} must begin with NAME= and NAME be a part of one topic only: '
                f'{names}'
            )
        if fitting[0] in found:
            raise SourceError(f'{option} is given twice for {topics[fitting[0]]}')
        found[fitting[0]] = rest
    return found


def _read_pose(text: str) -> tuple[float, ...]:
    from vpr_ros.cameras import OPTICAL
    from vpr_ros.errors import SourceError
    from vpr_ros.poses import matrix_of_pose

    if text == _OPTICAL:
        return OPTICAL
    try:
        pose = tuple(float(word) for word in text.split())
        matrix_of_pose(pose)
    except ValueError as error:
        raise SourceError(f'--camera-pose {text!r}: {error}; or `{_OPTICAL}`') from error
    return pose


def feature_kind(text: str) -> str:
    """Read what finds local features, or `none`."""
    from vpr_ros.verification.features import FEATURE_KINDS

    if text not in ('none', *FEATURE_KINDS):
        known = ', '.join(FEATURE_KINDS)
        raise argparse.ArgumentTypeError(f'must be one of {known} or none, not {text!r}')
    return text


def _say(text: str) -> None:
    print(text, file=sys.stderr)
