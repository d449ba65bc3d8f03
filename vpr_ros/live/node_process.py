# SPDX-License-Identifier: Apache-2.0
"""The real node: one started as a process of its own and ended on every way out, or one found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol

from vpr_ros.errors import VprError

_STOP_S = 10.0  # for a clean end after SIGINT
_TAIL_LINES = 15


class NodeError(VprError):
    """The node did not start, died, or fell silent."""


class LiveNode(Protocol):
    """A node that should be running."""

    def check(self) -> None:
        """See that it is alive.

        Raises:
            NodeError: It is not.
        """

    def log_tail(self) -> str:
        """What it said last, or where to look, for an error message."""


class NodeProcess:
    """`python -m vpr_ros.node` with parameters; use it as a context manager."""

    def __init__(
        self,
        parameters: Mapping[str, object],
        *,
        log: Path,
        environment: Mapping[str, str],
        remap: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the command line.

        Args:
            parameters: Names and values of ROS parameters.
            log: File for all that the node prints.
            environment: Variables that differ from this process's.
            remap: The node's name of a topic to the name in its place.
        """
        self._command = [sys.executable, '-m', 'vpr_ros.node', '--ros-args']
        for name, value in parameters.items():
            self._command += ['-p', f'{name}:={value}']
        for name, topic in (remap or {}).items():
            self._command += ['-r', f'{name}:={topic}']
        self._log = log
        self._environment = {**os.environ, **environment, 'PYTHONUNBUFFERED': '1'}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> NodeProcess:
        """Start the node; it is not ready yet.

        Until the block ends, SIGTERM and SIGHUP leave it as an exception does: their own default
        would leave the node behind.
        """
        self._signals = leaving_on_signals()
        self._signals.__enter__()
        with self._log.open('wb') as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches it through `__exit__`, once
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the node: SIGINT, and SIGKILL for one that does not obey."""
        try:
            self._stop()
        finally:
            self._signals.__exit__(None, None, None)

    def _stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # a second Ctrl-C ends the wait, not the care
            if process.poll() is None:
                process.kill()
                process.wait()

    def check(self) -> None:
        """See that the node is alive.

        Raises:
            NodeError: It ended; the text holds the end of its log.
        """
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise NodeError(f'the node ended by itself (status {code}); {self.log_tail()}')

    def log_tail(self) -> str:
        """The last lines of the log, for an error message."""
        lines = self._log.read_text(encoding='utf-8', errors='replace').splitlines()
        return f'its log {self._log} ends:\n' + '\n'.join(lines[-_TAIL_LINES:])


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a closed terminal, leave the block as an exception does.

    Only the main thread can do so. What ignores a signal, as under `nohup`, still does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, _exit_on_signal)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    """Leave through the context managers, with the status that a shell gives to the signal."""
    raise SystemExit(128 + number)
