# SPDX-License-Identifier: Apache-2.0
"""Everything the node subscribes to: pictures and intrinsics of each camera, and odometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rclpy.node import Node

from vpr_ros.node.camera_info_input import CameraInfoInput
from vpr_ros.node.image_input import ImageInput
from vpr_ros.node.odometry_input import OdometryInput
from vpr_ros.node.parameters import NodeConfig
from vpr_ros.node.topic_input import TopicInput
from vpr_ros.odometry import OdometryPose
from vpr_ros.verification.camera import Intrinsics


class Inputs:
    """The subscriptions, which open and close together.

    Attributes:
        names: Of the cameras, in the order of their numbers; one '' for a single unnamed one.
        transport: `raw` or `compressed`.
        images: The pictures of each camera.
        camera_infos: The intrinsics of each camera.
        odometry: Of the body that carries them.
    """

    def __init__(
        self, node: Node, config: NodeConfig, on_picture: Callable[[int, Any], None]
    ) -> None:
        """Prepare; `open` subscribes.

        Args:
            node: The node that subscribes.
            config: Names, transport and limits.
            on_picture: Called with the camera's number and the message, in the executor's thread.
        """
        self.names = config.camera_names
        self.transport = config.image_transport
        self._mountings = config.mountings
        prefixes = [f'{name}/' for name in config.cameras] or ['']
        self.images = [
            ImageInput(node, config, f'{prefix}image', partial(on_picture, number))
            for number, prefix in enumerate(prefixes)
        ]
        self.camera_infos = [
            CameraInfoInput(node, config, name, f'{prefix}camera_info', pictures=image.topic)
            for name, prefix, image in zip(self.names, prefixes, self.images, strict=True)
        ]
        self.odometry = OdometryInput(node, config)

    def __iter__(self) -> Iterator[TopicInput]:
        """Yield every subscription."""
        yield from self.images
        yield from self.camera_infos
        yield self.odometry

    def open(self) -> None:
        """Subscribe to everything."""
        for topic_input in self:
            topic_input.open()

    def close(self) -> None:
        """Unsubscribe from everything."""
        for topic_input in self:
            topic_input.close()

    def follow_publishers(self) -> None:
        """Subscribe anew where what the publishers offer has changed."""
        for topic_input in self:
            topic_input.follow_publishers()

    def odometry_at(self, camera: int, stamp_ns: int) -> OdometryPose | None:
        """Place a picture; None, and said in the diagnostics, if that cannot be."""
        return self.odometry.at(stamp_ns, self._mountings[camera])

    def intrinsics(self, camera: int, width: int, height: int) -> Intrinsics | None:
        """Return the intrinsics of a camera's pictures of a size; None likewise."""
        return self.camera_infos[camera].intrinsics(width, height)
