# SPDX-License-Identifier: Apache-2.0
"""Replace a directory as a whole, or a file: readers see the old or the new, never a mixture.

The new content is written beside the target, flushed to disk, then swapped in by one system call
(Linux `renameat2` with RENAME_EXCHANGE). File systems without it get two renames; a crash between
these leaves the old directory under the name that `previous_of` finds.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends without error it becomes `target`.

    Raises:
        OSError: The folder cannot be written or renamed; `target` is as it was.
    """
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    folder = target.with_name(f'.{target.name}.saving-{os.getpid()}')
    folder.mkdir()
    try:
        yield folder
        _flush_tree(folder)
        _swap_in(folder, target)
        _flush(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_file(path: Path, text: str) -> None:
    """Write a file of a directory anew; a crash leaves the old one or the new one.

    Raises:
        OSError: It cannot be written; the old one stays.
    """
    beside = path.with_name(f'.{path.name}.saving-{os.getpid()}')
    try:
        beside.write_text(text, encoding='utf-8')
        _flush(beside)
        beside.replace(path)
        _flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def previous_of(target: Path) -> Path | None:
    """Return the directory that an interrupted two-step swap put aside, if there is one."""
    aside = _aside(target.absolute())
    return aside if aside.is_dir() else None


def link_or_copy(source: Path, destination: Path) -> None:
    """Copy a folder of finished files; hard links where the file system has them."""
    destination.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_file():
            link_or_copy_file(path, destination / path.name)


def link_or_copy_file(source: Path, destination: Path) -> None:
    """Copy a finished file; a hard link where the file system has them."""
    try:
        os.link(source, destination)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, destination)


def _aside(target: Path) -> Path:
    return target.with_name(f'.{target.name}.previous')


def _remove_leftovers(target: Path) -> None:
    """Delete what savers left behind that were killed; those still running are spared."""
    for path in target.parent.glob(f'.{target.name}.saving-*'):
        pid = path.name.rpartition('-')[2]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()  # our own leftover: an earlier process had our number


def _swap_in(folder: Path, target: Path) -> None:
    if not target.exists():
        folder.rename(target)
    elif not _exchange(folder, target):
        aside = _aside(target)
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
        folder.rename(target)
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories in one step; False where kernel or file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), 'renameat2', None)
    if renameat2 is None:
        return False
    result = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob('*'):
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
