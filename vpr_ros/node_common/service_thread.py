# SPDX-License-Identifier: Apache-2.0
"""Slow services of a node run in one thread of their own, one after another."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future


class ServiceThread:
    """Lets coroutines wait for slow work while the node goes on.

    Attributes:
        group: For the services: a call that waits must not hold up the next one.
    """

    def __init__(self, node: Node) -> None:
        """Serve the services of `node`."""
        self._node = node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='services')
        # A result from another thread must wake the executor, which alone resumes coroutines.
        self._wake = node.create_guard_condition(lambda: None)
        self.group = ReentrantCallbackGroup()

    def close(self) -> None:
        """Finish what runs and drop what waits."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def run(self, job: Callable[[Any, Any], None], request: Any, response: Any) -> Any:
        """Run `job(request, response)` in the thread and wait for it without blocking.

        Args:
            job: Fills in the response; what it raises is logged.
            request: Of a service.
            response: Of a service that answers with a `message`.

        Returns:
            The response.
        """
        done: Future = Future()

        def run() -> None:
            try:
                job(request, response)
            except Exception:  # the edge of a thread: the caller gets an answer, the log the rest
                self._node.get_logger().error(f'service failed:\n{traceback.format_exc()}')
                response.message = 'unexpected error: the log of the node has the details'
            done.set_result(None)
            self._wake.trigger()

        self._thread.submit(run)
        await done
        return response
