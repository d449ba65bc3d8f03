# SPDX-License-Identifier: Apache-2.0
"""Options that say where pictures were taken, and the poses that they choose."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.cli.arguments import not_negative

if TYPE_CHECKING:
    import numpy as np

    from vpr_ros.bag_poses import BagPoses
    from vpr_ros.pose_lookup import PoseLookup
    from vpr_ros.sources import AnySource

POSE_TYPES = 'Odometry, PoseStamped, PoseWithCovarianceStamped or NavSatFix'


def add_timing_options(group: argparse._ActionsContainer) -> None:
    """Add what says how poses and pictures are matched in time."""
    group.add_argument(
        '--max-pose-gap',
        type=not_negative,
        default=1.5,
        metavar='SECONDS',
        help='longest time between two poses that is interpolated (default 1.5); '
        'pictures in longer gaps have no pose',
    )
    group.add_argument(
        '--time-offset',
        type=float,
        default=0.0,
        metavar='SECONDS',
        help='how far the clock of the poses is ahead of that of the pictures (default 0)',
    )


def poses_from_file(
    path: Path, pose_format: str | None, source: AnySource, args: argparse.Namespace
) -> PoseLookup:
    """Match a pose file with the pictures of a source.

    Raises:
        SourceError: The file cannot be read, or does not fit the pictures.
    """
    from vpr_ros.pose_files import read_poses
    from vpr_ros.pose_lookup import lookup_in_table

    return lookup_in_table(
        read_poses(path, pose_format),
        source,
        max_gap_s=args.max_pose_gap,
        time_offset_s=args.time_offset,
    )


def poses_from_bag(
    topic: str | None,
    source: AnySource,
    args: argparse.Namespace,
    *,
    origin: np.ndarray | None = None,
) -> tuple[PoseLookup, BagPoses] | None:
    """Read the poses of a topic; None if no topic is named and the bag has none.

    Args:
        topic: Its name; None: the only one there is.
        source: The pictures; they must be of a bag.
        args: With the options of `add_timing_options`.
        origin: Zero of a GNSS map, as in `read_bag_poses`.

    Raises:
        SourceError: No bag, no such topic, several and none was named, or nothing usable on it.
    """
    from vpr_ros.errors import SourceError
    from vpr_ros.pose_lookup import PosesByTime
    from vpr_ros.sources import BagSource

    if not isinstance(source, BagSource):
        raise SourceError(f'{source.path} is no rosbag2, so it has no topic {topic}')
    found = source.poses(topic, origin=origin)
    if found is None:
        return None
    lookup = PosesByTime(
        found.trajectory, max_gap_s=args.max_pose_gap, time_offset_s=args.time_offset
    )
    return lookup, found
