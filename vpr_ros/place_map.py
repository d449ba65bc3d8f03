# SPDX-License-Identifier: Apache-2.0
"""The map: places with a descriptor each, on disk as plain files, in memory behind an index.

A map directory (schema 1) is `map.json`, `descriptors.npy`, `places.npy`, `images.txt` and
optionally `keyframes/`; NumPy alone reads it. Nothing in it is pickled. Every file is hashed in
`map.json`, those of `keyframes/` in their own `SHA256SUMS`, which is hashed there. The search
index is derived, never stored.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy

from vpr_ros import atomic_directory
from vpr_ros.cameras import MapCamera, cameras_from_json
from vpr_ros.checksums import CHECKSUMS, check_file, check_folder, read_checksums, write_checksums
from vpr_ros.errors import MapError, MapModelMismatchError
from vpr_ros.growing_array import GrowingArray
from vpr_ros.hashing import file_sha256
from vpr_ros.map_calibration import MapCalibration, calibration_from_json
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_index import PlaceIndex

logger = logging.getLogger(__name__)

SCHEMA_VERSION = '1'
MANIFEST = 'map.json'
DESCRIPTORS = 'descriptors.npy'
PLACES = 'places.npy'
IMAGES = 'images.txt'
KEYFRAMES = 'keyframes'

PLACE_DTYPE = np.dtype(
    [
        ('place_id', '<u8'),
        ('stamp_ns', '<i8'),
        ('position', '<f8', (3,)),  # metres, map frame; NaN: unknown
        ('orientation_xyzw', '<f8', (4,)),  # unit quaternion; NaN: unknown
        ('camera', '<u2'),
    ]
)
_UNIT_NORM_TOLERANCE = 2e-3  # float16 storage rounds a norm by up to 5e-4
_CHECK_ROWS = 16384  # rows read at a time when norms are checked: bounded memory
_MOST_ALIKE = 1000  # places of a large map that `similarities` gives


@dataclass(frozen=True, slots=True)  # a long run keeps many
class Match:
    """One place that looks like the query.

    Attributes:
        row: Row of the place in the map.
        place_id: The place's own number; stays when maps are trimmed.
        similarity: Cosine similarity, -1..1, larger is more alike.
        stamp_ns: Stamp of the place's picture, nanoseconds.
        image: File name of the place's picture, '' if it was not kept.
        position: (3,) float64, metres, map frame; NaN: unknown.
        orientation_xyzw: (4,) float64, unit quaternion; NaN: unknown.
        camera: Number of the camera that saw the place.
        probability: 0..1 of a temporal filter; NaN: unknown.
    """

    row: int
    place_id: int
    similarity: float
    stamp_ns: int
    image: str
    position: np.ndarray
    orientation_xyzw: np.ndarray
    camera: int = 0
    probability: float = math.nan


@dataclass(frozen=True)
class GeodeticOrigin:
    """Where on earth the poses of a GNSS map have their zero, WGS 84.

    Attributes:
        latitude_deg: -90 to 90.
        longitude_deg: -180 to 180.
        altitude_m: Above the ellipsoid, as in NavSatFix.
    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float

    def __post_init__(self) -> None:
        """Refuse what is no place on earth.

        Raises:
            ValueError: A value is out of its range; the text names both.
        """
        for name, limit in (('latitude_deg', 90), ('longitude_deg', 180)):
            value = getattr(self, name)
            if not abs(value) <= limit:
                raise ValueError(f'{name} must lie between -{limit} and {limit}, not {value}')
        if not math.isfinite(self.altitude_m):
            raise ValueError(f'altitude_m must be finite, not {self.altitude_m}')


class KeyframeFiles(Protocol):
    """What can write the keyframes of a map: a `KeyframeStore`, or several joined."""

    def write_to(self, folder: Path) -> None:
        """Write all files into a new folder."""
        ...


