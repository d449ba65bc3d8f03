# SPDX-License-Identifier: Apache-2.0
"""The subscription to the pictures of one camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.node.parameters import NodeConfig
from vpr_ros.node.silence import explain
from vpr_ros.node.topic_input import TopicInput

_MESSAGE_TYPES = {'raw': Image, 'compressed': CompressedImage}
# A picture takes many packets. With a depth of 1 the first packet of the next picture pushes out
# the one that is still coming in: of 100 pictures a second (640x480, Fast DDS) under a fifth came.
_DEPTH = 2


class ImageInput(TopicInput):
    """Keeps no more pictures than it takes to receive the newest, and passes them on."""

    def __init__(
        self, node: Node, config: NodeConfig, base: str, on_picture: Callable[[Any], None]
    ) -> None:
        """Prepare; `open` subscribes.

        Args:
            node: The node that subscribes.
            config: Transport and reliability.
            base: Name of the topic, without the transport: `image`, or `front/image`.
            on_picture: Called with each message, in the executor's thread.
        """
        self._base = base
        self._transport = config.image_transport
        # As image_transport does: the base name is remapped, the transport's name appended.
        topic = node.resolve_topic_name(base)
        super().__init__(
            node,
            _MESSAGE_TYPES[self._transport],
            topic if self._transport == 'raw' else f'{topic}/{self._transport}',
            on_picture,
            depth=_DEPTH,
            reliability=config.image_reliability,
        )

    def explain_silence(self) -> str:
        """Say why no picture arrives, and what to do."""
        return explain(
            self.topic,
            self._base,
            self._transport,
            reliable=self.reliable,
            publishers=self.publishers(),
            topics=self.topics(),
        )
