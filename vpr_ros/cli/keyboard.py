# SPDX-License-Identifier: Apache-2.0
"""Keys of a terminal, without Enter; nothing where there is no terminal to read from."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

_POLL_S = 0.1


def has_keys() -> bool:
    """Whether stdin is a terminal, and this process in its foreground.

    A background process that changes its terminal is stopped by the shell.
    """
    if not sys.stdin.isatty():
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # a terminal, but not that of this session
        return False


@contextmanager
def keys(actions: Mapping[str, Callable[[], None]]) -> Iterator[None]:
    """Call an action whenever its key is pressed, in a thread, until the block ends.

    Ctrl-C stays what it is.

    Args:
        actions: One character to what it does.
    """
    if not has_keys():
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    ended = threading.Event()

    def listen() -> None:
        while not ended.is_set():
            if select.select([terminal], [], [], _POLL_S)[0]:
                try:
                    pressed = os.read(terminal, 64).decode(errors='replace')
                except OSError:
                    pressed = ''
                if not pressed:  # the terminal is gone
                    return
                for key in pressed:
                    actions.get(key, lambda: None)()

    thread = threading.Thread(target=listen, name='keyboard', daemon=True)
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)  # keeps what was typed already
        thread.start()
        yield
    finally:
        try:  # first: a second Ctrl-C may end the wait for the thread
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        finally:
            ended.set()
            if thread.is_alive():
                thread.join()
