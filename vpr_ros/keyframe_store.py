# SPDX-License-Identifier: Apache-2.0
"""Local features, cameras and landmarks of the places of a map, on disk, a file each.

The folder holds `000123.npz` for row 123 of the map (beside `000123.jpg`, its picture), and
`keyframes.npy`, which says of all rows at once where their cameras stood. A file holds

    format        (1,) int32
    kind          what found the features, such as `sift`
    size          (2,) int32, width and height of the picture, pixels
    keypoints     (K, 2) float32, pixels
    encoding      of the descriptors: `bits`, `levels` or `float16`
    descriptors   (K, D) uint8 or float16
    camera        (3, 3) float64, intrinsics of that size; (0, 0): not known
    distortion    (D,) float64
    landmark_rows, landmark_points, landmark_depth_error   int32, float32, float32; or absent
    landmark_scale_error   (1,) float32; likewise

`levels` is for RootSIFT, which has no negative values: each descriptor's largest value becomes
255, and reading makes the norm 1 again. That is a quarter of the room; a descriptor turns by less
than 0.6 degrees, and the cosine of two changes by less than 3e-3.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
import zipfile
import zlib
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from vpr_ros import atomic_directory
from vpr_ros.checksums import CHECKSUMS, check_file, read_checksums, write_checksums
from vpr_ros.errors import MapError
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import LocalFeatures
from vpr_ros.verification.metric import Keyframe, Landmarks
from vpr_ros.verification.neighbours import REACH, neighbours_along_drive

INDEX = 'keyframes.npy'
INDEX_DTYPE = np.dtype(
    [
        ('row', '<u8'),
        ('pose', '<f8', (4, 4)),  # camera's optical frame to map, metres; NaN: unknown
        ('drive', '<i8'),  # poses of two drives have drifted apart
        ('camera', '<u2'),
        ('num_features', '<u4'),
        ('num_landmarks', '<i4'),  # -1: not looked for
    ]
)
_FORMAT = 1
_SIFT = 'sift'
_LEVELS = 255
_LANDMARKS = (
    *('landmark_rows', 'landmark_points', 'landmark_depth_error'),
    'landmark_scale_error',
)
_DAMAGE = (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error)
_FIRST_CAPACITY = 64


class KeyframeStore:
    """The keyframes of a map, in a folder; one thread may write while another reads.

    A `KeyframeSource` of the verifier. Nothing but the index is kept in memory.

    Attributes:
        folder: Where the files are.
    """

    def __init__(self, folder: str | Path, *, read_only: bool = False) -> None:
        """Open a folder, or make a new one.

        Args:
            folder: A map's `keyframes/`, or a new folder.
            read_only: Refuse to change it: a map on disk is as its hashes say.

        Raises:
            MapError: The index is damaged, or the list of hashes.
            OSError: The folder cannot be made.
        """
        self.folder = Path(folder)
        self._read_only = read_only
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._num_holders = 0
        self._is_closed = False
        self._lock = threading.Lock()
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._checksums = read_checksums(self.folder)
        self._entries = self._read_index()
        self._count = len(self._entries)
        self._slots = dict(zip(self._entries['row'].tolist(), range(self._count), strict=True))
        self._drives: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for row in sorted(self._slots):
            self._drives[self._drive_of(self._slots[row])].append(row)

    @classmethod
    def temporary(cls, parent: str | Path | None = None) -> KeyframeStore:
        """Make a store for what is learnt while running; `close` removes it.

        Args:
            parent: Folder for it; None: the system's for temporary files.
        """
        folder = tempfile.TemporaryDirectory(prefix='vpr_ros_keyframes_', dir=parent)
        store = cls(folder.name)
        store._temporary = folder
        return store

    def __enter__(self) -> KeyframeStore:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __len__(self) -> int:
        """Return the number of keyframes."""
        return self._count

    def __contains__(self, row: int) -> bool:
        """Tell whether there is a keyframe of a row."""
        return row in self._slots

    @property
    def index(self) -> np.ndarray:
        """(N,) of INDEX_DTYPE, by row; a copy."""
        with self._lock:
            entries = self._entries[: self._count].copy()
        return entries[np.argsort(entries['row'])]

    @property
    def checksums(self) -> Mapping[str, str]:
        """File name to SHA-256 of the files of a map on disk; empty: not known."""
        return self._checksums

    @property
    def kind(self) -> str | None:
        """What found the features, as in `LocalFeatures.kind`; None while there are none.

        Raises:
            MapError: The first file is missing or damaged.
        """
        with self._lock:
            row = int(self._entries['row'][0]) if self._count else None
        return None if row is None else str(self._read(row)['kind'])

    @property
    def num_bytes(self) -> int:
        """Bytes of the files on disk, without pictures."""
        return sum(path.stat().st_size for path in self.folder.glob('*.np[yz]'))

    def add(self, row: int, keyframe: Keyframe, *, drive: int, camera: int = 0) -> None:
        """Store a place's keyframe; a row that was stored before is replaced.

        Args:
            row: Of the place in the map; rows may come in any order.
            keyframe: Its features, intrinsics and camera's pose.
            drive: Number of the uninterrupted piece of odometry or of the recording: only places
                of one drive give each other depth.
            camera: Number of the camera; likewise.

        Raises:
            OSError: The disk is full or not writable.
        """
        self._begin_to_write()
        self._write(row, _members_of(keyframe))
        self._enter(row, keyframe.pose, drive, camera, (len(keyframe.features), -1))

    def enlist(self, row: int, pose: np.ndarray | None, *, drive: int, camera: int = 0) -> None:
        """Take up a file of an interrupted run, which is there but in no index.

        Args:
            row: As in `add`.
            pose: As in `Keyframe`.
            drive: As in `add`.
            camera: As in `add`.

        Raises:
            MapError: The file is missing or damaged.
        """
        self._begin_to_write()
        members = self._read(row)
        num_landmarks = len(members[_LANDMARKS[0]]) if _LANDMARKS[0] in members else -1
        self._enter(row, pose, drive, camera, (len(members['keypoints']), num_landmarks))

    def keyframe(self, place: int) -> Keyframe | None:
        """Return a place's keyframe; None where none was kept.

        Raises:
            MapError: Its file is missing or damaged.
        """
        with self._lock:
            slot = self._slots.get(place)
            pose = None if slot is None else self._entries['pose'][slot].copy()
        if pose is None:
            return None
        members = self._read(place)
        camera = None
        if members['camera'].size:
            camera = Intrinsics(members['camera'], members['distortion'])
        return Keyframe(_features_of(members), camera, pose if np.isfinite(pose).all() else None)

    def neighbours(self, place: int) -> list[int]:
        """Return places of the same drive and camera that give a place's features depth.

        Returns:
            Rows, best first, as of `neighbours_along_drive`; none without poses.
        """
        with self._lock:
            slot = self._slots.get(place)
            if slot is None:
                return []
            rows = self._drives[self._drive_of(slot)]
            at = bisect_left(rows, place)
            first = max(0, at - REACH)
            near = rows[first : at + REACH + 1]
            poses = self._entries['pose'][[self._slots[row] for row in near]]
        return [near[n] for n in neighbours_along_drive(at - first, poses)]

    def landmarks(self, place: int) -> Landmarks | None:
        """Return a place's stored landmarks; None where none were looked for.

        Raises:
            MapError: The file is missing or damaged.
        """
        with self._lock:
            slot = self._slots.get(place)
            is_known = slot is not None and self._entries['num_landmarks'][slot] >= 0
        return _landmarks_of(self._read(place)) if is_known else None

    def keep_landmarks(self, row: int, landmarks: Landmarks) -> None:
        """Store a place's landmarks in its file.

        Raises:
            MapError: The row has no keyframe, or its file is missing or damaged.
            OSError: The disk is full or not writable.
        """
        if row not in self._slots:
            raise MapError(f'{self.folder} holds no keyframe of row {row} to keep landmarks of')
        self._begin_to_write()
        values = (
            np.asarray(landmarks.rows, np.int32),
            np.asarray(landmarks.points, np.float32),
            np.asarray(landmarks.depth_error, np.float32),
            np.array([landmarks.scale_error], np.float32),
        )
        self._write(row, {**self._read(row), **dict(zip(_LANDMARKS, values, strict=True))})
        with self._lock:
            self._entries['num_landmarks'][self._slots[row]] = len(landmarks.rows)

    def save(self) -> None:
        """Write the index, without which the folder cannot be opened again.

        Raises:
            OSError: The disk is full or not writable.
        """
        self._check_writable()
        _write_index(self.folder, self.index)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the files of a temporary store, closed meanwhile or not, until the block ends.

        Raises:
            MapError: It is closed already.
        """
        with self._lock:
            is_gone = self._is_closed
            self._num_holders += not is_gone
        if is_gone:
            raise MapError(f'{self.folder} is gone: what was learnt was forgotten meanwhile')
        try:
            yield
        finally:
            with self._lock:
                self._num_holders -= 1
            if self._is_closed:
                self.close()

    def close(self) -> None:
        """Write the index of what changed, or remove a temporary store once nobody holds it."""
        if self._temporary is not None:
            with self._lock:
                self._is_closed = True
                is_held = self._num_holders > 0
            if not is_held:
                self._temporary.cleanup()
        elif not self._read_only and len(self):
            self.save()

    def write_to(self, folder: Path) -> None:
        """Write all keyframes and pictures into a new folder; `PlaceMap.save` calls this."""
        write_keyframes(folder, [KeyframePart(self)])

    def check(self, num_places: int) -> None:
        """Read every keyframe.

        Args:
            num_places: Of the map.

        Raises:
            MapError: One is missing, damaged or of no place of the map.
        """
        for row in self.index['row'].tolist():
            if row >= num_places:
                raise MapError(
                    f'{self.folder / INDEX} tells of row {row} in a map of {num_places} places'
                )
            self.keyframe(row)
            self.landmarks(row)

    def _drive_of(self, slot: int) -> tuple[int, int]:
        return int(self._entries['drive'][slot]), int(self._entries['camera'][slot])

    def _enter(
        self,
        row: int,
        pose: np.ndarray | None,
        drive: int,
        camera: int,
        counts: tuple[int, int],
    ) -> None:
        matrix = np.full((4, 4), np.nan) if pose is None else pose
        with self._lock:
            slot = self._slots.get(row)
            if slot is None:
                slot = self._count
                if slot == len(self._entries):
                    more = np.zeros(max(_FIRST_CAPACITY, slot), INDEX_DTYPE)
                    self._entries = np.concatenate([self._entries, more])
                self._count += 1
                self._slots[row] = slot
            else:
                self._drives[self._drive_of(slot)].remove(row)
            self._entries[slot] = (row, matrix, drive, camera, *counts)
            insort(self._drives[drive, camera], row)

    def _check_writable(self) -> None:
        if self._read_only:
            raise MapError(f'{self.folder} is of a map on disk, whose hashes would not hold then')

    def _begin_to_write(self) -> None:
        """From now to `save` there is no index: an old one would tell of other files."""
        self._check_writable()
        (self.folder / INDEX).unlink(missing_ok=True)
        if self._checksums:
            (self.folder / CHECKSUMS).unlink(missing_ok=True)
            self._checksums = {}

    def _write(self, row: int, members: Mapping[str, np.ndarray]) -> None:
        path = self.folder / _file_name(row)
        unfinished = path.with_name(f'{path.name}.tmp')
        with unfinished.open('wb') as file:
            np.savez(file, **dict[str, Any](members))
        unfinished.replace(path)  # whoever reads sees the old file or the new one

    def _read(self, row: int) -> dict[str, np.ndarray]:
        path = self.folder / _file_name(row)
        try:
            data = self._bytes_of(path)
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                members = {name: file[name] for name in file.files}
            _check_members(members)
        except FileNotFoundError as error:
            raise MapError(f'{path} is missing: copy the map again or rebuild it') from error
        except _DAMAGE as error:
            raise MapError(
                f'{path} is no whole keyframe: {error}; copy the map again or rebuild it'
            ) from error
        return members

    def _read_index(self) -> np.ndarray:
        path = self.folder / INDEX
        try:
            data = self._bytes_of(path)
            entries = np.load(io.BytesIO(data), allow_pickle=False)
        except FileNotFoundError as error:
            if INDEX in self._checksums:
                raise MapError(f'{path} is missing: copy the map again or rebuild it') from error
            return np.zeros(0, INDEX_DTYPE)
        except _DAMAGE as error:
            raise MapError(
                f'{path} is no whole index of keyframes: {error}; copy the map again or rebuild it'
            ) from error
        _check_index(path, entries)
        return entries

    def _bytes_of(self, path: Path) -> bytes:
        """Return a file's content; compared with its hash where that is known."""
        data = path.read_bytes()
        if self._checksums:
            sha256 = self._checksums.get(path.name)
            check_file(path, sha256, hashlib.sha256(data).hexdigest(), listed_in=CHECKSUMS)
        return data


