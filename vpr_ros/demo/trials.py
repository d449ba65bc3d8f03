# SPDX-License-Identifier: Apache-2.0
"""What the demo can try: its own town, two folders of pictures, or a bag against a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros import evaluation
from vpr_ros.demo.plan import Town
from vpr_ros.demo.record import ODOMETRY_TOPIC, TRUTH_TOPIC, make_laps, record_lap
from vpr_ros.demo.renderer import Camera
from vpr_ros.demo.scoring import Track, positives_by_pose
from vpr_ros.demo.sequence import paint_town
from vpr_ros.demo.town import make_town
from vpr_ros.errors import SourceError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_lookup import PosesByTime
from vpr_ros.sources import BagSource, PictureFolder, Source

WITHIN_M, WITHIN_DEG = 15.0, 30.0  # stricter than the field's usual 25 m
MAP_SPACING_M = 1.0
_MAX_GAP_S = 0.5
_MAX_POSE_GAP_S = 1.0
Progress = Callable[[str, int, int], None]  # what, done, of how many (0: not known)


@dataclass(frozen=True)
class Trial:
    """A map, pictures to recognise against it, and the truth if it is known.

    Attributes:
        title: One line.
        source: The pictures, to be played.
        rate_hz: Pictures a second; None: as the source's stamps say.
        place_map: The map, saved in a directory.
        positives: True map rows of every picture; None: not known.
        truth: What counts as true, for people.
        track: Where the pictures were taken; None: not known.
        town: The rendered world, if it is one.
    """

    title: str
    source: Source
    rate_hz: float | None
    place_map: PlaceMap
    positives: Sequence[np.ndarray] | None
    truth: str
    track: Track | None = None
    town: Town | None = None

    @property
    def map_directory(self) -> Path:
        """Where the map lies."""
        assert self.place_map.directory is not None  # saved or loaded by whoever made the trial
        return self.place_map.directory


def town_trial(
    out: Path,
    extractor: DescriptorExtractor,
    *,
    progress: Progress,
    spacing_m: float = 1.0,
    camera: Camera | None = None,
    seed: int = 0,
) -> Trial:
    """Render both laps into bags below `out` and build a map from the first."""
    town = make_town(seed)
    progress('painting the town', 0, 0)
    painted = paint_town(town)
    bags = []
    for lap in make_laps(town, spacing_m=spacing_m):
        path = out / f'lap_{lap.number}'
        what = f'rendering lap {lap.number} ({lap.light.name})'
        record_lap(town, painted, lap, camera or Camera(), path, partial(progress, what))
        bags.append(BagSource(path))
    poses = bags[0].poses(TRUTH_TOPIC)
    assert poses is not None  # it was just written
    report = build_map(
        bags[0],
        extractor,
        out / 'map',
        overwrite=True,
        resume=False,
        poses=PosesByTime(poses.trajectory, max_gap_s=_MAX_GAP_S),
        options=BuildOptions(min_distance_m=MAP_SPACING_M, min_angle_deg=10.0),
        progress=lambda done, _: progress('building the map', done, bags[0].num_frames),
    )
    track = _track_of(bags[1], TRUTH_TOPIC)
    assert track is not None  # it was just written
    return Trial(
        title=f'a rendered town of {len(town.houses)} houses, seed {seed}: map by day, queries in '
        'the evening, 0.5 to 1.1 m further left, other cars and people',
        source=bags[1],
        rate_hz=None,
        place_map=report.place_map,
        positives=_positives(track, report.place_map),
        truth=_truth_by_pose(),
        track=track,
        town=town,
    )


def folder_trial(
    reference: Path,
    query: Path,
    out: Path,
    extractor: DescriptorExtractor,
    *,
    tolerance: int,
    rate_hz: float,
    progress: Progress,
) -> Trial:
    """Two drives along one way as folders: pictures of one number show one place."""
    references, queries = PictureFolder(reference), PictureFolder(query)
    report = build_map(
        references,
        extractor,
        out / 'map',
        overwrite=True,
        resume=False,
        progress=lambda done, _: progress('building the map', done, references.num_frames),
    )
    if len(report.place_map) != references.num_frames:
        raise SourceError(
            f'only {len(report.place_map)} of {references.num_frames} pictures of {reference} '
            'became places, so that their order is no truth: remove the blank or damaged ones'
        )
    return Trial(
        title=f'map {reference}, queries {query}',
        source=queries,
        rate_hz=rate_hz,
        place_map=report.place_map,
        positives=evaluation.positives_by_order(
            queries.num_frames, references.num_frames, tolerance
        ),
        truth=f'the right place is picture i of the map, give or take {tolerance}',
    )


def bag_trial(bag: Path, map_directory: Path, extractor: DescriptorExtractor) -> Trial:
    """A bag against a map; poses of both, in one frame, are the truth where both have them."""
    source = BagSource(bag)
    place_map = PlaceMap.load(map_directory, model=extractor.info.ref)
    track = _track_of(source) if place_map.has_poses else None
    return Trial(
        title=f'map {map_directory}, queries {bag}',
        source=source,
        rate_hz=None,
        place_map=place_map,
        positives=None if track is None else _positives(track, place_map),
        truth=_truth_by_pose() if track else 'not known: bag and map do not both hold poses',
        track=track,
    )


def _track_of(source: BagSource, topic: str | None = None) -> Track | None:
    """Where each picture was taken; the demo's own truth is preferred to its odometry."""
    if topic is None:
        topic = _true_topic(source)
    poses = source.poses(topic)
    if poses is None:
        return None
    stamps = np.array([frame.stamp_ns for frame in source.frames()], np.int64)
    return Track(*poses.trajectory.at(stamps, max_gap_s=_MAX_POSE_GAP_S))


def _true_topic(source: BagSource) -> str | None:
    from vpr_ros.bags import Bag

    with Bag(source.path) as bag:
        own = {TRUTH_TOPIC, ODOMETRY_TOPIC} <= bag.topics.keys()
    return TRUTH_TOPIC if own else None


def _positives(track: Track, place_map: PlaceMap) -> list[np.ndarray]:
    places = Track(place_map.places['position'], place_map.places['orientation_xyzw'])
    return positives_by_pose(track, places, within_m=WITHIN_M, within_deg=WITHIN_DEG)


def _truth_by_pose() -> str:
    return f'a place within {WITHIN_M:g} m and {WITHIN_DEG:g} degrees of the picture is right'
