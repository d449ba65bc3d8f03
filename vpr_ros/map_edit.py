# SPDX-License-Identifier: Apache-2.0
"""Maps made of maps: several in one, or a part of one. What was is never changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr_ros.cameras import MapCamera
from vpr_ros.errors import MapError, MapModelMismatchError
from vpr_ros.keyframe_pictures import picture_name
from vpr_ros.keyframe_store import KeyframePart, KeyframeStore, write_keyframes
from vpr_ros.keyframes import KeyframeSelector
from vpr_ros.place_map import KEYFRAMES, PlaceMap


@dataclass(frozen=True)
class Cut:
    """Which places of a map stay.

    Attributes:
        begin_s: Stamp of the first, seconds.
        end_s: Stamp of the last, seconds.
        min_distance_m: Thin out: the next place of a camera at so many metres, 0: all stay.
        min_angle_deg: Or where it turned so far, degrees.
    """

    begin_s: float = -math.inf
    end_s: float = math.inf
    min_distance_m: float = 0.0
    min_angle_deg: float = 20.0

    def rows(self, place_map: PlaceMap) -> list[int]:
        """Return the rows that stay.

        Raises:
            MapError: The places are to be thinned out by distance and have no poses.
        """
        places = place_map.places
        if self.min_distance_m > 0 and not place_map.has_poses:
            raise MapError('a map without poses cannot be thinned out by distance')
        selectors: dict[int, KeyframeSelector] = {}
        kept = []
        for row, place in enumerate(places):
            if not self.begin_s <= place['stamp_ns'] / 1e9 <= self.end_s:
                continue
            if self.min_distance_m > 0:
                selector = selectors.setdefault(
                    int(place['camera']),
                    KeyframeSelector(
                        min_distance_m=self.min_distance_m, min_angle_deg=self.min_angle_deg
                    ),
                )
                pose = place['position'], place['orientation_xyzw']
                if not selector.wants(*pose):
                    continue
                selector.remember(*pose)
            kept.append(row)
        return kept


def merge_maps(maps: Sequence[PlaceMap], directory: str | Path) -> PlaceMap:
    """Write the places of several maps as one map, in their order; places get new ids.

    Keyframes of two maps stay of two drives: their poses give no common depth. What `vpr
    calibrate` recorded in them is left out: it is of the places of one.

    Args:
        maps: Of one model, with poses in one frame; those without any fit all.
        directory: Where the new map goes.

    Returns:
        The new map.

    Raises:
        MapModelMismatchError: Two maps are of two models.
        MapError: Two maps have poses in two frames, or a keyframe is missing.
        OSError: The disk is full or not writable.
    """
    first = maps[0]
    for other in maps[1:]:
        _check_alike(first, other)
    merged = PlaceMap(first.model, frame_id=first.frame_id, origin=first.origin)
    merged.frame_uid = _common_frame_uid(maps)
    merged.cameras = _joined_cameras(maps)
    parts = []
    for place_map in maps:
        new_rows = {row: len(merged) + row for row in range(len(place_map))}
        parts.append(KeyframePart(_store_of(place_map), new_rows))
        add_rows(merged, place_map, new_rows, keep_ids=False)
    merged.save(directory, dtype=first.descriptors.dtype.name, keyframes=_Parts(parts))
    return merged


def trim_map(place_map: PlaceMap, rows: Sequence[int], directory: str | Path) -> PlaceMap:
    """Write some places of a map as a map of their own; they keep their ids and landmarks.

    What `vpr calibrate` recorded stays, too.

    Args:
        place_map: The map.
        rows: Of the places that stay, in their order.
        directory: Where the new map goes.

    Returns:
        The new map.

    Raises:
        MapError: No place would stay, or a keyframe is missing.
        OSError: The disk is full or not writable.
    """
    if not rows:
        raise MapError(f'none of the {len(place_map)} places would stay')
    trimmed = PlaceMap(place_map.model, frame_id=place_map.frame_id, origin=place_map.origin)
    trimmed.frame_uid = place_map.frame_uid
    trimmed.cameras = place_map.cameras
    trimmed.calibration = place_map.calibration  # fewer places to mistake for one another
    new_rows = {row: new_row for new_row, row in enumerate(rows)}
    add_rows(trimmed, place_map, new_rows, keep_ids=True)
    trimmed.save(
        directory,
        dtype=place_map.descriptors.dtype.name,
        keyframes=_Parts([KeyframePart(_store_of(place_map), new_rows)]),
    )
    return trimmed


@dataclass(frozen=True)
class _Parts:
    """Stores and what their rows become, as `PlaceMap.save` asks for it."""

    parts: Sequence[KeyframePart]

    def write_to(self, folder: Path) -> None:
        write_keyframes(folder, self.parts)


def _store_of(place_map: PlaceMap) -> KeyframeStore:
    if place_map.directory is None:
        raise MapError('a map that is only in memory has no keyframes on disk: save it first')
    return KeyframeStore(place_map.directory / KEYFRAMES, read_only=True)


def add_rows(
    target: PlaceMap, source: PlaceMap, new_rows: Mapping[int, int], *, keep_ids: bool
) -> None:
    """Add places of one map to another.

    Args:
        target: Grows.
        source: Stays as it is.
        new_rows: Rows of `source`, in the order in which they are added, and what they become.
        keep_ids: Whether they keep their ids; `target` must not have them then.
    """
    rows = list(new_rows)
    places = source.places[rows]
    target.add(
        source.descriptors[rows],
        stamps_ns=places['stamp_ns'],
        positions=places['position'],
        orientations_xyzw=places['orientation_xyzw'],
        images=[_renamed(source.images[row], row, new_rows[row]) for row in rows],
        cameras=places['camera'],
        place_ids=places['place_id'] if keep_ids else None,
    )


def _renamed(image: str, row: int, new_row: int) -> str:
    return picture_name(new_row) if image == picture_name(row) else image


def _check_alike(first: PlaceMap, other: PlaceMap) -> None:
    if other.model != first.model:
        raise MapModelMismatchError(
            f'{first.directory} was made by model {first.model.name} (sha256 '
            f'{first.model.sha256[:12]}…), {other.directory} by {other.model.name} (sha256 '
            f'{other.model.sha256[:12]}…): build one of them again'
        )
    if (first.frame_id, first.origin) != (other.frame_id, other.origin):
        raise MapError(
            f'the poses of {first.directory} are in frame {first.frame_id!r} (zero: '
            f'{first.origin}), those of {other.directory} in {other.frame_id!r} (zero: '
            f'{other.origin}): build one of them again with --frame-id and --origin of the other'
        )


def _common_frame_uid(maps: Sequence[PlaceMap]) -> str | None:
    placed = [place_map for place_map in maps if place_map.num_positions]
    for other in placed[1:]:
        if other.frame_uid != placed[0].frame_uid:
            raise MapError(
                f'the poses of {placed[0].directory} and of {other.directory} are in two frames, '
                f'though both are called {other.frame_id!r}: what is learnt on a drive begins '
                f'where the drive began; play the second drive again with mode:=both '
                f'map:={placed[0].directory} and call ~/save_map, which joins them'
            )
    return placed[0].frame_uid if placed else None


def _joined_cameras(maps: Sequence[PlaceMap]) -> tuple[MapCamera, ...]:
    """Return what all maps say of a camera; where two differ, it is not known."""
    joined: dict[int, MapCamera] = {}
    for camera in (camera for place_map in maps for camera in place_map.cameras):
        known = joined.setdefault(camera.number, camera)
        if known.to_json() != camera.to_json():
            joined[camera.number] = MapCamera(camera.number)
    return tuple(joined[number] for number in sorted(joined))