class _OnDisk(Protocol):
    """A map, as far as `store_of_map` looks: its directory, None while only in memory."""

    @property
    def directory(self) -> Path | None: ...


def store_of_map(place_map: _OnDisk) -> KeyframeStore | None:
    """Open the keyframes of a loaded map, which stay as they are.

    Returns:
        The store, which is empty if the map keeps pictures but no local features; None if it
        keeps neither or is only in memory.

    Raises:
        MapError: The index is damaged.
    """
    if place_map.directory is None:
        return None
    folder = place_map.directory / 'keyframes'
    return KeyframeStore(folder, read_only=True) if folder.is_dir() else None


def features_of_map(place_map: _OnDisk) -> KeyframeStore | None:
    """Open what a loaded map's places can be verified by; None if it keeps no local features.

    Raises:
        MapError: As `store_of_map`.
    """
    store = store_of_map(place_map)
    return store if store else None


@dataclass(frozen=True)
class KeyframePart:
    """A store that becomes part of another.

    Attributes:
        store: The store.
        new_rows: What its rows become; those that are not named are left out; None: all stay.
        new_poses: By old row, (4, 4) pose of the camera in the frame of the new map, None:
            unknown; for all rows that are taken. None: the poses stay.
    """

    store: KeyframeStore
    new_rows: Mapping[int, int] | None = None
    new_poses: Mapping[int, np.ndarray | None] | None = None


