# SPDX-License-Identifier: Apache-2.0
"""Options about what goes with the pictures that are recognised: odometry and cameras."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from vpr_ros.cli.camera_options import add_lens_options, find_cameras

if TYPE_CHECKING:
    from vpr_ros.evaluation.sensors import Sensors
    from vpr_ros.poses import Trajectory
    from vpr_ros.sources import AnySource


def add_sensor_options(parser: argparse.ArgumentParser) -> None:
    """Add what `find_sensors` reads."""
    group = parser.add_argument_group('what goes with the pictures')
    group.add_argument(
        '--odom-topic',
        metavar='TOPIC',
        help='nav_msgs/Odometry of the bag, which moves the sequence filter (default: the only '
        'one there is)',
    )
    group.add_argument('--no-odom', action='store_true', help='leave odometry out')
    add_lens_options(group)


def find_sensors(
    args: argparse.Namespace, query: AnySource, *, has_poses: bool, is_verified: bool
) -> tuple[Sensors, dict[str, Any]]:
    """Return what the node would know of each picture, and the same in words.

    Args:
        args: With the options of `add_sensor_options`.
        query: The pictures.
        has_poses: Whether they become places with poses.
        is_verified: Whether anything is verified by geometry.

    Raises:
        SourceError: A file, topic or pose cannot be used as asked.
    """
    from vpr_ros.evaluation.sensors import Sensors

    cameras = find_cameras(args, query, has_poses=has_poses, is_needed=is_verified)
    odometry, topic = _find_odometry(args, query)
    said = {
        'odometry': topic or 'none',
        'cameras': [camera.to_json() for camera in cameras],
    }
    return Sensors(cameras, odometry), said


def _find_odometry(args: argparse.Namespace, query: AnySource) -> tuple[Trajectory | None, str]:
    """Return the odometry of a bag and the name of its topic."""
    from vpr_ros.bag_messages import ODOMETRY
    from vpr_ros.bag_poses import read_bag_poses
    from vpr_ros.bags import Bag
    from vpr_ros.errors import SourceError
    from vpr_ros.sources import BagSource

    if args.no_odom and args.odom_topic is not None:
        raise SourceError('--odom-topic and --no-odom exclude each other: give one')
    if not isinstance(query, BagSource):
        if args.odom_topic is not None:
            raise SourceError(f'{query.path} is no rosbag2: it has no --odom-topic')
        return None, ''
    if args.no_odom:
        return None, ''
    with Bag(query.path, query.stamps) as bag:
        if args.odom_topic is not None:
            topic = bag.topic(args.odom_topic)
            if topic.msgtype != ODOMETRY:
                raise SourceError(
                    f'{query.path}: {topic.name} is a {topic.msgtype}; --odom-topic needs a '
                    f'{ODOMETRY}'
                )
            return read_bag_poses(bag, topic).trajectory, topic.name
        found = [topic for topic in bag.topics.values() if topic.msgtype == ODOMETRY]
        found = [topic for topic in found if topic.count]
        if len(found) > 1:
            names = ', '.join(topic.name for topic in found)
            _say(f'odometry not used: --odom-topic chooses one of {names}')
        if len(found) != 1:
            return None, ''
        try:
            return read_bag_poses(bag, found[0]).trajectory, found[0].name
        except SourceError as error:
            _say(f'odometry not used: {error}')  # nobody asked for it
            return None, ''


def _say(text: str) -> None:
    print(text, file=sys.stderr)
