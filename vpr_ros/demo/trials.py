# SPDX-License-Identifier: Apache-2.0
"""What the demo can try: its own town, two folders of pictures, or a bag against a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.bags import Bag
from vpr_ros.cameras import Calibration, MapCamera
from vpr_ros.demo.plan import Town
from vpr_ros.demo.record import (
    BODY_FROM_CAMERA,
    CAMERA_INFO_TOPIC,
    IMAGE_TOPIC,
    ODOMETRY_TOPIC,
    TRUTH_TOPIC,
    make_laps,
    record_lap,
)
from vpr_ros.demo.renderer import Camera
from vpr_ros.demo.sequence import paint_town
from vpr_ros.demo.town import make_town
from vpr_ros.errors import SourceError
from vpr_ros.evaluation.truth import PositivesByPose, Track, positives_by_order
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_lookup import PosesByTime
from vpr_ros.sources import BagSource, PictureFolder, Source
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import DEFAULT_FEATURES

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
        positives: True map rows of every picture, None for one whose place is unknown; None: no
            truth at all.
        truth: What counts as true, or why that is not known, for people.
        track: Where the pictures were taken; None: not known.
        town: The rendered world, if it is one.
    """

    title: str
    source: Source
    rate_hz: float | None
    place_map: PlaceMap
    positives: Sequence[np.ndarray | None] | None
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
    camera, bags = camera or Camera(), []
    for lap in make_laps(town, spacing_m=spacing_m):
        path = out / f'lap_{lap.number}'
        what = f'rendering lap {lap.number} ({lap.light.name})'
        record_lap(town, painted, lap, camera, path, partial(progress, what))
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
        options=BuildOptions(
            min_distance_m=MAP_SPACING_M,
            min_angle_deg=10.0,
            features=DEFAULT_FEATURES,
            cameras=(_map_camera(camera),),
        ),
        progress=_map_progress(progress, bags[0]),
    )
    track = _track_of(bags[1], TRUTH_TOPIC)
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
        options=BuildOptions(features=DEFAULT_FEATURES),
        progress=_map_progress(progress, references),
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
        positives=positives_by_order(queries.num_frames, references.num_frames, tolerance),
        truth=f'the right place is picture i of the map, give or take {tolerance}',
    )


def bag_trial(
    bag: Path,
    map_directory: Path,
    extractor: DescriptorExtractor,
    *,
    topic: str | None = None,
    stamps: str = 'header',
    truth_topic: str | None = None,
) -> Trial:
    """A bag against a map.

    Args:
        bag: Its pictures are the queries.
        map_directory: The map.
        extractor: The map's model.
        topic: Topic of the pictures; None: the only one there is.
        stamps: `header` or `record`, as in `Bag`.
        truth_topic: Topic whose poses are in the map's frame; None: the ground truth of a bag of
            the demo's own, and no truth in any other. Two recordings seldom share a frame.

    Raises:
        SourceError: No such topic, or nothing can be judged by `truth_topic`.
    """
    source = BagSource(bag, topic=topic, stamps=stamps)
    place_map = PlaceMap.load(map_directory, model=extractor.info.ref)
    track, truth = None, "whether poses of the bag are in the map's frame: --truth-topic TOPIC"
    if truth_topic is not None and not place_map.has_poses:
        raise SourceError(
            f'{map_directory} has no positions that poses of {truth_topic} in {bag} could be '
            'compared with: build the map with poses'
        )
    if truth_topic is None and place_map.has_poses and _is_own(source):
        truth_topic = TRUTH_TOPIC
    if truth_topic is not None:
        track, truth = _track_of(source, truth_topic), _truth_by_pose()
    return Trial(
        title=f'map {map_directory}, queries {bag}',
        source=source,
        rate_hz=None,
        place_map=place_map,
        positives=None if track is None else _positives(track, place_map),
        truth=truth,
        track=track,
    )


def _map_camera(camera: Camera) -> MapCamera:
    calibration = Calibration(Intrinsics(camera.matrix), camera.width, camera.height)
    return MapCamera(0, calibration, BODY_FROM_CAMERA)


def _map_progress(progress: Progress, source: Source) -> Callable[[int, int, int], None]:
    def tell(num_frames: int, num_places: int, num_done: int) -> None:
        if num_done:
            progress('places given depth', num_done, num_places)
        else:
            progress('building the map', num_frames, source.num_frames)

    return tell


def _track_of(source: BagSource, topic: str) -> Track:
    """Where each picture was taken, by the poses of a topic."""
    poses = source.poses(topic)
    assert poses is not None  # a topic that was named is there
    if poses.origin is not None:
        raise SourceError(
            f'{source.path}: the zero of {topic} is its own first fix, not that of the map: name '
            "a topic of poses in the map's frame"
        )
    stamps = np.array([frame.stamp_ns for frame in source.frames()], np.int64)
    track = Track(*poses.trajectory.at(stamps, max_gap_s=_MAX_POSE_GAP_S))
    if not np.isfinite(track.positions).all(axis=1).any():
        raise SourceError(
            f'{source.path}: {topic} has a pose at the time of no picture of {source.topic.name}; '
            'do their stamps come from one clock? `--stamps record` takes the time of recording'
        )
    return track


def _is_own(source: BagSource) -> bool:
    """Whether the demo recorded the bag: no other has just these topics."""
    with Bag(source.path) as bag:
        return bag.topics.keys() == {IMAGE_TOPIC, CAMERA_INFO_TOPIC, ODOMETRY_TOPIC, TRUTH_TOPIC}


def _positives(track: Track, place_map: PlaceMap) -> list[np.ndarray | None]:
    places = Track(place_map.places['position'], place_map.places['orientation_xyzw'])
    return list(PositivesByPose(track, places, within_m=WITHIN_M, within_deg=WITHIN_DEG))


def _truth_by_pose() -> str:
    return f'a place within {WITHIN_M:g} m and {WITHIN_DEG:g} degrees of the picture is right'
