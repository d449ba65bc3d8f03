# SPDX-License-Identifier: Apache-2.0
"""A subscription that asks for the QoS its publishers offer, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from vpr_ros.node.silence import Publisher

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


@dataclass(frozen=True)
class _Offer:
    """What is asked for.

    Attributes:
        reliable: Reliable delivery; else best effort.
        latched: Also what was published before (transient local).
    """

    reliable: bool
    latched: bool


class TopicInput:
    """Subscribes to one topic, anew when what is published there changes.

    Attributes:
        topic: Full name of the topic, remappings applied.
        lost: Messages that the middleware reports lost on the way.
        mismatches: Publishers whose QoS does not fit, as the middleware reports them.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        on_message: Callable[[Any], None],
        *,
        depth: int,
        reliability: str = 'auto',
        may_be_latched: bool = False,
    ) -> None:
        """Prepare; `open` subscribes.

        Args:
            node: The node that subscribes.
            kind: Type of the messages.
            topic: Full name of the topic.
            on_message: Called with each message, in the executor's thread.
            depth: Messages that are kept until the executor takes them.
            reliability: `auto` is reliable where every publisher offers it; or `best_effort` or
                `reliable`.
            may_be_latched: Ask for what was published before, where every publisher keeps it.
        """
        self.topic = topic
        self.lost = 0
        self.mismatches = 0
        self._node = node
        self._kind = kind
        self._on_message = on_message
        self._depth = depth
        self._reliability = reliability
        self._may_be_latched = may_be_latched
        self._asked = _Offer(reliable=reliability != 'best_effort', latched=False)
        self._subscription: Subscription | None = None

    @property
    def reliable(self) -> bool:
        """Whether it asks for reliable delivery."""
        return self._asked.reliable

    @property
    def qos(self) -> str:
        """`reliable` or `best effort`, as subscribed."""
        return 'reliable' if self._asked.reliable else 'best effort'

    def open(self) -> None:
        """Subscribe."""
        self._asked = self._choose(self.publishers())
        arguments: dict[str, Any] = {
            'msg_type': self._kind,
            'topic': self.topic,
            'callback': self._on_message,
            'qos_profile': QoSProfile(
                depth=self._depth,
                reliability=ReliabilityPolicy.RELIABLE
                if self._asked.reliable
                else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL
                if self._asked.latched
                else DurabilityPolicy.VOLATILE,
            ),
        }
        events = SubscriptionEventCallbacks(
            incompatible_qos=self._on_mismatch, message_lost=self._on_lost
        )
        try:
            self._subscription = self._node.create_subscription(
                **arguments, event_callbacks=events
            )
        except UnsupportedEventTypeError:
            self._node.get_logger().info('this middleware reports no lost messages')
            self._subscription = self._node.create_subscription(**arguments)
        # A remapping of `image/compressed` itself applies on creation.
        self.topic = self._subscription.topic_name

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def follow_publishers(self) -> None:
        """Subscribe anew when what the publishers offer has changed."""
        if self._subscription is None or self._choose(self.publishers()) == self._asked:
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
                latched=p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
            )
            for p in self._node.get_publishers_info_by_topic(self.topic)
        ]

    def topics(self) -> dict[str, list[str]]:
        """Every topic that exists, with its types."""
        return dict(self._node.get_topic_names_and_types())

    def _choose(self, publishers: list[Publisher]) -> _Offer:
        """What to ask for.

        Best effort fits every publisher, but loses messages larger than the socket's buffer (a
        VGA picture on a stock kernel); reliable loses none and does not fit a best effort one.
        """
        if not publishers:
            return self._asked
        reliable = all(p.reliable for p in publishers)
        if self._reliability != 'auto':
            reliable = self._reliability == 'reliable'
        return _Offer(reliable, self._may_be_latched and all(p.latched for p in publishers))

    def _on_mismatch(self, event: Any) -> None:
        self.mismatches = event.total_count

    def _on_lost(self, event: Any) -> None:
        self.lost = event.total_count
