# SPDX-License-Identifier: Apache-2.0
"""The subscription to pictures: transport, QoS, and what is known about its publishers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.node.parameters import NodeConfig
from vpr_ros.node.silence import Publisher, explain

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

_MESSAGE_TYPES = {'raw': Image, 'compressed': CompressedImage}
# A picture takes many packets. With a depth of 1 the first packet of the next picture pushes out
# the one that is still coming in: of 100 pictures a second (640x480, Fast DDS) under a fifth came.
_DEPTH = 2


class ImageInput:
    """Keeps no more pictures than it takes to receive the newest, and passes them on.

    Attributes:
        topic: Full name of the topic, remappings applied.
        lost: Pictures that the middleware reports lost on the way.
        mismatches: Publishers whose QoS does not fit, as the middleware reports them.
    """

    def __init__(self, node: Node, config: NodeConfig, on_picture: Callable[[Any], None]) -> None:
        """Prepare; `open` subscribes.

        Args:
            node: The node that subscribes.
            config: Transport and reliability.
            on_picture: Called with each message, in the executor's thread.
        """
        self._node = node
        self._transport = config.image_transport
        self._wanted = config.image_reliability
        self._on_picture = on_picture
        self._reliable = self._wanted != 'best_effort'
        self._subscription: Subscription | None = None
        # As image_transport does: the base name is remapped, the transport's name appended.
        base = node.resolve_topic_name('image')
        self.topic = base if self._transport == 'raw' else f'{base}/compressed'
        self.lost = 0
        self.mismatches = 0

    @property
    def qos(self) -> str:
        """`reliable` or `best effort`, as subscribed."""
        return 'reliable' if self._reliable else 'best effort'

    def open(self) -> None:
        """Subscribe."""
        self._reliable = self._choose(self.publishers())
        policy = ReliabilityPolicy.RELIABLE if self._reliable else ReliabilityPolicy.BEST_EFFORT
        arguments = {
            'msg_type': _MESSAGE_TYPES[self._transport],
            'topic': self.topic,
            'callback': self._on_picture,
            'qos_profile': QoSProfile(depth=_DEPTH, reliability=policy),
        }
        events = SubscriptionEventCallbacks(
            incompatible_qos=self._on_mismatch, message_lost=self._on_lost
        )
        try:
            self._subscription = self._node.create_subscription(
                **arguments, event_callbacks=events
            )
        except UnsupportedEventTypeError:
            self._node.get_logger().info('this middleware reports no lost pictures')
            self._subscription = self._node.create_subscription(**arguments)
        # A remapping of `image/compressed` itself applies on creation.
        self.topic = self._subscription.topic_name

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def follow_publishers(self) -> None:
        """With reliability `auto`, subscribe anew when what the publishers offer has changed."""
        if self._subscription is None or self._choose(self.publishers()) == self._reliable:
            return
        self.close()
        self.open()
        self._node.get_logger().info(f'{self.topic}: now subscribed {self.qos}, as published')

    def publishers(self) -> list[Publisher]:
        """Who publishes on the topic, with any type and QoS."""
        return [
            Publisher(
                node=f'{p.node_namespace.rstrip("/")}/{p.node_name}',
                type=p.topic_type,
                reliable=p.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
            )
            for p in self._node.get_publishers_info_by_topic(self.topic)
        ]

    def explain_silence(self) -> str:
        """Say why no picture arrives, and what to do."""
        return explain(
            self.topic,
            self._transport,
            reliable=self._reliable,
            publishers=self.publishers(),
            topics=dict(self._node.get_topic_names_and_types()),
        )

    def _choose(self, publishers: list[Publisher]) -> bool:
        """Whether to ask for reliable delivery.

        Best effort fits every publisher, but loses pictures larger than the socket's buffer (a
        VGA picture on a stock kernel); reliable loses none and does not fit a best effort one.
        """
        if self._wanted != 'auto':
            return self._wanted == 'reliable'
        return all(p.reliable for p in publishers) if publishers else self._reliable

    def _on_mismatch(self, event: Any) -> None:
        self.mismatches = event.total_count

    def _on_lost(self, event: Any) -> None:
        self.lost = event.total_count
