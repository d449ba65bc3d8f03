# SPDX-License-Identifier: Apache-2.0
"""What a map build has done so far, on disk: killed at any moment, it goes on from there.

The folder `MAP.partial` beside the map holds `build.json` (what is being built, so that nothing
else is mixed in), one `rows_FIRST.npy` for each batch of descriptors and, if wanted, `keyframes/`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vpr_ros.errors import MapError

SPOOL_VERSION = 1
_RECORD = 'build.json'
_KEYFRAMES = 'keyframes'
_OUR_WORK = re.compile(rf'rows_\d{{9}}\.npy(\.tmp)?|{_KEYFRAMES}|{re.escape(_RECORD)}\.tmp')


def partial_of(map_directory: Path) -> Path:
    """Return the folder of an unfinished map: beside the map itself, not beside a link to it."""
    target = map_directory.resolve()
    return target.with_name(f'{target.name}.partial')


class Spool:
    """Descriptors of an unfinished map; use it as a context manager, which locks the folder.

    Attributes:
        directory: The folder.
        keyframes: Where small pictures go.
    """

    def __init__(
        self, map_directory: Path, build: Mapping[str, Any], *, size: int, resume: bool = True
    ) -> None:
        """Name the spool of a map.

        Args:
            map_directory: The map that is being built.
            build: Everything that decides its content, as JSON values.
            size: D, values of a descriptor.
            resume: Go on with what is there; False: throw it away.
        """
        self.directory = partial_of(map_directory)
        self.keyframes = self.directory / _KEYFRAMES
        self._build = {'spool_version': SPOOL_VERSION, **build}
        self._dtype = np.dtype([('index', '<i8'), ('descriptor', '<f4', (size,))])
        self._resume = resume
        self._batches: list[np.ndarray] = []
        self._count = 0
        self._lock: int | None = None

    def __enter__(self) -> Spool:
        """Lock the folder and read what is there.

        Raises:
            MapError: Another process builds this map, or the folder belongs to another build; the
                message names the difference.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.directory, os.O_RDONLY)
        try:
            self._acquire(self._lock)
            self._match_record()
            self._read_rows()
            self.keyframes.mkdir(exist_ok=True)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unlock the folder, and remove it if it holds no work."""
        if not len(self):
            self.discard()
        self._release()

    def __len__(self) -> int:
        """Return the number of rows on disk."""
        return self._count

    @property
    def indices(self) -> np.ndarray:
        """(N,) int64, index of the picture of each row in its source."""
        return self._rows()['index']

    @property
    def descriptors(self) -> np.ndarray:
        """(N, D) float32."""
        return self._rows()['descriptor']

    def append(self, indices: np.ndarray, descriptors: np.ndarray) -> None:
        """Store a batch; once this returns, no end of the process can lose it.

        Args:
            indices: (B,) index of each picture in its source.
            descriptors: (B, D) float32.
        """
        rows = np.empty(len(indices), self._dtype)
        rows['index'] = indices
        rows['descriptor'] = descriptors
        with _written(self.directory / f'rows_{len(self):09d}.npy') as path, path.open('wb') as f:
            np.save(f, rows)
            f.flush()
            os.fsync(f.fileno())
        self._remember(rows)

    def discard(self) -> None:
        """Remove all work, and the folder if nothing of anyone else's is in it."""
        with suppress(OSError):
            self._empty()
            self.directory.rmdir()

    def _acquire(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MapError(f'another process is building this map in {self.directory}') from error

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _match_record(self) -> None:
        path = self.directory / _RECORD
        if path.exists() and not self._resume:
            self._empty()
        if not path.exists():
            names = sorted(path.name for path in self.directory.iterdir())
            if foreign := [name for name in names if not _OUR_WORK.fullmatch(name)]:
                raise MapError(
                    f'{self.directory} is in the way and no unfinished map (it holds '
                    f'{foreign[0]}); move or remove it'
                )
            self._empty()  # a start or an end that was killed
            with _written(path) as temporary:
                temporary.write_text(json.dumps(self._build, indent=2) + '\n', encoding='utf-8')
            return
        try:
            record = json.loads(path.read_text(encoding='utf-8'))
        except ValueError as error:
            raise MapError(f'{path} is damaged: {error}; start over with --no-resume') from error
        if differences := list(_differences(record, self._build)):
            raise MapError(
                f'{self.directory} holds an unfinished map of another build: '
                f'{"; ".join(differences)}; repeat that command to finish it, or start over with '
                '--no-resume'
            )

    def _empty(self) -> None:
        """Remove the work but not the folder, which carries the lock.

        Whenever this is killed, the next build can go on: rows go from the last to the first,
        then their pictures, and the record, which says whose work it is, at the end.
        """
        for path in sorted(self.directory.iterdir(), reverse=True):
            if path == self.keyframes:
                shutil.rmtree(path)
            elif _OUR_WORK.fullmatch(path.name):
                path.unlink()
        (self.directory / _RECORD).unlink(missing_ok=True)

    def _read_rows(self) -> None:
        for path in sorted(self.directory.glob('rows_*.npy')):
            try:
                rows = np.load(path, allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                raise MapError(f'{path} is damaged: {error}; start over: --no-resume') from error
            if path.stem != f'rows_{len(self):09d}' or rows.dtype != self._dtype:
                raise MapError(f'{path} does not follow the rows before; start over: --no-resume')
            self._remember(rows)

    def _remember(self, rows: np.ndarray) -> None:
        self._batches.append(rows)
        self._count += len(rows)

    def _rows(self) -> np.ndarray:
        return np.concatenate([np.empty(0, self._dtype), *self._batches])


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it is renamed to `path` when the block succeeds."""
    temporary = path.with_name(f'{path.name}.tmp')
    yield temporary
    temporary.replace(path)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _differences(was, now)
        elif was != now:
            yield f'{key} was {was}, is {now}'
