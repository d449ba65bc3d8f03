# SPDX-License-Identifier: Apache-2.0
"""Write a rosbag2 from arrays, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from vpr_ros.bag_messages import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    NAV_SAT_FIX,
    ODOMETRY,
    POSE_STAMPED,
    POSE_WITH_COVARIANCE_STAMPED,
    TYPESTORE,
    header,
    message,
    pose,
    pose_with_covariance,
)
from vpr_ros.errors import SourceError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_BAG_VERSION: Literal[8] = 8  # the newest that every supported distribution reads, Humble included


class BagWriter:
    """Writes a rosbag2 from arrays; use it as a context manager.

    Leaving the block by an exception leaves an unfinished folder without `metadata.yaml`.
    """

    def __init__(self, path: str | Path, storage: str = 'mcap') -> None:
        """Prepare a new bag.

        Args:
            path: Folder of the bag; it must not exist yet.
            storage: `mcap` or `sqlite3`.

        Raises:
            ValueError: Another storage.
            SourceError: `path` exists.
        """
        if storage not in STORAGES:
            raise ValueError(f'storage must be one of {sorted(STORAGES)}, not {storage!r}')
        try:
            self._writer = Writer(path, version=_BAG_VERSION, storage_plugin=STORAGES[storage])
        except WriterError as error:
            raise SourceError(f'cannot write a bag at {path}: it exists already') from error
        self._connections: dict[tuple[str, str], Connection] = {}

    def __enter__(self) -> BagWriter:
        """Create the folder."""
        self._writer.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write the index and close the file."""
        self._writer.__exit__(exc_type, exc_value, traceback)

    def add_image(
        self,
        topic: str,
        pixels: np.ndarray,
        stamp_ns: int,
        frame_id: str,
        encoding: str = 'rgb8',
    ) -> None:
        """Append a sensor_msgs/Image.

        Args:
            topic: Name of the topic.
            pixels: (H, W) or (H, W, C), uint8 or uint16, already in `encoding`; stored as it is.
            stamp_ns: Stamp of the header and of the record, nanoseconds.
            frame_id: Frame of the camera.
            encoding: Encoding as in sensor_msgs, such as `rgb8`, `bgr8` or `mono8`.
        """
        rows = np.ascontiguousarray(pixels)
        data = rows.reshape(-1).view(np.uint8)
        self.add_message(
            topic,
            IMAGE,
            stamp_ns,
            header=header(stamp_ns, frame_id),
            height=rows.shape[0],
            width=rows.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=data.size // rows.shape[0],
            data=data,
        )

    def add_compressed(
        self,
        topic: str,
        compressed: bytes,
        stamp_ns: int,
        frame_id: str,
        image_format: str = 'rgb8; jpeg compressed bgr8',
    ) -> None:
        """Append a sensor_msgs/CompressedImage.

        Args:
            topic: Name of the topic.
            compressed: The whole JPEG or PNG file.
            stamp_ns: Stamp of the header and of the record, nanoseconds.
            frame_id: Frame of the camera.
            image_format: Field `format`, in the grammar of image_transport.
        """
        self.add_message(
            topic,
            COMPRESSED_IMAGE,
            stamp_ns,
            header=header(stamp_ns, frame_id),
            format=image_format,
            data=np.frombuffer(compressed, np.uint8),
        )

    def add_camera_info(
        self,
        topic: str,
        intrinsics: np.ndarray,
        size: tuple[int, int],
        stamp_ns: int,
        frame_id: str,
        distortion: Sequence[float] = (0.0,) * 5,
    ) -> None:
        """Append a sensor_msgs/CameraInfo of one camera.

        Args:
            topic: Name of the topic.
            intrinsics: (3, 3) camera matrix, pixels.
            size: Height and width of the pictures, pixels.
            stamp_ns: Stamp of the header and of the record, nanoseconds.
            frame_id: Frame of the camera.
            distortion: Coefficients of the `plumb_bob` model: k1, k2, p1, p2, k3.
        """
        k = np.asarray(intrinsics, np.float64).reshape(3, 3)
        roi = message(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        self.add_message(
            topic,
            CAMERA_INFO,
            stamp_ns,
            header=header(stamp_ns, frame_id),
            height=size[0],
            width=size[1],
            distortion_model='plumb_bob',
            d=np.asarray(distortion, np.float64),
            k=k.reshape(-1),
            r=np.eye(3).reshape(-1),
            p=np.hstack([k, np.zeros((3, 1))]).reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )

    def add_odometry(
        self,
        topic: str,
        position: np.ndarray,
        orientation_xyzw: np.ndarray,
        stamp_ns: int,
        frame_id: str = 'odom',
        child_frame_id: str = 'base_link',
    ) -> None:
        """Append a nav_msgs/Odometry; covariances and twist are zero, which means unknown.

        Args:
            topic: Name of the topic.
            position: (3,) metres.
            orientation_xyzw: (4,) unit quaternion.
            stamp_ns: Stamp of the header and of the record, nanoseconds.
            frame_id: Frame of the pose.
            child_frame_id: Frame that the pose places.
        """
        zero = message('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
        twist = message('geometry_msgs/msg/Twist', linear=zero, angular=zero)
        self.add_message(
            topic,
            ODOMETRY,
            stamp_ns,
            header=header(stamp_ns, frame_id),
            child_frame_id=child_frame_id,
            pose=pose_with_covariance(position, orientation_xyzw),
            twist=message(
                'geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=np.zeros(36)
            ),
        )

    def add_pose_stamped(
        self,
        topic: str,
        position: np.ndarray,
        orientation_xyzw: np.ndarray,
        stamp_ns: int,
        frame_id: str = 'map',
    ) -> None:
        """Append a geometry_msgs/PoseStamped; arguments as `add_odometry`."""
        self.add_message(
            topic,
            POSE_STAMPED,
            stamp_ns,
            header=header(stamp_ns, frame_id),
            pose=pose(position, orientation_xyzw),
        )

    def add_pose_with_covariance(
        self,
        topic: str,
        position: np.ndarray,
        orientation_xyzw: np.ndarray,
        stamp_ns: int,
        frame_id: str = 'map',
    ) -> None:
        """Append a geometry_msgs/PoseWithCovarianceStamped; arguments as `add_odometry`."""
        self.add_message(
            topic,
            POSE_WITH_COVARIANCE_STAMPED,
            stamp_ns,
            header=header(stamp_ns, frame_id),
            pose=pose_with_covariance(position, orientation_xyzw),
        )

    def add_navsatfix(
        self,
        topic: str,
        geodetic: Sequence[float],
        stamp_ns: int,
        frame_id: str = 'gps',
        status: int = 0,
    ) -> None:
        """Append a sensor_msgs/NavSatFix.

        Args:
            topic: Name of the topic.
            geodetic: Latitude and longitude in degrees (WGS 84), altitude in metres.
            stamp_ns: Stamp of the header and of the record, nanoseconds.
            frame_id: Frame of the antenna.
            status: As in sensor_msgs/NavSatStatus: -1 no fix, 0 fix, 1 SBAS, 2 GBAS.
        """
        latitude, longitude, altitude = geodetic
        self.add_message(
            topic,
            NAV_SAT_FIX,
            stamp_ns,
            header=header(stamp_ns, frame_id),
            status=message('sensor_msgs/msg/NavSatStatus', status=status, service=1),
            latitude=latitude,
            longitude=longitude,
            altitude=altitude,
            position_covariance=np.zeros(9),
            position_covariance_type=0,
        )

    def add_message(self, topic: str, msgtype: str, stamp_ns: int, **fields: Any) -> None:
        """Append a message of any type of the ROS 2 common interfaces.

        Args:
            topic: Name of the topic; offered with its type on first use.
            msgtype: Full name, such as `std_msgs/msg/String`.
            stamp_ns: Time of the record, nanoseconds.
            **fields: Every field of the message.
        """
        key = (topic, msgtype)
        if key not in self._connections:
            self._connections[key] = self._writer.add_connection(
                topic, msgtype, typestore=TYPESTORE
            )
        data = TYPESTORE.serialize_cdr(message(msgtype, **fields), msgtype)
        self._writer.write(self._connections[key], stamp_ns, data)
