# SPDX-License-Identifier: Apache-2.0
"""`vpr map info` and `vpr map verify`: look into maps."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vpr_ros.place_map import PlaceMap

_NS_PER_S = 1_000_000_000


def run_info(args: argparse.Namespace) -> int:
    """Print what a map is."""
    from vpr_ros.place_map import PlaceMap

    facts = _facts(PlaceMap.load(args.map, verify=False), args.map)
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    for line in _fact_lines(facts):
        print(line)
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Check a map; 1 if something does not hold."""
    from vpr_ros.errors import MapError
    from vpr_ros.extractor import read_model_info
    from vpr_ros.keyframe_store import store_of_map
    from vpr_ros.place_map import PlaceMap

    model = None if args.model is None else read_model_info(args.model).ref
    try:
        place_map = PlaceMap.load(args.map, model=model, verify=True)
        place_map.verify_keyframes()
        keyframes = store_of_map(place_map)
        if keyframes is not None:
            keyframes.check(len(place_map))
    except MapError as error:
        print(f'{args.map} does not hold: {error}')
        return 1
    print(f'{args.map} holds: {len(place_map)} places, every hash, shape and norm is right')
    return 0


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(child.stat().st_size for child in path.rglob('*') if child.is_file())


def megabytes(size: int) -> str:
    """Write a size for people."""
    return f'{size / 1e6:.1f} MB' if size >= 1e5 else f'{size / 1e3:.1f} kB'


def _facts(place_map: PlaceMap, directory: Path) -> dict[str, Any]:
    import numpy as np

    places = place_map.places
    stamps = places['stamp_ns']
    extent = None
    if place_map.has_poses:
        extent = np.ptp(places['position'], axis=0).round(3).tolist()
    return {
        'directory': str(directory),
        'places': len(place_map),
        'poses': place_map.has_poses,
        'extent_m': extent,
        'spacing_m': None if math.isnan(place_map.spacing_m) else round(place_map.spacing_m, 3),
        'frame_id': place_map.frame_id,
        'frame_uid': place_map.frame_uid,
        'origin': None if place_map.origin is None else asdict(place_map.origin),
        'first_stamp_s': int(stamps.min()) / _NS_PER_S if len(stamps) else None,
        'last_stamp_s': int(stamps.max()) / _NS_PER_S if len(stamps) else None,
        'cameras': len(np.unique(places['camera'])),
        'calibrations': [camera.to_json() for camera in place_map.cameras],
        'features': _feature_facts(place_map),
        'model': place_map.model.name,
        'model_sha256': place_map.model.sha256,
        'descriptor_size': place_map.model.descriptor_size,
        'descriptor_type': str(place_map.descriptors.dtype),
        'created': place_map.created,
        'bytes': {
            child.name: size_of(child)
            for child in sorted(directory.iterdir(), key=lambda p: p.name)
        },
    }


def _feature_facts(place_map: PlaceMap) -> dict[str, Any] | None:
    from vpr_ros.keyframe_store import store_of_map

    keyframes = store_of_map(place_map)
    if keyframes is None or len(keyframes) == 0:
        return None
    index = keyframes.index
    first = keyframes.keyframe(int(index['row'][0]))
    assert first is not None  # the index names it
    landmarks = index['num_landmarks']
    return {
        'kind': first.features.kind,
        'places': len(index),
        'mean_features': round(float(index['num_features'].mean()), 1),
        'places_with_landmarks': int((landmarks > 0).sum()),
        'mean_landmarks': round(float(landmarks.clip(0).mean()), 1),
        'bytes_per_place': round(keyframes.num_bytes / len(index)),
    }


def _camera_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for camera in facts['calibrations']:
        lens, pose = camera['intrinsics'], camera['body_from_camera']
        size = 'not known' if lens is None else f'of {lens["width"]}x{lens["height"]} pictures'
        at = 'not known' if pose is None else ' '.join(f'{value:g}' for value in pose)
        lines.append(f'camera {camera["number"]:<4} intrinsics {size}; mounting {at}')
    features = facts['features']
    if features is None:
        return [*lines, 'features    none: nothing can be verified by geometry']
    return [
        *lines,
        f'features    {features["kind"]} of {features["places"]} places, '
        f'{features["mean_features"]:.0f} each, {megabytes(features["bytes_per_place"])} a place',
        f'landmarks   in {features["places_with_landmarks"]} places, '
        f'{features["mean_landmarks"]:.0f} each: there pictures are verified in metres',
    ]


def _fact_lines(facts: dict[str, Any]) -> list[str]:
    extent = 'none (their order is the truth)'
    if facts['poses']:
        sides = ' x '.join(f'{side:.1f}' for side in facts['extent_m'])
        extent = f'known, in frame {facts["frame_id"]}; {sides} m, {facts["spacing_m"]} m apart'
    files = ', '.join(f'{name} {megabytes(size)}' for name, size in facts['bytes'].items())
    zero = []
    if (origin := facts['origin']) is not None:
        zero.append(
            f'zero        {origin["latitude_deg"]:.8f} {origin["longitude_deg"]:.8f} '
            f'{origin["altitude_m"]:.3f} (latitude, longitude, altitude; WGS 84)'
        )
    return [
        f'map         {facts["directory"]}',
        f'places      {facts["places"]}, {facts["cameras"]} camera(s)',
        f'poses       {extent}',
        *zero,
        *_camera_lines(facts),
        f'stamps      {facts["first_stamp_s"]} to {facts["last_stamp_s"]} s',
        f'model       {facts["model"]} (sha256 {facts["model_sha256"]})',
        f'descriptors {facts["descriptor_size"]} x {facts["descriptor_type"]}',
        f'created     {facts["created"]}',
        f'on disk     {megabytes(sum(facts["bytes"].values()))}: {files}',
    ]
