# SPDX-License-Identifier: Apache-2.0
"""How far a command has come, on stderr."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line a stage, redrawn on a terminal and written once elsewhere."""

    def __init__(self) -> None:
        self._stage = ''
        self._begin = time.monotonic()
        self._drawn = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that so many of so many are done; a total of 0 is not known."""
        if stage != self._stage:
            self.end()
            self._stage, self._begin = stage, time.monotonic()
            if not sys.stderr.isatty():
                print(f'{stage} …', file=sys.stderr)
        if sys.stderr.isatty() and (done >= total or time.monotonic() - self._drawn > 0.1):
            self._drawn = time.monotonic()
            text = f'{stage} … {done}/{total}' if total else f'{stage} …'
            print(f'\r{text}\033[K', end='', file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Write on the current line of a terminal, until there is progress again; or a line."""
        if sys.stderr.isatty() and self._stage:
            print(f'\r{self._stage} … {text}\033[K', end='', file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Finish the current line."""
        if self._stage and sys.stderr.isatty():
            print(
                f'\r{self._stage}: {time.monotonic() - self._begin:.1f} s\033[K', file=sys.stderr
            )
        self._stage = ''
