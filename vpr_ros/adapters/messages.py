# SPDX-License-Identifier: Apache-2.0
"""Messages to what the adapters' cores take, and back; no rclpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovariance, PoseWithCovarianceStamped
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure

from vpr_ros.adapters.initial_pose import MapPose
from vpr_ros.conversions import pose_from_msg, pose_msg, stamp_msg_from_ns, stamp_ns_from_msg
from vpr_ros.pose_graph.export import pose_text, seconds_text
from vpr_ros.pose_graph.transforms import quaternion_xyzw, transform

_STATUS = {
    LoopClosure.CANDIDATE: 'candidate',
    LoopClosure.CONSISTENT: 'consistent',
    LoopClosure.VERIFIED: 'verified',
    LoopClosure.REJECTED: 'rejected',
}
_UPPER = np.triu_indices(6)


def why_not_metric(msg: LoopClosure) -> str:
    """Say why a closure is not verified with a metric pose, '' if it is; counted, not logged."""
    if msg.status != LoopClosure.VERIFIED:
        return f'not verified: {_STATUS.get(msg.status, msg.status)}'
    if not (msg.matches and msg.has_relative_pose):
        return 'without a relative pose'
    return '' if msg.metric else 'not metric: a direction without a length'


def map_pose(msg: PoseWithCovarianceStamped) -> MapPose:
    """Take over ~/pose.

    Raises:
        ValueError: It is no pose.
    """
    return MapPose(
        stamp_ns_from_msg(msg.header.stamp),
        msg.header.frame_id,
        transform(*pose_from_msg(msg.pose.pose)),
        np.array(msg.pose.covariance, float).reshape(6, 6),
    )


def initial_pose_msg(pose: MapPose) -> PoseWithCovarianceStamped:
    """Make initialpose."""
    matrix = pose.map_from_body
    return PoseWithCovarianceStamped(
        header=Header(stamp=stamp_msg_from_ns(pose.stamp_ns), frame_id=pose.frame_id),
        pose=PoseWithCovariance(
            pose=pose_msg(matrix[:3, 3], quaternion_xyzw(matrix)),
            covariance=pose.covariance.ravel(),
        ),
    )


def closure_row(msg: LoopClosure) -> list[str]:
    """Return a closure as `closure_file.COLUMNS` has it; '' for what it does not say."""
    match = msg.matches[0] if msg.matches else None
    return [
        seconds_text(stamp_ns_from_msg(msg.header.stamp)),
        '' if match is None else seconds_text(stamp_ns_from_msg(match.stamp)),
        _STATUS.get(msg.status, str(msg.status)),
        *(msg.reason, msg.camera, msg.header.frame_id, msg.map_frame_id),
        str(msg.query_id),
        *(_match_cells(match) if match is not None else [''] * 5),
        *(str(msg.consistent_count), str(msg.num_correspondences), str(msg.num_inliers)),
        *_pose_cells(msg),
    ]


def _match_cells(match: Any) -> list[str]:
    numbers = (f'{match.similarity:.6g}', f'{match.probability:.6g}')
    return [str(match.place_id), match.camera, match.image, *numbers]


def _pose_cells(msg: LoopClosure) -> list[str]:
    if not msg.has_relative_pose:
        return ['none', *[''] * 28]
    try:
        pose = transform(*pose_from_msg(msg.match_from_query.pose))
    except ValueError:
        pose = np.full((4, 4), np.nan)
    covariance = np.array(msg.match_from_query.covariance, float).reshape(6, 6)
    return [
        'metric' if msg.metric else 'direction',
        *pose_text(pose).split(),
        *(f'{value:.9g}' for value in covariance[_UPPER]),
    ]