def write_keyframes(folder: Path, parts: Sequence[KeyframePart]) -> None:
    """Write the keyframes and pictures of several stores into one new folder, by hard links.

    Args:
        folder: Is made, unless there is nothing to write.
        parts: What goes in. Drives of two stores are kept apart.

    Raises:
        MapError: A file is missing.
        OSError: The disk is full or not writable.
    """
    folder.mkdir(parents=True)
    entries: list[np.ndarray] = []
    checksums: dict[str, str] = {}
    next_drive = 0
    for part in parts:
        index = _link_files(part, folder, checksums)
        if len(index):
            index['drive'] += next_drive - index['drive'].min()
            next_drive = int(index['drive'].max()) + 1
            entries.append(index)
    if entries:
        joined = np.concatenate(entries)
        for row in joined['row'].tolist():
            if not (folder / _file_name(row)).exists():
                raise MapError(f'the file of the keyframe that becomes row {row} is missing')
        _write_index(folder, joined[np.argsort(joined['row'])])
    if checksums:
        write_checksums(folder, checksums)
    if not any(folder.iterdir()):
        folder.rmdir()  # maps that keep neither features nor pictures


def _link_files(part: KeyframePart, folder: Path, checksums: dict[str, str]) -> np.ndarray:
    """Link a store's files under the names of their new rows; return its index with these.

    Known hashes go along: a file that was damaged meanwhile stays found out, and none is read.
    """
    store, new_rows = part.store, part.new_rows
    index = store.index
    known = set(index['row'].tolist())
    files = sorted(store.folder.iterdir()) if store.folder.is_dir() else []
    for path in files:
        row = _row_of(path)
        if row is None or (path.suffix == '.npz' and row not in known):
            continue  # the index, or a file that is being written
        new_row = row if new_rows is None else new_rows.get(row)
        if new_row is not None:
            name = f'{new_row:06d}{path.suffix}'
            atomic_directory.link_or_copy_file(path, folder / name)
            if (sha256 := store.checksums.get(path.name)) is not None:
                checksums[name] = sha256
    if part.new_poses is not None:
        for entry in index:
            pose = part.new_poses.get(int(entry['row']))
            entry['pose'] = np.nan if pose is None else pose
    if new_rows is not None:
        index = index[[row in new_rows for row in index['row'].tolist()]]
        index['row'] = [new_rows[row] for row in index['row'].tolist()]
    return index


