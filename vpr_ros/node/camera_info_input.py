# SPDX-License-Identifier: Apache-2.0
"""The subscription to one camera's intrinsics."""

from __future__ import annotations

import time

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from vpr_ros.camera_info import CalibrationError, intrinsics_from_msg, is_of_rectified
from vpr_ros.node.parameters import NodeConfig
from vpr_ros.node.sensor_state import CameraInfoView
from vpr_ros.node.silence import explain_other
from vpr_ros.node.topic_input import TopicInput
from vpr_ros.verification.camera import Intrinsics

_TYPE = 'sensor_msgs/msg/CameraInfo'


class CameraInfoInput(TopicInput):
    """Keeps the newest camera_info."""

    def __init__(
        self, node: Node, config: NodeConfig, camera: str, base: str, *, pictures: str
    ) -> None:
        """Prepare; `open` subscribes.

        Args:
            node: The node that subscribes.
            config: After how many seconds of silence the node says so, and whether the pictures
                are rectified.
            camera: Name of the camera.
            base: Name of the topic: `camera_info`, or `front/camera_info`.
            pictures: Full name of the topic of the pictures.
        """
        super().__init__(
            node,
            CameraInfo,
            node.resolve_topic_name(base),
            self._on_camera_info,
            depth=1,
            may_be_latched=True,
        )
        self._camera = camera
        self._base = base
        wanted = config.camera_info_rectified
        self._is_rectified = is_of_rectified(pictures) if wanted == 'auto' else wanted == 'true'
        self._timeout_s = config.input_timeout_s
        self._since_s = time.monotonic()
        self._msg: CameraInfo | None = None
        self._received = 0
        self._refusal = ''

    def open(self) -> None:
        """Subscribe."""
        self._since_s = time.monotonic()
        super().open()

    def intrinsics(self, width: int, height: int) -> Intrinsics | None:
        """Return those of pictures of a size, from any thread.

        None, and said in the diagnostics, if there are none.
        """
        msg = self._msg
        if msg is None:
            return None
        try:
            found = intrinsics_from_msg(msg, width, height, is_rectified=self._is_rectified)
        except CalibrationError as error:
            self._refusal = str(error)
            return None
        self._refusal = ''
        return found

    def view(self) -> CameraInfoView:
        """What is known, for the operator."""
        msg, publishers = self._msg, self.publishers()
        is_due = msg is None and time.monotonic() - self._since_s >= self._timeout_s
        return CameraInfoView(
            camera=self._camera,
            topic=self.topic,
            publishers=len(publishers),
            received=self._received,
            refusal=self._refusal,
            size='' if msg is None else f'{msg.width}x{msg.height}',
            absence=(
                explain_other(
                    self.topic, self._base, _TYPE, publishers=publishers, topics=self.topics()
                )
                if is_due
                else ''
            ),
        )

    def _on_camera_info(self, msg: CameraInfo) -> None:
        self._received += 1
        self._msg = msg
