# SPDX-License-Identifier: Apache-2.0
"""Messages to what the pose graph takes, and its poses to messages; no rclpy."""

from __future__ import annotations

import copy

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Path
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure

from vpr_ros.conversions import (
    pose_from_msg,
    pose_msg,
    stamp_msg_from_ns,
    stamp_ns_from_msg,
    transform_msg,
)
from vpr_ros.node_common.mounting import Mountings
from vpr_ros.pose_graph.closure import Closure, Decision, Kind
from vpr_ros.pose_graph.transforms import quaternion_xyzw, transform
from vpr_ros.poses import Trajectory

_STATUS = {
    'candidate': LoopClosure.CANDIDATE,
    'consistent': LoopClosure.CONSISTENT,
    'verified': LoopClosure.VERIFIED,
}


def refusal(msg: LoopClosure, min_status: str) -> str:
    """Say why a closure is not for the graph at all, '' if it is; counted, not logged."""
    if msg.status == LoopClosure.REJECTED:
        return 'rejected by the localizer'
    if not msg.matches:
        return 'without a match'
    if msg.status < _STATUS[min_status]:
        return f'below {min_status}'
    return ''


def closure_from_msg(msg: LoopClosure, mountings: Mountings) -> Closure:
    """Turn a closure that `refusal` lets through into the core's.

    Raises:
        UnknownCameraError: Nobody said where one of its cameras sits.
        ValueError: Its relative pose is none.
    """
    match = msg.matches[0]
    stamps = stamp_ns_from_msg(msg.header.stamp), stamp_ns_from_msg(match.stamp)
    mounted = mountings.of(match.camera), mountings.of(msg.camera)
    if not msg.has_relative_pose:
        return Closure(*stamps, Kind.PLACE, np.eye(4), np.eye(6), *mounted)
    position, orientation = pose_from_msg(msg.match_from_query.pose)
    return Closure(
        *stamps,
        Kind.METRIC if msg.metric else Kind.DIRECTION,
        transform(position, orientation),
        np.array(msg.match_from_query.covariance).reshape(6, 6),
        *mounted,
    )


def rejected(msg: LoopClosure, decision: Decision) -> LoopClosure:
    """Return the closure as it came, with the status and the reason of the graph."""
    answer = copy.deepcopy(msg)
    answer.status = LoopClosure.REJECTED
    answer.reason = decision.reason
    return answer


def path(trajectory: Trajectory, frame_id: str) -> Path:
    """Make ~/path: every pose with its own stamp, the header with that of the last."""
    poses = [
        PoseStamped(
            header=Header(stamp=stamp_msg_from_ns(stamp_ns), frame_id=frame_id),
            pose=pose_msg(position, orientation),
        )
        for stamp_ns, position, orientation in zip(
            trajectory.stamps_ns,
            trajectory.positions,
            trajectory.orientations_xyzw,
            strict=True,
        )
    ]
    stamp = poses[-1].header.stamp if poses else Time()
    return Path(header=Header(stamp=stamp, frame_id=frame_id), poses=poses)


def transform_stamped(
    target_from_source: np.ndarray, stamp: Time, target: str, source: str
) -> TransformStamped:
    """Make the message that tf calls `target` (parent) to `source` (child)."""
    return TransformStamped(
        header=Header(stamp=stamp, frame_id=target),
        child_frame_id=source,
        transform=transform_msg(target_from_source[:3, 3], quaternion_xyzw(target_from_source)),
    )
