# SPDX-License-Identifier: Apache-2.0
"""Which pose belongs to which picture: by time, by order, by number or by name."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np

from vpr_ros.errors import SourceError
from vpr_ros.frames import PictureRef, Source
from vpr_ros.pose_files import PoseTable
from vpr_ros.poses import NS_PER_S, Trajectory

Pose = tuple[np.ndarray, np.ndarray]  # (3,) metres and (4,) x y z w; NaN: unknown
_UNKNOWN: Pose = (np.full(3, np.nan), np.full(4, np.nan))


class PoseLookup(Protocol):
    """Knows where pictures were taken."""

    def pose_of(self, frame: PictureRef) -> Pose:
        """Return position and orientation of a picture; NaN: unknown."""
        ...

    def coverage(self) -> str:
        """Say which pictures there are poses for, for people."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for an interrupted build to be continued; JSON values."""
        ...


class PosesByTime:
    """Poses interpolated at the pictures' stamps."""

    def __init__(
        self, trajectory: Trajectory, *, max_gap_s: float, time_offset_s: float = 0.0
    ) -> None:
        """Remember the trajectory.

        Args:
            trajectory: The poses.
            max_gap_s: Longest time between two poses that is bridged, seconds.
            time_offset_s: How far the clock of the poses is ahead of that of the pictures.
        """
        self._trajectory = trajectory
        self._max_gap_s = max_gap_s
        self._time_offset_ns = round(time_offset_s * NS_PER_S)

    def pose_of(self, frame: PictureRef) -> Pose:
        """Return the pose at the picture's stamp."""
        stamps = np.array([frame.stamp_ns + self._time_offset_ns], np.int64)
        positions, orientations = self._trajectory.at(stamps, max_gap_s=self._max_gap_s)
        return positions[0], orientations[0]

    def coverage(self) -> str:
        """Return the span of time."""
        first, last = self._trajectory.stamps_ns[[0, -1]] / NS_PER_S
        return f'the poses reach from {first:.3f} s to {last:.3f} s'

    def fingerprint(self) -> dict[str, Any]:
        """Return a hash of all poses, and the gap."""
        track = self._trajectory
        return {
            'poses_sha256': _sha256(track.stamps_ns, track.positions, track.orientations_xyzw),
            'max_pose_gap_s': self._max_gap_s,
            'time_offset_ns': self._time_offset_ns,
        }


class PosesByRow:
    """Row i of a file belongs to picture i, or to the picture whose name has the number i."""

    def __init__(self, table: PoseTable, source: Source) -> None:
        """Choose between order and number.

        Raises:
            SourceError: There are neither as many rows as pictures nor numbers in the names.
        """
        self._table = table
        self._by_number = len(table) != source.num_frames
        if self._by_number and not source.is_numbered:
            raise SourceError(
                f'{table.path} has {len(table)} poses for {source.num_frames} pictures of '
                f'{source.path}, and the names of the pictures do not tell which; use a TUM file '
                'with stamps or a CSV file with image names'
            )

    def pose_of(self, frame: PictureRef) -> Pose:
        """Return the pose of the picture's row."""
        row = frame.index
        if self._by_number:
            row, fraction = divmod(frame.stamp_ns, NS_PER_S)
            if fraction or row >= len(self._table):
                return _UNKNOWN
        return self._table.positions[row], self._table.orientations_xyzw[row]

    def coverage(self) -> str:
        """Return the numbers of the rows."""
        return f'the poses are for the pictures 0 to {len(self._table) - 1}'

    def fingerprint(self) -> dict[str, Any]:
        """Return a hash of all poses."""
        return {'poses_sha256': _sha256(self._table.positions, self._table.orientations_xyzw)}


class PosesByName:
    """A row belongs to the picture it names; folders before the name do not matter."""

    def __init__(self, table: PoseTable) -> None:
        """Index the rows.

        Raises:
            SourceError: A name stands twice.
        """
        self._table = table
        names = [PurePath(name).name for name in table.names or ()]
        self._rows = {name: row for row, name in enumerate(names)}
        if len(self._rows) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SourceError(f'{table.path} names the picture {twice} twice')

    def pose_of(self, frame: PictureRef) -> Pose:
        """Return the pose of the row that names the picture."""
        row = self._rows.get(frame.name)
        if row is None:
            return _UNKNOWN
        return self._table.positions[row], self._table.orientations_xyzw[row]

    def coverage(self) -> str:
        """Return some of the names."""
        names = list(self._rows)
        return f'the poses are for {names[0]} … {names[-1]}'

    def fingerprint(self) -> dict[str, Any]:
        """Return a hash of all names and poses."""
        names = np.array(list(self._rows), dtype=np.str_)
        table = self._table
        return {'poses_sha256': _sha256(names, table.positions, table.orientations_xyzw)}


def lookup_in_table(
    table: PoseTable, source: Source, *, max_gap_s: float, time_offset_s: float = 0.0
) -> PoseLookup:
    """Match a pose file with a source in the way its columns ask for.

    Args:
        table: The poses.
        source: The pictures.
        max_gap_s: As in `PosesByTime`; rows without times do not need it.
        time_offset_s: Likewise.

    Raises:
        SourceError: Rows without stamps or names do not fit the number of pictures, or the poses
            have times and the pictures have none.
    """
    if table.names is not None:
        return PosesByName(table)
    if table.stamps_ns is not None:
        if not source.has_times:
            _check_whole(table, table.stamps_ns, source)
        return PosesByTime(table.trajectory, max_gap_s=max_gap_s, time_offset_s=time_offset_s)
    return PosesByRow(table, source)


def _check_whole(table: PoseTable, stamps_ns: np.ndarray, source: Source) -> None:
    """Refuse times where pictures have numbers: picture 10 was not taken after 10 seconds."""
    fractions = stamps_ns % NS_PER_S
    if fractions.any():
        stamp = Decimal(int(stamps_ns[np.argmax(fractions > 0)])) / NS_PER_S
        kind = 'the numbers in their names' if source.is_numbered else 'their order'
        raise SourceError(
            f'{table.path} has times (such as {stamp:f} s), but of the pictures of {source.path} '
            f'only {kind} is known; give poses by image name (CSV) or row by row (KITTI), or name '
            'the pictures by their stamps'
        )


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
