# SPDX-License-Identifier: Apache-2.0
"""Build a map: pictures in, places out.

A thread reads, chooses, decodes and resizes pictures while the network runs on the batch before.
Every finished batch is kept in `MAP.partial`, so that an interrupted build goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.errors import MapError, SourceError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.frames import Source
from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.landmarks import find_landmarks
from vpr_ros.place_map import MANIFEST, PlaceMap
from vpr_ros.place_reader import (
    NO_FEATURES,
    BuildOptions,
    NewPlace,
    PlaceReader,
    UnreadablePictureError,
)
from vpr_ros.pose_lookup import PoseLookup
from vpr_ros.prefetch import Prefetcher
from vpr_ros.spool import Spool, partial_of

__all__ = [
    'BuildOptions',
    'BuildReport',
    'Progress',
    'UnreadablePictureError',
    'build_map',
    'check_target',
    'partial_of',
]

_BATCHES_AHEAD = 2
_MAY_CHANGE = ('batch_size', 'origin')  # while a build is interrupted; the poses tell the origin

# Pictures looked at, places found, places whose features were given a depth, all so far.
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class BuildReport:
    """What became of the pictures.

    Attributes:
        place_map: The finished map, as saved.
        pictures: (N,) int64, index in the source of the picture that became each place.
        num_frames: Pictures in the source.
        dropped: Pictures that were wanted but could not be used, by reason.
        num_resumed: Places that an earlier, interrupted build had done.
        num_with_landmarks: Places that a picture can be located by in metres.
        seconds: Duration of this run.
    """

    place_map: PlaceMap
    pictures: np.ndarray
    num_frames: int
    dropped: Counter[str]
    num_resumed: int
    num_with_landmarks: int
    seconds: float

    @property
    def length_m(self) -> float:
        """Length of the way through the places, metres; NaN without poses."""
        if not self.place_map.has_poses:
            return math.nan
        steps = np.diff(self.place_map.places['position'], axis=0)
        return float(np.linalg.norm(steps, axis=1).sum())


def build_map(
    source: Source,
    extractor: DescriptorExtractor,
    directory: str | Path,
    *,
    poses: PoseLookup | None = None,
    options: BuildOptions | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """Build a map and save it.

    Args:
        source: The pictures, in order.
        extractor: The model.
        directory: Where the map goes; links are followed.
        poses: Where the pictures were taken; None: not known, their order is the truth.
        options: How to choose and keep pictures.
        resume: Go on with an interrupted build of the same map; False: start over.
        overwrite: Replace a map that is there already.
        progress: Is told from time to time how far the build is.

    Returns:
        The map and what became of the pictures.

    Raises:
        MapError: There is a map already, or an unfinished one of another build, or no map can be
            there.
        UnreadablePictureError: A picture is damaged and must not be left out.
        SourceError: The source or a pose cannot be read, or no picture became a place.
        OSError: The disk is full or not writable.
    """
    begin = time.monotonic()
    directory = Path(directory).resolve()
    options = options or BuildOptions()
    check_target(directory, overwrite=overwrite)
    model = extractor.info.ref
    build = {
        'source': source.fingerprint(),
        'poses': poses.fingerprint() if poses else 'none',
        'model': asdict(model),
        'cameras': [camera.to_json() for camera in options.cameras],
        'options': {
            name: getattr(options, name)
            for name in options.__dataclass_fields__
            if name not in (*_MAY_CHANGE, 'cameras')
        },
    }
    with Spool(directory, build, size=model.descriptor_size, resume=resume) as spool:
        num_resumed = len(spool)
        keyframes = KeyframeStore(spool.keyframes)
        reader = PlaceReader(
            source,
            poses,
            options,
            prepare=extractor.info.preprocess,
            done=spool.indices,
            keyframes=keyframes,
        )

        def tell(num_places: int, num_done: int = 0) -> None:
            if progress is not None:
                progress(reader.num_frames, num_places, num_done)

        with Prefetcher(reader.places(), _BATCHES_AHEAD * options.batch_size) as ahead:
            places = _describe(ahead, extractor, spool, options.batch_size, tell)
        if not places:
            raise SourceError(reader.explain_no_place())
        num_with_landmarks = find_landmarks(keyframes, partial(tell, len(places)))
        place_map = _assemble(places, spool, extractor, options)
        keeps_files = options.picture_height > 0 or options.features != NO_FEATURES
        place_map.save(directory, keyframes=keyframes if keeps_files else None)
        spool.discard()
    return BuildReport(
        place_map=place_map,
        pictures=np.array([place.index for place in places], np.int64),
        num_frames=reader.num_frames,
        dropped=reader.dropped,
        num_resumed=num_resumed,
        num_with_landmarks=num_with_landmarks,
        seconds=time.monotonic() - begin,
    )


def check_target(directory: Path, *, overwrite: bool) -> None:
    """Refuse now what saving would refuse at the end, and to pull the floor from under a shell.

    Raises:
        MapError: No map can be there.
    """
    current = Path.cwd()
    if directory == current or directory in current.parents:
        raise MapError(
            f'{directory} is the current folder or one around it, and a map replaces its folder '
            f'as a whole: name a folder of its own, such as {current / "map"}'
        )
    if (directory / MANIFEST).exists():
        if not overwrite:
            raise MapError(f'{directory} holds a map already; --overwrite replaces it')
    elif directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise MapError(f'{directory} exists and is not a map: choose another folder')


def _describe(
    ahead: Iterable[tuple[NewPlace, np.ndarray | None]],
    extractor: DescriptorExtractor,
    spool: Spool,
    batch_size: int,
    tell: Callable[[int], None],
) -> list[NewPlace]:
    """Run the network over what the spool lacks; return all places."""
    places: list[NewPlace] = []
    indices: list[int] = []
    rgbs: list[np.ndarray] = []

    def flush() -> None:
        if rgbs:
            spool.append(np.array(indices, np.int64), extractor.extract_batch(rgbs))
            indices.clear()
            rgbs.clear()

    for place, rgb in ahead:
        places.append(place)
        if rgb is not None:
            indices.append(place.index)
            rgbs.append(rgb)
        if len(rgbs) == batch_size:
            flush()
        tell(len(places))
    flush()
    tell(len(places))
    return places


def _assemble(
    places: Sequence[NewPlace],
    spool: Spool,
    extractor: DescriptorExtractor,
    options: BuildOptions,
) -> PlaceMap:
    place_map = PlaceMap(extractor.info.ref, frame_id=options.frame_id, origin=options.origin)
    place_map.cameras = options.cameras
    place_map.add(
        spool.descriptors,
        stamps_ns=np.array([place.stamp_ns for place in places], np.int64),
        positions=np.array([place.position for place in places]),
        orientations_xyzw=np.array([place.orientation_xyzw for place in places]),
        images=[place.name for place in places],
        cameras=np.array([place.camera for place in places], np.uint16),
    )
    return place_map