def _file_name(row: int) -> str:
    return f'{row:06d}.npz'


def _row_of(path: Path) -> int | None:
    return int(path.stem) if path.stem.isdecimal() and path.suffix else None


def _check_index(path: Path, entries: Any) -> None:
    if not isinstance(entries, np.ndarray) or entries.dtype != INDEX_DTYPE or entries.ndim != 1:
        raise MapError(f'{path} is no index of keyframes: copy the map again or rebuild it')
    if len(np.unique(entries['row'])) < len(entries):
        raise MapError(f'{path} gives one row twice: copy the map again or rebuild it')


def _write_index(folder: Path, entries: np.ndarray) -> None:
    unfinished = folder / f'{INDEX}.tmp'
    with unfinished.open('wb') as file:
        np.save(file, entries)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / INDEX)


def _members_of(keyframe: Keyframe) -> dict[str, np.ndarray]:
    features, camera = keyframe.features, keyframe.camera
    encoding, descriptors = _encoded(features)
    return {
        'format': np.array([_FORMAT], np.int32),
        'kind': np.array(features.kind),
        'size': np.array([features.width, features.height], np.int32),
        'keypoints': np.asarray(features.keypoints, np.float32),
        'encoding': np.array(encoding),
        'descriptors': descriptors,
        'camera': np.zeros((0, 0)) if camera is None else np.asarray(camera.matrix, np.float64),
        'distortion': np.zeros(0) if camera is None else np.asarray(camera.distortion, np.float64),
    }


