# SPDX-License-Identifier: Apache-2.0
"""A table of closures that is whole after a crash: a line is written at once or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from vpr_ros.errors import VprError

_AXES = ('x', 'y', 'z', 'rx', 'ry', 'rz')
COVARIANCE = tuple(
    f'cov_{first}_{second}' for i, first in enumerate(_AXES) for second in _AXES[i:]
)
COLUMNS = (
    *('query_stamp', 'match_stamp', 'status', 'reason', 'camera', 'query_frame', 'map_frame'),
    *(
        'query_id',
        'place_id',
        'match_camera',
        'match_image',
        'similarity',
        'probability',
        'consistent_count',
    ),
    *('num_correspondences', 'num_inliers', 'kind', 'x', 'y', 'z', 'qx', 'qy', 'qz', 'qw'),
    *COVARIANCE,
)


class ClosureFileError(VprError):
    """A file that closures cannot be written to."""


class ClosureFile:
    """Appends rows; what another run wrote stays.

    Attributes:
        path: Where.
        num_rows: Rows written by this object.
        num_cut: Bytes of a torn last line that were cut off on opening.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            ClosureFileError: It cannot be written, or holds something else.
        """
        self.path = path
        self.num_rows = 0
        head = _line(COLUMNS)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ClosureFileError(
                f'closures cannot be written to {path}: {error.strerror}; set file to a path '
                'that can be written'
            ) from error
        size = os.fstat(self._file).st_size
        found = os.pread(self._file, len(head), 0)
        if not head.startswith(found):
            os.close(self._file)
            raise ClosureFileError(
                f'{path} holds something else than closures of this version (its first line is '
                'another): move it away, or set file to another path'
            )
        if found != head:  # empty, or torn in its very first line
            os.ftruncate(self._file, 0)
            os.write(self._file, head)
            self.num_cut = 0
        else:
            self.num_cut = self._cut_torn_line(size)

    def _cut_torn_line(self, size: int) -> int:
        """Cut off what stands after the last end of a line; returns how many bytes."""
        end = size
        while end:
            begin = max(0, end - 4096)
            newline = os.pread(self._file, end - begin, begin).rfind(b'\n')
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        os.ftruncate(self._file, end)
        return size - end

    def append(self, row: Sequence[str]) -> None:
        """Write one row in one go.

        Raises:
            OSError: It was not written whole, for example since the disk is full.
        """
        assert len(row) == len(COLUMNS)
        line = _line(row)
        size = os.fstat(self._file).st_size
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, size)
            raise OSError(
                f'{self.path}: {written} of {len(line)} bytes written; is the disk full?'
            )
        self.num_rows += 1

    def flush(self) -> None:
        """Make the disk keep what was written, also when the power goes.

        Raises:
            OSError: It may not.
        """
        os.fsync(self._file)

    def close(self) -> None:
        """Flush and close.

        Raises:
            OSError: The disk may not keep what was written; the file is closed nevertheless.
        """
        try:
            self.flush()
        finally:
            os.close(self._file)


def _line(row: Sequence[str]) -> bytes:
    """Return a row as CSV; a line break within a text would tear it and becomes a space."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerow([' '.join(v.splitlines()) for v in row])
    return text.getvalue().encode()
