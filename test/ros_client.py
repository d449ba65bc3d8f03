# SPDX-License-Identifier: Apache-2.0
"""A real rclpy node in the test's process that talks to the nodes under test over DDS."""

from __future__ import annotations

import time
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


class RosClient:
    """A node with its own context and executor, so that tests may choose the domain."""

    def __init__(self, domain: int, name: str = 'test_client') -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node(name, context=self._context)
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def listen(
        self, kind: type, topic: str, *, latched: bool = False, reliable: bool = True
    ) -> list:
        """Subscribe; the list grows with what arrives."""
        messages: list = []
        qos = QoSProfile(
            depth=100,
            reliability=(
                ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            ),
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            ),
        )
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def wait_until(
        self, condition: Callable[[], object], what: str, *, timeout_s: float = 30.0
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f'waited {timeout_s} s in vain for {what}')
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, kind: type, name: str, request: object, *, timeout_s: float = 30.0):
        """Call a service and return the response."""
        client = self.node.create_client(kind, name)
        self.wait_until(client.service_is_ready, f'the service {name}')
        self.spin(0.2)  # the node must have found this client too, or its answer is lost
        future = client.call_async(request)
        self.wait_until(future.done, f'the answer of {name}', timeout_s=timeout_s)
        self.node.destroy_client(client)
        return future.result()
