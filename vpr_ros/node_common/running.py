# SPDX-License-Identifier: Apache-2.0
"""Run one node as a program."""

from __future__ import annotations

import signal
import threading
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
    raise_no_more = _interrupt_until_called()
    rclpy.init(args=args)
    raise_no_more()
    node = None
    try:
        executor = rclpy.get_global_executor()
        node = make()
        if begin(node):
            executor.add_node(node)
            while rclpy.ok():
                executor.spin_once(timeout_sec=_LOOK_S)
        elif rclpy.ok():
            return 1
    except ExternalShutdownException:
        pass
    except VprError as error:
        get_logger(name).fatal(str(error))
        return 1
    except Exception:
        if rclpy.ok():
            raise
        # A signal invalidates rclpy's context at once, in the middle of whatever it does.
    finally:
        if node is not None:
            node.close()
        # The end of Python takes handlers away: a Ctrl-C that comes then would kill.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        rclpy.try_shutdown()
    return 0


def _interrupt_until_called() -> Callable[[], None]:
    """Make Ctrl-C raise KeyboardInterrupt only until what is returned is called.

    From then on it ends rclpy's context as SIGTERM does, and no more. An exception that can come
    anywhere, while a lock is taken or in `close`, leaves a thread behind for which the process
    waits for ever; and there are often two, for `ros2 launch` passes on what the terminal sends
    to all.
    """
    done = threading.Event()

    def on_sigint(*_: object) -> None:
        if not done.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_sigint)  # before rclpy's handler, which calls it
    return done.set
