# SPDX-License-Identifier: Apache-2.0
"""Run one node as a program."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger

from vpr_ros.errors import VprError

# A signal makes rclpy wake the executor and only then end the context: one that looks in between
# and waits again is not told. Without timers it would wait for ever.
_LOOK_S = 0.5


def run_node(
    name: str,
    make: Callable[[], Any],
    args: list[str] | None = None,
    *,
    begin: Callable[[Any], bool] = lambda node: True,
) -> int:
    """Run a node until it is told to stop.

    Args:
        name: Whose name stands before the error if it cannot be made.
        make: Makes the node, which has `close()`.
        args: The command line; None: that of the process.
        begin: Is given the node before it spins; False: it cannot, and has said why.

    Returns:
        The exit code of the process: 1 after an error that the user can mend.
    """
    rclpy.init(args=args)
    node = None
    try:
        node = make()
        if begin(node):
            _spin(node)
        elif rclpy.ok():
            return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except VprError as error:
        get_logger(name).fatal(str(error))
        return 1
    except Exception:
        if rclpy.ok():
            raise
        # A signal invalidates rclpy's context at once, in the middle of whatever it does.
    finally:
        # A terminal sends Ctrl-C to all, and `ros2 launch` passes it on: the second comes here.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


def _spin(node: Any) -> None:
    executor = rclpy.get_global_executor()
    executor.add_node(node)
    while rclpy.ok():
        executor.spin_once(timeout_sec=_LOOK_S)
