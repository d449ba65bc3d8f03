# SPDX-License-Identifier: Apache-2.0
"""Pose files: TUM, KITTI and CSV.

| format | one row is |
|---|---|
| TUM | `stamp tx ty tz qx qy qz qw`, seconds and metres |
| KITTI | the upper 3x4 of the pose matrix, row by row, metres; the row number is the picture |
| CSV | named columns: a stamp or an image name, x y z, optionally qx qy qz qw (EuRoC's too) |

A mistake in a file is an error that names its line: half a map in the wrong place is worse than
none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from vpr_ros.errors import SourceError
from vpr_ros.poses import NS_PER_S, Trajectory, quaternions_from_matrices

FORMATS = ('tum', 'kitti', 'csv')
_TUM_COLUMNS = 8
_KITTI_COLUMNS = 12
_UNIT_TOLERANCE = 0.05  # files round quaternions to a few digits; more is another convention
_ROTATION_TOLERANCE = 0.01
_END_OF_TIME_S = 2**31  # ROS counts seconds in an int32: 2038-01-19
_NS_PER_UNIT_FROM_DIGITS = ((18, 1), (15, 10**3), (12, 10**6), (0, NS_PER_S))

# Column names of a CSV file, in lower case and without units, by what they hold.
_CSV_NAMES = {
    'stamp': ('stamp', 'timestamp', 'time', 't', 'stamp_s', 'stamp_ns', 'timestamp_ns'),
    'image': ('image', 'name', 'file', 'filename', 'path'),
    'x': ('x', 'tx', 'position_x', 'p_rs_r_x'),
    'y': ('y', 'ty', 'position_y', 'p_rs_r_y'),
    'z': ('z', 'tz', 'position_z', 'p_rs_r_z'),
    'qx': ('qx', 'orientation_x', 'q_rs_x'),
    'qy': ('qy', 'orientation_y', 'q_rs_y'),
    'qz': ('qz', 'orientation_z', 'q_rs_z'),
    'qw': ('qw', 'orientation_w', 'q_rs_w'),
}


@dataclass(frozen=True)
class PoseTable:
    """The rows of a pose file.

    Rows belong to pictures by `stamps_ns`, by `names` or, with neither, by their number.

    Attributes:
        path: The file.
        positions: (N, 3) float64, metres.
        orientations_xyzw: (N, 4) float64, unit quaternions; NaN: the file has none.
        stamps_ns: (N,) int64, strictly increasing, or None.
        names: N names of pictures, or None.
    """

    path: Path
    positions: np.ndarray
    orientations_xyzw: np.ndarray
    stamps_ns: np.ndarray | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Return N, the number of rows."""
        return len(self.positions)

    @property
    def trajectory(self) -> Trajectory:
        """The poses over time.

        Raises:
            SourceError: The file has no stamps.
        """
        if self.stamps_ns is None:
            raise SourceError(f'{self.path} has no time stamps: its poses belong to rows or names')
        return Trajectory(self.stamps_ns, self.positions, self.orientations_xyzw)


def read_poses(path: str | Path, file_format: str | None = None) -> PoseTable:
    """Read a pose file.

    Args:
        path: The file.
        file_format: `tum`, `kitti` or `csv`; None: by the suffix `.csv`, else by the columns.

    Raises:
        FileNotFoundError: No such file.
        SourceError: A row that is none; the message names file, line and value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no pose file at {path}')
    readers: dict[str, Callable[[Path], PoseTable]] = {
        'tum': _read_tum,
        'kitti': _read_kitti,
        'csv': _read_csv,
    }
    if file_format is not None and file_format not in readers:
        raise ValueError(f'a pose file is {", ".join(FORMATS)}, not {file_format!r}')
    return readers[file_format or _guess_format(path)](path)


def parse_stamp_ns(text: str) -> int | None:
    """Read a time stamp to the last digit; None if `text` is no stamp.

    Decimals are seconds. Integers are seconds (or plain picture numbers) up to 10 digits, and
    milliseconds, microseconds or nanoseconds since 1970 from 12, 15 and 18 digits on. What a ROS
    time cannot hold is none.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    if not value.is_finite():
        return None
    digits = len(text) if text.isdigit() else 0
    ns_per_unit = next(ns for least, ns in _NS_PER_UNIT_FROM_DIGITS if digits >= least)
    stamp_ns = int((value * ns_per_unit).to_integral_value())
    return stamp_ns if -_END_OF_TIME_S <= stamp_ns // NS_PER_S < _END_OF_TIME_S else None


