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
            rclpy.spin(node)
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