class PlaceMap:
    """Places of one environment, described by one model.

    A place costs its descriptor once, in large maps a code of a quarter of a byte for each value,
    128 at least (`place_index`), 90 bytes for itself, and its name. Descriptors that were loaded
    as float32 stay in the file, which the system keeps in memory while there is room.

    Attributes:
        model: The model whose descriptors these are.
        frame_id: Frame of the poses.
        origin: Zero of the poses of a GNSS map, which are metres east, north and up of it; None:
            not known.
        frame_uid: Which frame this is where the name does not tell: of poses that begin where a
            drive began. None: whoever gave the poses knows.
        cameras: What is known of the cameras whose pictures the places are; may be empty.
        created: Time of creation, ISO 8601, UTC.
        directory: Where the map was loaded from or last saved to; None: only in memory.
        calibration: What `vpr calibrate` recorded; None: nothing. It stays when places are added.
    """

    def __init__(
        self, model: ModelRef, *, frame_id: str = 'map', origin: GeodeticOrigin | None = None
    ) -> None:
        """Make an empty map.

        Args:
            model: The model that will describe the places.
            frame_id: Frame of the poses that will be added.
            origin: Their zero, if they come from GNSS.
        """
        self.model = model
        self.frame_id = frame_id
        self.origin = origin
        self.frame_uid: str | None = None
        self.cameras: tuple[MapCamera, ...] = ()
        self.created = datetime.now(timezone.utc).isoformat(timespec='seconds')
        self.directory: Path | None = None
        self._keyframes: Path | None = None
        self.calibration: MapCalibration | None = None
        self._index = PlaceIndex(model.descriptor_size)
        self._on_disk: np.ndarray | None = None  # the descriptors as they were loaded
        self._places = GrowingArray(PLACE_DTYPE)
        self._steps_m = GrowingArray(np.float64)  # from the place before; NaN: unknown
        self._images: list[str] = []
        self._next_id = 0
        self._num_positions = 0
        self._spacing = (0, math.nan)  # of how many places, metres

    def __len__(self) -> int:
        """Return N, the number of places."""
        return len(self._images)

    @property
    def descriptors(self) -> np.ndarray:
        """(N, D) float32 or float16, unit norm; memory-mapped while nothing was added.

        Reading it after places were added joins them, a copy of everything: not for each picture.
        """
        if self._on_disk is not None and len(self._on_disk) == len(self):
            return self._on_disk
        return self._index.all()

    @property
    def places(self) -> np.ndarray:
        """(N,) of PLACE_DTYPE, read-only; an array that was read earlier does not grow."""
        return self._places.rows

    @property
    def images(self) -> list[str]:
        """File name of each place's picture, '' where it was not kept."""
        return self._images

    @property
    def keyframes(self) -> Path | None:
        """Folder of the pictures and local features of the places; None: there is none."""
        if self.directory is not None:
            return self.directory / KEYFRAMES
        return self._keyframes

    @keyframes.setter
    def keyframes(self, folder: Path) -> None:
        self._keyframes = folder

    def picture_path(self, image: str) -> Path | None:
        """Return where the picture of a place is, given its name; None where none was kept."""
        folder, _, name = image.partition('/')
        if self.keyframes is None or folder != KEYFRAMES or not name:
            return None
        path = (self.keyframes / name).resolve()
        # Names in a map are not to be trusted.
        inside = self.keyframes.resolve() in path.parents
        return path if inside and path.is_file() else None

    @property
    def url(self) -> str:
        """file:// address of the directory, '' while the map is only in memory."""
        return self.directory.resolve().as_uri() if self.directory else ''

    @property
    def num_positions(self) -> int:
        """Places with a known position."""
        return self._num_positions

    @property
    def has_poses(self) -> bool:
        """Whether every place has a known position."""
        return len(self) > 0 and self._num_positions == len(self)

    @property
    def spacing_m(self) -> float:
        """Median distance between successive places, metres; NaN without poses."""
        if self._spacing[0] != len(self):
            steps = self._steps_m.rows
            steps = steps[np.isfinite(steps)]
            self._spacing = len(self), float(np.median(steps)) if len(steps) else math.nan
        return self._spacing[1]

    def add(
        self,
        descriptors: np.ndarray,
        *,
        stamps_ns: np.ndarray,
        positions: np.ndarray | None = None,
        orientations_xyzw: np.ndarray | None = None,
        images: Sequence[str] | None = None,
        cameras: np.ndarray | None = None,
        place_ids: np.ndarray | None = None,
    ) -> np.ndarray:
        """Add N places.

        Args:
            descriptors: (N, D) float32, unit norm.
            stamps_ns: (N,) integers, stamps of the pictures, nanoseconds.
            positions: (N, 3) metres in the map frame; None or NaN rows: unknown.
            orientations_xyzw: (N, 4) unit quaternions; None or NaN rows: unknown.
            images: N file names without line breaks.
            cameras: (N,) numbers of the cameras, 0 by default.
            place_ids: (N,) ids of places that come from another map; the next ones by default.

        Returns:
            (N,) uint64, the ids the places received.

        Raises:
            ValueError: Shapes disagree, a descriptor is not of unit norm, a pose is infinite, or
                an id is given twice.
        """
        descriptors = np.ascontiguousarray(descriptors, np.float32)
        n = len(descriptors)
        if descriptors.shape != (n, self.model.descriptor_size):
            raise ValueError(
                f'descriptors must be (N, {self.model.descriptor_size}) for model '
                f'{self.model.name}, not {descriptors.shape}'
            )
        if (problem := _norm_problem(descriptors)) is not None:
            raise ValueError(problem)
        names = [''] * n if images is None else list(images)
        if len(names) != n:
            raise ValueError(f'{len(names)} image names for {n} places')
        if broken := [name for name in names if '\n' in name or '\r' in name]:
            raise ValueError(f'an image name cannot hold a line break: {broken[0]!r}')
        places = np.zeros(n, PLACE_DTYPE)
        if place_ids is None:
            places['place_id'] = np.uint64(self._next_id) + np.arange(n, dtype=np.uint64)
        else:
            places['place_id'] = place_ids
            if len(np.union1d(places['place_id'], self.places['place_id'])) < n + len(self):
                raise ValueError('an id was given to a place before: leave place_ids out')
        places['stamp_ns'] = stamps_ns
        places['position'] = np.nan if positions is None else positions
        places['orientation_xyzw'] = np.nan if orientations_xyzw is None else orientations_xyzw
        places['camera'] = 0 if cameras is None else cameras
        if (problem := _pose_problem(places)) is not None:
            raise ValueError(problem)
        self._index.add(descriptors)
        self._take(places, names)
        return places['place_id']

    def search(
        self, descriptor: np.ndarray, top_k: int, *, cameras: Collection[int] | None = None
    ) -> list[Match]:
        """Find the places that look most like a picture.

        Exact up to 8 million values (16,384 places of 512). In larger maps the similarities are
        exact, but a place can be missed: of the places that an exact search finds,
        `benchmarks/online_mapping.py` counts how many this one does (docs/benchmarks.md).
        `search_batch` is exact for any size.

        Args:
            descriptor: (D,) float32, unit norm.
            top_k: How many at most; a smaller map gives fewer.
            cameras: Numbers of the cameras whose places may be found; None: all.

        Returns:
            Matches, best first.

        Raises:
            ValueError: The descriptor has another shape or is not finite; top_k is below 1.
        """
        query = self._checked_query(descriptor)
        _check_top_k(top_k)
        rows, similarities = self._index.best(query, top_k, allowed=self._allowed(cameras))
        return [self.match(int(row), float(s)) for row, s in zip(rows, similarities, strict=True)]

    def similarities(
        self, descriptor: np.ndarray, *, cameras: Collection[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare a picture with all places; in a map where `search` is not exact, the best 1,000.

        Args:
            descriptor: (D,) float32, unit norm.
            cameras: Numbers of the cameras whose places are compared; None: all.

        Returns:
            Rows (M,) int64, ascending, and their cosine similarities (M,) float32.

        Raises:
            ValueError: The descriptor has another shape or is not finite.
        """
        query, allowed = self._checked_query(descriptor), self._allowed(cameras)
        if self._index.is_exact:
            return self._index.similarities(query, at_least=1, allowed=allowed)
        rows, similarities = self._index.best(query, _MOST_ALIKE, allowed=allowed)
        order = np.argsort(rows)
        return rows[order], similarities[order]

    def similarity(self, row: int, descriptor: np.ndarray) -> float:
        """Return the cosine similarity of one place and a picture (D,) float32."""
        return self._index.similarity(row, self._checked_query(descriptor))

    def search_batch(self, descriptors: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Search for Q pictures at once; exact inner product, whatever the size of the map.

        Args:
            descriptors: (Q, D) float32, unit norm.
            top_k: How many at most; k = min(top_k, N).

        Returns:
            Cosine similarities (Q, k) float32, best first, and rows (Q, k) int64.

        Raises:
            ValueError: As `search`.
        """
        _check_top_k(top_k)
        return self._index.search_batch(self._checked_queries(descriptors), min(top_k, len(self)))

    def prepare(self) -> None:
        """Do now what the first search of a large map would do (a second for 100,000 places)."""
        self._index.prepare()

    def save(
        self,
        directory: str | Path,
        *,
        dtype: str = 'float32',
        keyframes: str | Path | KeyframeFiles | None = None,
    ) -> None:
        """Write the map; a crash at any moment leaves the previous one intact.

        Args:
            directory: The map directory; replaced as a whole if it exists.
            dtype: `float32`, or `float16` at half the size.
            keyframes: What becomes `keyframes/`: the files of a folder, or of stores of
                keyframes; None keeps those of the directory this map was loaded from.

        Raises:
            ValueError: Another dtype.
            MapError: `directory` exists and is not a map.
            OSError: The disk is full or not writable; the previous map stays.
        """
        if dtype not in ('float32', 'float16'):
            raise ValueError(f'dtype must be float32 or float16, not {dtype!r}')
        target = Path(directory)
        if target.exists() and any(target.iterdir()) and not (target / MANIFEST).exists():
            raise MapError(f'{target} exists and is not a map: choose another folder or move it')
        if keyframes is None and self.directory is not None:
            keyframes = self.directory / KEYFRAMES
        with atomic_directory.replacing(target) as folder:
            _save_descriptors(
                folder / DESCRIPTORS,
                self._index.blocks(),
                (len(self), self.model.descriptor_size),
                np.dtype(dtype),
            )
            np.save(folder / PLACES, np.ascontiguousarray(self.places))
            (folder / IMAGES).write_text(_lines(self._images), encoding='utf-8')
            if isinstance(keyframes, (str, Path)):
                if Path(keyframes).is_dir():
                    atomic_directory.link_or_copy(Path(keyframes), folder / KEYFRAMES)
            elif keyframes is not None:
                keyframes.write_to(folder / KEYFRAMES)
            (folder / MANIFEST).write_text(self._manifest(folder), encoding='utf-8')
        self.directory = target

    @classmethod
    def load(
        cls, directory: str | Path, *, model: ModelRef | None = None, verify: bool = True
    ) -> PlaceMap:
        """Read a map; descriptors stay on disk, memory-mapped.

        Args:
            directory: The map directory.
            model: The model that will ask; None: any, for tools that only look.
            verify: Also compare the files with their hashes and every descriptor with norm 1. Of
                `keyframes/` that is the list of hashes: each keyframe is compared when it is
                read, and all by `verify_keyframes`.

        Raises:
            FileNotFoundError: No map there.
            MapError: A file is missing, truncated, edited or of another map; the text names it.
            MapModelMismatchError: The map was made by another model; the text names both.
        """
        folder = Path(directory)
        manifest = _read_manifest(folder)
        made_by = _model_of(manifest, folder)
        origin = _origin_of(manifest, folder)
        cameras = _cameras_of(manifest, folder)
        if model is not None and (model.sha256, model.descriptor_size) != (
            made_by.sha256,
            made_by.descriptor_size,
        ):
            raise MapModelMismatchError(
                f'{folder} was made by model {made_by.name} (sha256 {made_by.sha256[:12]}…, '
                f'{made_by.descriptor_size} values), not by {model.name} (sha256 '
                f'{model.sha256[:12]}…, {model.descriptor_size} values): use that model or '
                'build the map again with `vpr map build`'
            )
        if verify:
            _check_hashes(folder, _checked_at_load(manifest['files']))
        n = manifest['num_places']
        descriptors = _load_array(folder / DESCRIPTORS, mmap=n > 0)
        places = _load_array(folder / PLACES, mmap=False)
        images = _read_images(folder / IMAGES, n)
        _check_arrays(folder, descriptors, places, (n, made_by.descriptor_size), norms=verify)
        place_map = cls(made_by, frame_id=manifest['frame_id'], origin=origin)
        place_map.frame_uid = manifest.get('frame_uid')
        place_map.cameras = cameras
        place_map.created = manifest['created']
        place_map.directory = folder
        place_map.calibration = _calibration_of(manifest, folder)
        place_map._on_disk = descriptors
        place_map._take(places, images)
        if descriptors.dtype == np.float32:
            place_map._index.attach(np.ascontiguousarray(descriptors))
        else:
            for block in _blocks(descriptors):
                place_map._index.add(np.asarray(block, np.float32))
        return place_map

    def verify_keyframes(self) -> None:
        """Compare every file of `keyframes/` with its hash; reads all of them.

        Raises:
            MapError: One is missing or differs; the text names it.
        """
        if self.directory is None:
            return
        files = _read_manifest(self.directory)['files']
        _check_hashes(self.directory, files)  # maps of before SHA256SUMS name each keyframe
        check_folder(self.directory / KEYFRAMES)

    def _take(self, places: np.ndarray, images: Sequence[str]) -> None:
        """Note places whose descriptors the index has."""
        positions = np.concatenate([self.places['position'][-1:], places['position']])
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        if len(places) and not len(self):
            steps = np.concatenate([[math.nan], steps])
        self._steps_m.append(steps)
        self._num_positions += int(np.isfinite(places['position']).all(axis=1).sum())
        if len(places):
            self._next_id = max(self._next_id, int(places['place_id'].max()) + 1)
        self._places.append(places)
        self._images.extend(images)

    def _checked_query(self, descriptor: np.ndarray) -> np.ndarray:
        return self._checked_queries(descriptor[np.newaxis])[0]

    def _checked_queries(self, descriptors: np.ndarray) -> np.ndarray:
        queries = np.ascontiguousarray(descriptors, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.model.descriptor_size:
            raise ValueError(
                f'a query must have {self.model.descriptor_size} values for model '
                f'{self.model.name}, not {queries.shape[1:]}'
            )
        if not np.isfinite(queries).all():
            raise ValueError('a query descriptor holds NaN or infinity')
        return queries

    def _allowed(self, cameras: Collection[int] | None) -> np.ndarray | None:
        """Mark the places of some cameras; None: those of all."""
        if cameras is None:
            return None
        allowed = np.isin(self.places['camera'], list(cameras))
        return None if allowed.all() else allowed

    def match(self, row: int, similarity: float) -> Match:
        """Return a place as a match of this similarity."""
        place = self.places[row]
        return Match(
            row=row,
            place_id=int(place['place_id']),
            similarity=similarity,
            stamp_ns=int(place['stamp_ns']),
            image=self._images[row],
            position=place['position'].copy(),
            orientation_xyzw=place['orientation_xyzw'].copy(),
            camera=int(place['camera']),
        )

    def _manifest(self, folder: Path) -> str:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        keyframes = folder / KEYFRAMES
        if keyframes.is_dir():
            write_checksums(keyframes, read_checksums(keyframes))
            files.append(keyframes / CHECKSUMS)
        manifest = {
            'schema_version': SCHEMA_VERSION,
            'frame_id': self.frame_id,
            **({} if self.frame_uid is None else {'frame_uid': self.frame_uid}),
            **({} if self.origin is None else {'origin': asdict(self.origin)}),
            **({'cameras': [c.to_json() for c in self.cameras]} if self.cameras else {}),
            'created': self.created,
            'model': {
                'name': self.model.name,
                'sha256': self.model.sha256,
                'descriptor_size': self.model.descriptor_size,
            },
            'num_places': len(self),
            **({} if self.calibration is None else {'calibration': asdict(self.calibration)}),
            'files': {str(p.relative_to(folder)): {'sha256': file_sha256(p)} for p in files},
        }
        return json.dumps(manifest, indent=2) + '\n'


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        raise ValueError(f'top_k must be at least 1, not {top_k}')


def _blocks(descriptors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(descriptors), _CHECK_ROWS):
        yield descriptors[start : start + _CHECK_ROWS]


def _save_descriptors(
    path: Path, pieces: Iterable[np.ndarray], shape: tuple[int, int], dtype: np.dtype
) -> None:
    """Write what `numpy.save` would, without a copy of all in another dtype."""
    header = {'descr': dtype.str, 'fortran_order': False, 'shape': shape}
    with path.open('wb') as file:
        npy.write_array_header_1_0(file, header)
        for piece in pieces:
            for block in _blocks(piece):
                file.write(np.ascontiguousarray(block, dtype).data)


def _lines(names: Sequence[str]) -> str:
    return ''.join(f'{name}\n' for name in names) if any(names) else ''


def _norm_problem(descriptors: np.ndarray) -> str | None:
    for start, block in enumerate(_blocks(descriptors)):
        norms = np.linalg.norm(np.asarray(block, np.float32), axis=1)
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= _UNIT_NORM_TOLERANCE))
        if len(wrong):
            row = start * _CHECK_ROWS + wrong[0]
            return f'descriptor {row} has norm {norms[wrong[0]]:.4g}, not 1'
    return None


def _pose_problem(places: np.ndarray) -> str | None:
    if np.isinf(places['position']).any():
        return f'position {places["place_id"][np.isinf(places["position"]).any(1)][0]} is infinite'
    norms = np.linalg.norm(places['orientation_xyzw'], axis=1)
    wrong = np.isfinite(norms) & (np.abs(norms - 1) > _UNIT_NORM_TOLERANCE)
    if wrong.any() or np.isinf(norms).any():
        place = places['place_id'][wrong | np.isinf(norms)][0]
        return f'orientation of place {place} is not a unit quaternion (x, y, z, w)'
    return None


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        rescued = atomic_directory.previous_of(folder)
        hint = f'; an interrupted save left the previous map at {rescued}' if rescued else ''
        raise FileNotFoundError(f'no map at {folder} ({MANIFEST} is missing){hint}')
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise MapError(f'{path} is not JSON: {error}') from error
    if not isinstance(manifest, dict) or 'schema_version' not in manifest:
        raise MapError(f'{path} has no schema_version: not a vpr_ros map')
    if manifest['schema_version'] != SCHEMA_VERSION:
        raise MapError(
            f'{path} has schema {manifest["schema_version"]!r}, this vpr_ros reads '
            f'{SCHEMA_VERSION!r}: build the map again or update vpr_ros'
        )
    kinds = {'frame_id': str, 'created': str, 'model': dict, 'num_places': int, 'files': dict}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise MapError(f'{path}: {key!r} must be of type {kind.__name__}')
    if not isinstance(manifest.get('frame_uid', ''), str):
        raise MapError(f'{path}: frame_uid must be a text, not {manifest["frame_uid"]!r}')
    if manifest['num_places'] < 0:
        raise MapError(f'{path}: num_places is {manifest["num_places"]}')
    return manifest


def _model_of(manifest: Mapping[str, Any], folder: Path) -> ModelRef:
    model = manifest['model']
    kinds = {'name': str, 'sha256': str, 'descriptor_size': int}
    if {key: type(model.get(key)) for key in kinds} != kinds or model['descriptor_size'] < 1:
        raise MapError(f'{folder / MANIFEST}: model must hold name, sha256 and descriptor_size')
    return ModelRef(**{key: model[key] for key in kinds})


def _origin_of(manifest: Mapping[str, Any], folder: Path) -> GeodeticOrigin | None:
    origin = manifest.get('origin')
    if origin is None:
        return None
    path, keys = folder / MANIFEST, ('latitude_deg', 'longitude_deg', 'altitude_m')
    if not isinstance(origin, dict):
        raise MapError(f'{path}: origin must be an object of {", ".join(keys)}, not {origin!r}')
    for key in keys:
        if type(origin.get(key)) not in (int, float):
            raise MapError(f'{path}: origin: {key} must be a number, not {origin.get(key)!r}')
    try:
        return GeodeticOrigin(*(float(origin[key]) for key in keys))
    except (ValueError, OverflowError) as error:
        raise MapError(f'{path}: origin: {error}') from error


def _cameras_of(manifest: Mapping[str, Any], folder: Path) -> tuple[MapCamera, ...]:
    try:
        return cameras_from_json(manifest.get('cameras', []))
    except ValueError as error:
        raise MapError(f'{folder / MANIFEST}: {error}') from error


def _calibration_of(manifest: Mapping[str, Any], folder: Path) -> MapCalibration | None:
    content = manifest.get('calibration')
    if content is None:
        return None
    try:
        return calibration_from_json(content)
    except ValueError as error:
        raise MapError(
            f'{folder / MANIFEST}: calibration: {error}; calibrate again with `vpr calibrate`'
        ) from error


def record_calibration(directory: str | Path, calibration: MapCalibration | None) -> None:
    """Write a threshold into the `map.json` of a saved map; all its other files stay untouched.

    Args:
        directory: The map directory.
        calibration: What to record; None: remove what was recorded.

    Raises:
        FileNotFoundError: No map there.
        MapError: It is none.
        OSError: It cannot be written; the map is as it was.
    """
    folder = Path(directory)
    manifest = _read_manifest(folder)
    manifest.pop('calibration', None)
    if calibration is not None:
        manifest['calibration'] = asdict(calibration)
    atomic_directory.replace_file(folder / MANIFEST, json.dumps(manifest, indent=2) + '\n')


def _checked_at_load(files: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the keyframes, which are many, but not the list of their hashes."""
    listed = f'{KEYFRAMES}/{CHECKSUMS}'
    return {
        name: entry
        for name, entry in files.items()
        if name == listed or not name.startswith(f'{KEYFRAMES}/')
    }


def _check_hashes(folder: Path, files: Mapping[str, Any]) -> None:
    for name in (DESCRIPTORS, PLACES, IMAGES):
        if name not in files:
            raise MapError(f'{folder / MANIFEST} holds no hash of {name}')
    for name, entry in files.items():
        path = folder / name
        if folder.resolve() not in path.resolve().parents:
            raise MapError(f'{folder / MANIFEST} names {name!r}, a file outside the map')
        if not path.is_file():
            raise MapError(f'{path} is missing: copy the map again or rebuild it')
        sha256 = entry.get('sha256') if isinstance(entry, dict) else None
        check_file(path, sha256, file_sha256(path), listed_in=MANIFEST)


def _load_array(path: Path, *, mmap: bool) -> np.ndarray:
    try:
        return np.load(path, mmap_mode='r' if mmap else None, allow_pickle=False)
    except (ValueError, EOFError, FileNotFoundError) as error:
        raise MapError(f'{path} is not a whole NumPy array file: {error}') from error


def _read_images(path: Path, n: int) -> list[str]:
    try:
        names = path.read_text(encoding='utf-8').split('\n')[:-1]
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise MapError(f'{path} cannot be read: {error}') from error
    if len(names) not in (0, n):
        raise MapError(f'{path} has {len(names)} lines for {n} places')
    return names or [''] * n


def _check_arrays(
    folder: Path,
    descriptors: np.ndarray,
    places: np.ndarray,
    shape: tuple[int, int],
    *,
    norms: bool,
) -> None:
    if descriptors.dtype not in (np.float32, np.float16) or descriptors.shape != shape:
        raise MapError(
            f'{folder / DESCRIPTORS} is {descriptors.dtype} {descriptors.shape}, {MANIFEST} '
            f'promises float32 or float16 {shape}'
        )
    if places.dtype != PLACE_DTYPE or places.shape != shape[:1]:
        raise MapError(
            f'{folder / PLACES} is {places.dtype} {places.shape}, not {PLACE_DTYPE} {shape[:1]}'
        )
    if len(np.unique(places['place_id'])) != len(places):
        raise MapError(f'{folder / PLACES} gives one place_id twice')
    if (problem := _pose_problem(places)) is not None:
        raise MapError(f'{folder / PLACES}: {problem}')
    if norms and (problem := _norm_problem(descriptors)) is not None:
        raise MapError(f'{folder / DESCRIPTORS}: {problem}')