def _guess_format(path: Path) -> str:
    if path.suffix.lower() == '.csv':
        return 'csv'
    line, fields = next(_rows(path), (0, ['']))
    if len(fields) == _TUM_COLUMNS:
        return 'tum'
    if len(fields) == _KITTI_COLUMNS:
        return 'kitti'
    raise SourceError(
        f'{path}, line {line}: {len(fields)} columns; a TUM row has {_TUM_COLUMNS} (stamp tx ty '
        f'tz qx qy qz qw), a KITTI row {_KITTI_COLUMNS}; a CSV file ends in .csv'
    )


def _read_tum(path: Path) -> PoseTable:
    lines, stamps, values = [], [], []
    for line, fields in _rows(path, columns=_TUM_COLUMNS):
        lines.append(line)
        stamps.append(_stamp(path, line, fields[0]))
        values.append(_numbers(path, line, fields[1:]))
    poses = _matrix(path, values, _TUM_COLUMNS - 1)
    return PoseTable(
        path,
        poses[:, :3],
        _unit_quaternions(path, lines, poses[:, 3:]),
        stamps_ns=_increasing(path, lines, stamps),
    )


def _read_kitti(path: Path) -> PoseTable:
    lines, values = [], []
    for line, fields in _rows(path, columns=_KITTI_COLUMNS):
        lines.append(line)
        values.append(_numbers(path, line, fields))
    poses = _matrix(path, values, _KITTI_COLUMNS).reshape(-1, 3, 4)
    rotations = poses[:, :, :3]
    errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    wrong = (errors > _ROTATION_TOLERANCE) | (np.linalg.det(rotations) < 0)
    if wrong.any():
        line = lines[int(np.argmax(wrong))]
        raise SourceError(
            f'{path}, line {line}: the left 3x3 of the row is no rotation; '
            'a KITTI row is r11 r12 r13 tx r21 r22 r23 ty r31 r32 r33 tz'
        )
    return PoseTable(path, poses[:, :, 3].copy(), quaternions_from_matrices(rotations))