def _encoded(features: LocalFeatures) -> tuple[str, np.ndarray]:
    descriptors = features.descriptors
    if descriptors.dtype == np.uint8:
        return 'bits', descriptors
    if features.kind != _SIFT:
        return 'float16', descriptors.astype(np.float16)
    largest = descriptors.max(axis=1, keepdims=True, initial=0)
    largest[largest == 0] = 1
    return 'levels', np.rint(descriptors * (_LEVELS / largest)).astype(np.uint8)


def _features_of(members: Mapping[str, np.ndarray]) -> LocalFeatures:
    descriptors = members['descriptors']
    if str(members['encoding']) != 'bits':
        descriptors = descriptors.astype(np.float32)
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        descriptors = descriptors / np.maximum(norms, np.finfo(np.float32).tiny)
    width, height = members['size'].tolist()
    return LocalFeatures(str(members['kind']), members['keypoints'], descriptors, width, height)


def _landmarks_of(members: Mapping[str, np.ndarray]) -> Landmarks:
    rows, points, depth_error, scale_error = (members[name] for name in _LANDMARKS)
    return Landmarks(
        rows.astype(np.int64),
        points.astype(np.float64),
        depth_error.astype(np.float64),
        float(scale_error[0]),
    )


def _check_members(members: Mapping[str, np.ndarray]) -> None:
    """Refuse what is no keyframe.

    Raises:
        ValueError: A part has another type or shape.
        KeyError: A part is missing.
    """
    if members['format'].tolist() != [_FORMAT]:
        raise ValueError(f'format {members["format"].tolist()}, this vpr_ros reads {_FORMAT}')
    n = len(members['keypoints'])
    encoding = str(members['encoding'])
    dtypes = {'bits': np.uint8, 'levels': np.uint8, 'float16': np.float16}
    if encoding not in dtypes:
        raise ValueError(f'encoding {encoding!r}')
    width = members['descriptors'].shape[-1]
    wanted: list[tuple[str, Any, tuple[int, ...]]] = [
        ('kind', None, ()),
        ('size', np.int32, (2,)),
        ('keypoints', np.float32, (n, 2)),
        ('descriptors', dtypes[encoding], (n, width)),
        ('camera', np.float64, (3, 3) if members['camera'].size else (0, 0)),
        ('distortion', np.float64, (members['distortion'].size,)),
    ]
    if _LANDMARKS[0] in members:
        m = len(members[_LANDMARKS[0]])
        wanted += [
            (_LANDMARKS[0], np.int32, (m,)),
            (_LANDMARKS[1], np.float32, (m, 3)),
            (_LANDMARKS[2], np.float32, (m,)),
            (_LANDMARKS[3], np.float32, (1,)),
        ]
    for name, dtype, shape in wanted:
        part = members[name]
        if part.shape != shape or (dtype is not None and part.dtype != dtype):
            raise ValueError(f'{name} is {part.dtype} {part.shape}')
    rows = members.get(_LANDMARKS[0], np.zeros(0, np.int32))
    if len(rows) and not (rows.min() >= 0 and rows.max() < n):
        raise ValueError(f'a landmark of feature {rows.max()} of {n}')
