# SPDX-License-Identifier: Apache-2.0
"""Messages of the small runs, and where a node under test lives."""

from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from nav_msgs.msg import Odometry
from pose_graph.drives import pose_of
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure, PlaceMatch

from vpr_ros.conversions import stamp_msg_from_ns
from vpr_ros.pose_graph.closure import Kind
from vpr_ros.pose_graph.transforms import quaternion_xyzw


def pose_msg(matrix):
    x, y, z = matrix[:3, 3].tolist()
    qx, qy, qz, qw = quaternion_xyzw(matrix).tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def odometry_msg(run, i):
    header = Header(stamp=stamp_msg_from_ns(int(run.stamps_ns[i])), frame_id='odom')
    msg = Odometry(header=header, child_frame_id='base_link')
    msg.pose.pose = pose_msg(pose_of(run, i))
    return msg


def closure_msg(
    made, *, status=LoopClosure.VERIFIED, relative=True, cameras=('', ''), frame='odom'
):
    """Return a closure's message; `cameras`: of match and query; `frame`: of its map."""
    header = Header(stamp=stamp_msg_from_ns(made.query_stamp_ns), frame_id='camera_optical')
    return LoopClosure(
        header=header,
        camera=cameras[1],
        map_frame_id=frame,
        matches=[PlaceMatch(stamp=stamp_msg_from_ns(made.match_stamp_ns), camera=cameras[0])],
        status=status,
        has_relative_pose=relative,
        metric=made.kind is Kind.METRIC,
        match_from_query=PoseWithCovariance(
            pose=pose_msg(made.match_from_query), covariance=made.covariance.ravel()
        ),
    )