def _read_csv(path: Path) -> PoseTable:
    reader = csv.reader(io.StringIO(_utf8_text(path), newline=''), skipinitialspace=True)
    try:
        columns = _csv_columns(path, next(reader, []))
        rows = [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]
    except csv.Error as error:
        raise SourceError(
            f'{path}, line {reader.line_num}: {error} (a quotation mark without its other half?)'
        ) from error
    lines = [line for line, _ in rows]
    _check_widths(path, rows, max(columns.values()) + 1)
    axes = [axis for axis in ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw') if axis in columns]
    values = [
        _numbers(path, line, [row[columns[axis]].strip() for axis in axes]) for line, row in rows
    ]
    poses = _matrix(path, values, len(axes))
    has_orientation = 'qw' in columns
    orientations = (
        _unit_quaternions(path, lines, poses[:, 3:])
        if has_orientation
        else np.full((len(poses), 4), np.nan)
    )
    if 'image' in columns:
        names = tuple(row[columns['image']].strip() for _, row in rows)
        return PoseTable(path, poses[:, :3], orientations, names=names)
    stamps = [_stamp(path, line, row[columns['stamp']].strip()) for line, row in rows]
    return PoseTable(path, poses[:, :3], orientations, stamps_ns=_increasing(path, lines, stamps))


def _utf8_text(path: Path) -> str:
    try:
        return path.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = error.object.count(b'\n', 0, error.start) + 1
        raise SourceError(
            f'{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save the '
            'file as UTF-8'
        ) from error


def _csv_columns(path: Path, head: Sequence[str]) -> dict[str, int]:
    """Map what is needed to the number of its column."""
    names = [name.strip().lstrip('#').split('[')[0].strip().lower() for name in head]
    found = {
        meaning: names.index(match[0])
        for meaning, known in _CSV_NAMES.items()
        if (match := [name for name in known if name in names])
    }
    missing = [axis for axis in ('x', 'y', 'z') if axis not in found]
    if 'stamp' not in found and 'image' not in found:
        missing.insert(0, 'stamp or image')
    quaternion = [axis for axis in ('qx', 'qy', 'qz', 'qw') if axis in found]
    if quaternion and len(quaternion) < 4:
        missing += [axis for axis in ('qx', 'qy', 'qz', 'qw') if axis not in found]
    if missing:
        named = ', '.join(names) or 'nothing'
        raise SourceError(
            f'{path}, line 1: no column for {", ".join(missing)} in {named}; the '
            'first line names the columns: stamp (or image), x, y, z and, if known, qx, qy, '
            'qz, qw'
        )
    return found


def _check_widths(path: Path, rows: Sequence[tuple[int, list[str]]], columns: int) -> None:
    for line, row in rows:
        if len(row) < columns:
            raise SourceError(
                f'{path}, line {line}: {len(row)} columns where the first line names {columns}'
            )


def _rows(path: Path, columns: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of each row; blank lines and # comments are skipped."""
    with path.open(encoding='utf-8-sig', errors='replace') as file:
        for line, text in enumerate(file, start=1):
            fields = text.split('#')[0].split()
            if not fields:
                continue
            if columns is not None and len(fields) != columns:
                raise SourceError(
                    f'{path}, line {line}: {len(fields)} columns, {columns} are needed '
                    '(is the file cut off?)'
                )
            yield line, fields


def _numbers(path: Path, line: int, fields: Sequence[str]) -> list[float]:
    try:
        numbers = [float(field) for field in fields]
    except ValueError as error:
        raise SourceError(f'{path}, line {line}: {error}') from error
    if not np.isfinite(numbers).all():
        raise SourceError(
            f'{path}, line {line}: {" ".join(fields)} holds a value that is not finite; remove '
            'the row: pictures near it are then placed between its neighbours or left out'
        )
    return numbers


def _matrix(path: Path, rows: Sequence[Sequence[float]], columns: int) -> np.ndarray:
    if not rows:
        raise SourceError(f'{path} holds no pose')
    return np.array(rows, np.float64).reshape(-1, columns)


def _stamp(path: Path, line: int, text: str) -> int:
    stamp_ns = parse_stamp_ns(text)
    if stamp_ns is None:
        raise SourceError(
            f'{path}, line {line}: {text!r} is no time stamp (a number up to '
            f'{_END_OF_TIME_S - 1} s, the year 2038)'
        )
    return stamp_ns


def _increasing(path: Path, lines: Sequence[int], stamps_ns: Sequence[int]) -> np.ndarray:
    stamps = np.array(stamps_ns, np.int64)
    steps = np.diff(stamps)
    if (steps <= 0).any():
        i = int(np.argmax(steps <= 0)) + 1
        raise SourceError(
            f'{path}, line {lines[i]}: stamp {stamps[i] / NS_PER_S:.6f} s does not follow '
            f'{stamps[i - 1] / NS_PER_S:.6f} s of line {lines[i - 1]}; sort the file by its '
            'stamps and keep one row for each (sort -g -u)'
        )
    return stamps


def _unit_quaternions(path: Path, lines: Sequence[int], quaternions: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(quaternions, axis=1)
    wrong = np.abs(norms - 1) > _UNIT_TOLERANCE
    if wrong.any():
        i = int(np.argmax(wrong))
        raise SourceError(
            f'{path}, line {lines[i]}: {quaternions[i]} is no unit quaternion (norm '
            f'{norms[i]:.3f}); columns in another order?'
        )
    return quaternions / norms[:, None]
