# SPDX-License-Identifier: Apache-2.0
"""The message types that are read from and written to bags, as `rosbags` represents them."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
PICTURE_TYPES = (IMAGE, COMPRESSED_IMAGE)
ODOMETRY = 'nav_msgs/msg/Odometry'
POSE_STAMPED = 'geometry_msgs/msg/PoseStamped'
POSE_WITH_COVARIANCE_STAMPED = 'geometry_msgs/msg/PoseWithCovarianceStamped'
NAV_SAT_FIX = 'sensor_msgs/msg/NavSatFix'
POSE_TYPES = (ODOMETRY, POSE_STAMPED, POSE_WITH_COVARIANCE_STAMPED, NAV_SAT_FIX)

# The wire format of these types is the same in every supported distribution.
TYPESTORE = get_typestore(Stores.LATEST)
_NS_PER_S = 1_000_000_000


def message(msgtype: str, **fields: Any) -> Any:
    """Return a message of the ROS 2 common interfaces, as `rosbags` represents it."""
    return TYPESTORE.types[msgtype](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs/Header, as `rosbags` represents it."""
    seconds, nanoseconds = divmod(int(stamp_ns), _NS_PER_S)
    stamp = message('builtin_interfaces/msg/Time', sec=seconds, nanosec=nanoseconds)
    return message('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)


def pose(position: np.ndarray, orientation_xyzw: np.ndarray) -> Any:
    """Return a geometry_msgs/Pose of (3,) metres and a (4,) unit quaternion."""
    point = dict(zip('xyz', map(float, position), strict=True))
    quaternion = dict(zip('xyzw', map(float, orientation_xyzw), strict=True))
    return message(
        'geometry_msgs/msg/Pose',
        position=message('geometry_msgs/msg/Point', **point),
        orientation=message('geometry_msgs/msg/Quaternion', **quaternion),
    )


def pose_with_covariance(position: np.ndarray, orientation_xyzw: np.ndarray) -> Any:
    """Return a geometry_msgs/PoseWithCovariance whose covariance is zero: unknown."""
    return message(
        'geometry_msgs/msg/PoseWithCovariance',
        pose=pose(position, orientation_xyzw),
        covariance=np.zeros(36),
    )
