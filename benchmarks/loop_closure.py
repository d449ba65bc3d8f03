# SPDX-License-Identifier: Apache-2.0
"""Which loop closures can be trusted: vpr_ros and three simpler ways on the same pictures.

    python benchmarks/loop_closure.py [--json FILE] [--seeds N] [--sequences NAME ...] [--data DIR]
        [--unhurried]

The methods:

* vpr_ros: the whole road at its defaults; accepted is what is VERIFIED. Score: VERIFIED by
  features that agree, then what is seen from afar, the nearest first, then the rest by similarity;
  against a map without odometry the rest by the odds of the filter: probability of the place over
  that of being on the map at all.
* retrieval: the shipped model's most similar picture, accepted from the model's threshold.
* retrieval + sequence: the same, once the best matches of three pictures in succession lie within
  three pictures of one another.
* ORB words: tf-idf vectors of ORB features (`training/baselines.py`, words learned from ie_tower
  and gsv_cambridge); the score is the similarity over that to the picture before (Galvez-Lopez and
  Tardos, T-RO 2012), accepted from 0.6 by the same rule of three.

All may match any picture of the map, or of their own past as soon as it is 3 s old and 1 m behind
by odometry (vpr_ros: its keyframes). RedKitchen, fr1_desk and KITTI 03 have odometry made from the
truth, with the drift that the output states, another for every seed; the other sequences do not
depend on a seed. The town is that of `vpr demo`: lap one by day is the map, and lap two in the
evening turns off into streets that lap one never saw, one of them with Brick Lane's houses
(town_look_alike counts the pictures there); town_own_past is lap two against itself.
The sets without drives, which the shipped model learnt from: ie_tower, clips of floors that look
the same, every second picture is the map; webcams, every tenth picture of each camera is the map;
gsv_cambridge, one view of each place is the map, another asks for every second place.

A closure is false if the matched picture lies further than 0.5 m or 30 degrees from the query
(town: 15 m, 30 degrees, as in `vpr demo`; Gardens Point: two pictures either way; ie_tower:
another clip; webcams: another camera; gsv_cambridge: another place more than 25 m away). Recall:
of the pictures that revisit a place (RedKitchen 0.25 m and 15 degrees, fr1_desk 0.3 m and 20
degrees, more than 150 and 100 pictures apart; elsewhere all with a right picture in the map), the
share answered rightly above the score of the best false answer. Trajectory error: root mean square
after rigid alignment, by evo, of all poses of the odometry, before and after the pose graph at its
defaults with the accepted closures; those of the other methods say no more than that both pictures
show one place.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from pose_graph import RED_KITCHEN_HZ, errors_m, optimised, true_poses
from verification import TASKS, WITHIN_DEG, WITHIN_M, WITHIN_PICTURES

from training.baselines import WORDS, orb_words
from vpr_ros.benchmarks.retrieval import Describer
from vpr_ros.demo.record import drifting_odometry, make_laps, render_lap, views_of
from vpr_ros.demo.renderer import Camera, View
from vpr_ros.demo.route import Drive
from vpr_ros.demo.sequence import paint_town, views
from vpr_ros.demo.town import make_town
from vpr_ros.demo.trials import WITHIN_DEG as TOWN_WITHIN_DEG
from vpr_ros.demo.trials import WITHIN_M as TOWN_WITHIN_M
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.odometry import OdometryPose
from vpr_ros.online_map import MappingConfig
from vpr_ros.picture import Picture
from vpr_ros.picture_folder import PictureFolder, read_picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_files import read_poses
from vpr_ros.pose_graph.closure import Closure, Kind
from vpr_ros.pose_graph.simulation import Drift, drifted
from vpr_ros.pose_lookup import lookup_in_table
from vpr_ros.poses import NS_PER_S, Trajectory
from vpr_ros.recognizer import PlaceRecognizer, Recognition, RecognizerConfig, RelativePose, Status
from vpr_ros.resources import default_model
from vpr_ros.revisits import RevisitDetector
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import create_feature_extractor
from vpr_ros.verification.metric import Keyframe

HAND_HELD, CAR = (
    Drift(),
    Drift(
        scale=0.01,
        yaw_deg_per_m=0.02,
        tilt_deg_per_m=0.01,
        translation=0.02,
        yaw_deg=0.2,
        tilt_deg=0.1,
    ),
)
KITTI_HZ = 5  # every second picture of 10 Hz
GARDENS_HZ = 1
UNHURRIED_S = 60.0
TOWN_SPACING_M = 1.2  # as `vpr demo`
STREET_M = 25.0
EARTH_RADIUS_M = 6_371_000.0
TOWN_APART = 100  # pictures: further back than a street is long
WORDS_FROM = {'ie_tower': 20, 'gsv_cambridge': 50}  # set: every n-th of its pictures
WORDS_SHARE = 0.6  # of the similarity to the picture before
IN_SUCCESSION = 3  # pictures
FOLLOWS_WITHIN = 3  # pictures of the map, either way
MAX_GAP_S = 0.5
COLUMNS = (
    *('sequence', 'method', 'seed', 'accepted', 'false', 'recall_at_100_precision'),
    *('ate_before_m', 'ate_after_m', 'pictures', 'revisits', 'recall_of_accepted'),
)


@dataclass(frozen=True)
class Answer:
    """What a method says of one picture.

    Attributes:
        query: Number of the picture.
        match: Number of the picture that shows the same place.
        score: The higher the surer; -inf: not even a guess.
        accepted: Whether it counts as a loop closure at the method's defaults.
        relative: How the two cameras stand, if the method knows.
    """

    query: int
    match: int
    score: float
    accepted: bool
    relative: RelativePose | None = None


@dataclass
class Drives:
    """Pictures, described, with what is known of where they were taken.

    Attributes:
        pictures: With stamps and intrinsics.
        words: (N, W) float32, their ORB words.
        poses: (N, 4, 4) float64, camera to world, true; NaN: unknown.
    """

    pictures: list[Picture]
    words: np.ndarray
    poses: np.ndarray

    @property
    def descriptors(self) -> np.ndarray:
        """(N, D) float32."""
        found = [picture.descriptor for picture in self.pictures]
        assert all(descriptor is not None for descriptor in found)  # no picture is blank
        return np.array(found)

    @property
    def stamps_ns(self) -> np.ndarray:
        """(N,) int64."""
        return np.array([picture.stamp_ns for picture in self.pictures], np.int64)


@dataclass
class Scene:
    """Queries, what they are matched with, and the truth.

    Attributes:
        name: For the table.
        queries: The pictures.
        places: Pictures of the map; None: the queries' own past.
        right: (Q, P) bool, which matches are right.
        revisits: (Q,) bool, which queries ask for recall.
        truth: True poses in time, as fine as known; None: no odometry is made.
        drift: How odometry made from them errs.
        odometry: Odometry that is given; None: made, if there is a truth.
        also: Another name, and which queries (Q,) it counts.
    """

    name: str
    queries: Drives
    places: Drives | None
    right: np.ndarray
    revisits: np.ndarray
    truth: Trajectory | None = None
    drift: Drift = HAND_HELD
    odometry: Trajectory | None = None
    also: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def depends_on_seed(self) -> bool:
        """Whether odometry is made."""
        return self.truth is not None and self.odometry is None


# The pictures.


class Reader:
    """Reads the sequences."""

    def __init__(self, data: Path, extractor: DescriptorExtractor, words: Describer) -> None:
        """Take the folder of the sets and what describes pictures."""
        self.data = data
        self._words = words
        # Only its `describe` is used: pictures are described once for all methods and seeds.
        self._recognizer = PlaceRecognizer(
            extractor, PlaceMap(extractor.info.ref), local=create_feature_extractor()
        )
        self._known: dict[tuple[str, int | None], Drives] = {}

    def described(
        self, rgbs: Iterator[np.ndarray], stamps_ns: Sequence[int], camera: Intrinsics | None
    ) -> tuple[list[Picture], np.ndarray]:
        """Describe pictures by the model, by local features and by ORB words."""
        pictures, words = [], []
        for rgb, stamp_ns in zip(rgbs, stamps_ns, strict=True):
            picture = self._recognizer.describe(rgb, int(stamp_ns), intrinsics=camera)
            assert picture.features is not None  # found now, kept for every seed
            pictures.append(picture)
            words.append(self._words.extract_batch([rgb])[0])
        return pictures, np.array(words)

    def folder(
        self,
        name: str,
        hz: float | None,
        camera: Intrinsics | None = None,
        poses: str | None = None,
        limit: int | None = None,
    ) -> Drives:
        """Read a folder; `hz`: pictures a second where the names are no times."""
        if (name, limit) in self._known:
            return self._known[name, limit]
        source = PictureFolder(self.data / name)
        frames = list(source.frames())[:limit]
        stamps_ns = [
            frame.stamp_ns if hz is None else (frame.index + 1) * int(NS_PER_S // hz)
            for frame in frames
        ]
        matrices = np.full((len(frames), 4, 4), np.nan)
        if poses is not None:
            lookup = lookup_in_table(read_poses(self.data / poses), source, max_gap_s=0.1)
            for matrix, frame in zip(matrices, frames, strict=True):
                position, orientation = lookup.pose_of(frame)
                if np.isfinite(position).all() and np.isfinite(orientation).all():
                    matrix[:] = np.eye(4)
                    matrix[:3, :3] = Rotation.from_quat(orientation).as_matrix()
                    matrix[:3, 3] = position
        found = Drives(
            *self.described((frame.rgb for frame in frames), stamps_ns, camera), matrices
        )
        self._known = {(name, limit): found} if poses else {**self._known, (name, limit): found}
        return found

    def handheld(self, name: str, limit: int | None) -> Scene:
        """RedKitchen and fr1_desk: their own past."""
        is_kitchen = name == 'red_kitchen'
        task = next(task for task in TASKS if task.name == f'{name}_own_past')
        hz = RED_KITCHEN_HZ if is_kitchen else None
        drives = self.folder(task.queries, hz, task.camera, task.poses, limit)
        strict = (0.25, 15.0) if is_kitchen else (0.3, 20.0)
        same = near(drives.poses, drives.poses, *strict)
        same &= pictures_apart(drives, drives) > task.apart
        return Scene(
            name,
            drives,
            None,
            near(drives.poses, drives.poses, WITHIN_M, WITHIN_DEG),
            same.any(axis=1),
            true_poses(self.data, name),
        )

    def kitti(self, name: str, limit: int | None) -> Scene:
        """KITTI 03: its own past, where nothing is seen twice."""
        task = next(task for task in TASKS if task.name == f'{name}_own_past')
        drives = self.folder(task.queries, KITTI_HZ, task.camera, task.poses, limit)
        right = near(drives.poses, drives.poses, WITHIN_M, WITHIN_DEG)
        nowhere = np.zeros(len(drives.pictures), bool)
        truth = trajectory(drives.stamps_ns, drives.poses)
        return Scene(name, drives, None, right, nowhere, truth, CAR)

    def gardens(self, name: str, limit: int | None) -> Scene:
        """Gardens Point: another walk is the map."""
        queries, places = {
            'gardens_day': ('day_right', 'day_left'),
            'gardens_night': ('night_right', 'day_left'),
            'gardens_night_same_side': ('night_right', 'day_right'),
        }[name]
        asked, known = (
            self.folder(f'gardens_point/{part}', GARDENS_HZ, limit=limit)
            for part in (queries, places)
        )
        right = abs(pictures_apart(asked, known)) <= WITHIN_PICTURES
        return Scene(name, asked, known, right, right.any(axis=1))

    def tower(self, name: str, limit: int | None) -> Scene:
        """Clips of a tower, half of each against half of all."""
        clips = [sorted(clip.glob('*.jpg')) for clip in sorted((self.data / name).iterdir())]
        known = [(file, i) for i, clip in enumerate(clips) for file in clip[::2]]
        asked = [(file, i) for i, clip in enumerate(clips) for file in clip[1::2]]
        return self.apart(name, asked[:limit], known)

    def webcams(self, name: str, limit: int | None) -> Scene:
        """Pictures of fixed cameras, by day and by night."""
        folders = sorted((self.data / name).glob('*/*/'), key=lambda folder: folder.name)
        known, asked = [], []
        for i, folder in enumerate(folders):
            files = sorted(folder.glob('*.jpg'))
            known += [(file, i) for file in files[::10]]
            asked += [(file, i) for n, file in enumerate(files) if n % 10 and n % 3 == 0]
        return self.apart(name, asked[:limit], known)

    def streets(self, name: str, limit: int | None) -> Scene:
        """Two views of each place."""
        views: dict[str, list[tuple[Path, np.ndarray]]] = {}
        for file in sorted((self.data / name / 'Images').rglob('*.jpg')):
            _, place, _, _, _, latitude, longitude, *_ = file.stem.split('_')
            fix = np.radians([float(latitude), float(longitude)])
            views.setdefault(place, []).append((file, fix))
        known = [(seen[0][0], i) for i, seen in enumerate(views.values())]
        asked = [(seen[1][0], i) for i, seen in enumerate(views.values())][::2]
        fixes = np.array([seen[0][1] for seen in views.values()])
        east_north = fixes[:, ::-1] * [np.cos(fixes[0, 0]), 1.0] * EARTH_RADIUS_M
        away = np.linalg.norm(east_north[:, None] - east_north, axis=-1)
        return self.apart(name, asked[:limit], known, same=away <= STREET_M)

    def apart(
        self,
        name: str,
        asked: Sequence[tuple[Path, int]],
        known: Sequence[tuple[Path, int]],
        *,
        same: np.ndarray | None = None,
    ) -> Scene:
        """Pictures of places (by number), of no drive; `same`: which places count as one."""
        sides = []
        for part in (asked, known):
            stamps_ns = [(i + 1) * NS_PER_S for i in range(len(part))]
            rgbs = (read_picture(file) for file, _ in part)
            described = self.described(rgbs, stamps_ns, None)
            sides.append(Drives(*described, np.full((len(part), 4, 4), np.nan)))
        places = [np.array([place for _, place in part]) for part in (asked, known)]
        right = np.equal.outer(*places) if same is None else same[np.ix_(*places)]
        return Scene(name, *sides, right, right.any(axis=1))

    def town(self, name: str, limit: int | None) -> Scene:
        """The demo's town: lap two against lap one, or against itself."""
        plan = make_town()
        painted = paint_town(plan)
        camera = Camera()
        laps = make_laps(plan, spacing_m=TOWN_SPACING_M)
        drives = []
        for lap in laps:
            key = (f'town {lap.number}', limit)
            if key not in self._known:
                stamps_ns = lap.stamps_ns[:limit].tolist()
                rgbs = itertools.islice(render_lap(plan, painted, lap, camera), limit)
                pictures, words = self.described(rgbs, stamps_ns, Intrinsics(camera.matrix))
                poses = np.array([pose_of_view(view) for view in views_of(lap)[:limit]])
                self._known[key] = Drives(pictures, words, poses)
            drives.append(self._known[key])
        first, second = drives
        places = None if name == 'town_own_past' else first
        known = second if places is None else places
        right = near(second.poses, known.poses, TOWN_WITHIN_M, TOWN_WITHIN_DEG)
        again = right if places else right & (pictures_apart(second, second) > TOWN_APART)
        revisits = again.any(axis=1)
        positions, yaws = drifting_odometry(laps[1].drive, laps[1].number)
        driven = Drive(positions, yaws, laps[1].drive.driven_m)
        said = views(driven, pitch_rad=0.0, pitch_jitter_rad=0.0, seed=0)[:limit]
        odometry = trajectory(second.stamps_ns, np.array([pose_of_view(view) for view in said]))
        also = {} if places is None else {'town_look_alike': ~revisits}
        truth = trajectory(second.stamps_ns, second.poses) if places is None else None
        return Scene(name, second, places, right, revisits, truth, CAR, odometry, also)


SEQUENCES = {
    'tum_fr1_desk': Reader.handheld,
    'red_kitchen': Reader.handheld,
    'kitti_03': Reader.kitti,
    'gardens_day': Reader.gardens,
    'gardens_night': Reader.gardens,
    'gardens_night_same_side': Reader.gardens,
    'ie_tower': Reader.tower,
    'webcams_day_night': Reader.webcams,
    'gsv_cambridge': Reader.streets,
    'town': Reader.town,
    'town_own_past': Reader.town,
}


def learned_words(data: Path, words: int) -> Describer:
    """Learn ORB words from pictures that no sequence holds."""
    files = [
        file
        for name, every in WORDS_FROM.items()
        for file in sorted((data / name).rglob('*.jpg'))[::every]
    ]
    if not files:
        raise SystemExit(f'no pictures of {" or ".join(WORDS_FROM)} below {data}; set VPR_DATA')
    return orb_words([read_picture(file) for file in files], words=words)


def near(first: np.ndarray, second: np.ndarray, metres: float, degrees: float) -> np.ndarray:
    """Return (N, M) bool: which poses (N, 4, 4) and (M, 4, 4) lie within both."""
    away = np.linalg.norm(first[:, None, :3, 3] - second[None, :, :3, 3], axis=-1)
    trace = np.einsum('nij,mij->nm', first[:, :3, :3], second[:, :3, :3])
    cosine = np.clip((trace - 1) / 2, -1, 1)  # NaN stays NaN: never near
    return (away <= metres) & (np.degrees(np.arccos(cosine)) <= degrees)


def pictures_apart(queries: Drives, places: Drives) -> np.ndarray:
    """Return (Q, P), how many pictures a query comes after a place."""
    return np.subtract.outer(np.arange(len(queries.pictures)), np.arange(len(places.pictures)))


def trajectory(stamps_ns: np.ndarray, poses: np.ndarray) -> Trajectory:
    """Join stamps and poses (N, 4, 4)."""
    return Trajectory(stamps_ns, poses[:, :3, 3], Rotation.from_matrix(poses[:, :3, :3]).as_quat())


def pose_of_view(view: View) -> np.ndarray:
    """Return (4, 4), the camera's optical frame in the town."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = view.camera_from_map.T, view.position
    return pose


# The methods.


@dataclass(frozen=True)
class Input:
    """What a method is given.

    Attributes:
        sequence: Pictures and map; the truth in it is not for methods.
        odometry: (Q,) poses of the camera by odometry; None: there is none.
        searchable: (Q,) how many places each picture may be matched with, from the first.
        extractor: The model.
        config: Of vpr_ros.
    """

    sequence: Scene
    odometry: list[OdometryPose] | None
    searchable: np.ndarray
    extractor: DescriptorExtractor
    config: RecognizerConfig

    @property
    def places(self) -> Drives:
        """The pictures that may be matched."""
        return self.sequence.places or self.sequence.queries


def given(
    sequence: Scene,
    odometry: Trajectory | None,
    extractor: DescriptorExtractor,
    config: RecognizerConfig,
) -> Input:
    """Prepare what the methods are given."""
    stamps_ns = sequence.queries.stamps_ns
    poses = None
    travelled = np.zeros(len(stamps_ns))
    if odometry is not None:
        positions, orientations = odometry.at(stamps_ns, max_gap_s=MAX_GAP_S)
        assert np.isfinite(positions).all()  # odometry spans the pictures
        poses = [
            OdometryPose(position, orientation, of_camera=True, drive=0)
            for position, orientation in zip(positions, orientations, strict=True)
        ]
        travelled[1:] = np.cumsum(np.linalg.norm(np.diff(positions, axis=0), axis=1))
    if sequence.places is not None:
        searchable = np.full(len(stamps_ns), len(sequence.places.pictures))
    else:
        rule = MappingConfig()
        old = stamps_ns - int(rule.min_age_s * NS_PER_S)
        searchable = np.searchsorted(stamps_ns, old, side='right')
        if odometry is not None:
            far = np.searchsorted(travelled, travelled - rule.min_travel_m, side='right')
            searchable = np.minimum(searchable, far)
    return Input(sequence, poses, searchable, extractor, config)


def vpr_ros_answers(given: Input) -> list[Answer]:
    """Take the whole road, against the own past or a map made of every picture."""
    numbers = {picture.stamp_ns: i for i, picture in enumerate(given.places.pictures)}
    local = create_feature_extractor()
    if given.sequence.places is None:
        recognizer: RevisitDetector | PlaceRecognizer = RevisitDetector(
            given.extractor, given.config, local=local
        )
    else:
        place_map, keyframes = _map_of(given.sequence.places, given.extractor)
        recognizer = PlaceRecognizer(
            given.extractor, place_map, given.config, local=local, keyframes=keyframes
        )
    is_paced = given.sequence.places is not None and given.odometry is None
    found = []
    for i, picture in enumerate(given.sequence.queries.pictures):
        picture.odometry = given.odometry[i] if given.odometry else None
        answer = recognizer.recognize(picture)
        if answer.matches:
            match = numbers[int(answer.matches[0].stamp_ns)]
            found.append(
                Answer(
                    i,
                    match,
                    _surety(answer, paced=is_paced),
                    answer.status is Status.VERIFIED,
                    answer.relative_pose,
                )
            )
    if isinstance(recognizer, RevisitDetector):
        recognizer.close()
    return found


def _map_of(places: Drives, extractor: DescriptorExtractor) -> tuple[PlaceMap, KeyframeStore]:
    """Make a map of every picture."""
    place_map, keyframes = PlaceMap(extractor.info.ref), KeyframeStore.temporary()
    know = np.isfinite(places.poses).all(axis=(1, 2))
    orientations = np.full((len(know), 4), np.nan)
    if know.any():
        orientations[know] = Rotation.from_matrix(places.poses[know][:, :3, :3]).as_quat()
    place_map.add(
        places.descriptors,
        stamps_ns=places.stamps_ns,
        positions=places.poses[:, :3, 3],
        orientations_xyzw=orientations,
    )
    for row, picture in enumerate(places.pictures):
        assert picture.features is not None  # found when it was described
        pose = places.poses[row] if know[row] else None
        keyframes.add(row, Keyframe(picture.features, picture.intrinsics, pose), drive=0)
    return place_map, keyframes


def _surety(answer: Recognition, *, paced: bool) -> float:
    """Return a number by which answers can be ranked: VERIFIED, seen from afar, alike.

    Along a map in the order of a drive, without metres, the filter's odds rank the rest better.
    """
    best = answer.matches[0]
    if answer.status is Status.VERIFIED:
        return 10.0 + answer.num_inliers
    if math.isfinite(answer.distance_m):
        return 1.0 + 1.0 / (1.0 + answer.distance_m)  # above any likeness
    if paced and math.isfinite(best.probability):
        return min(best.probability / max(1 - answer.off_map_probability, 1e-300), 1.0)
    return best.similarity


def retrieval_answers(given: Input) -> list[Answer]:
    """Take the most similar picture."""
    threshold = given.extractor.info.min_similarity
    assert threshold is not None  # the shipped model records one
    return [
        Answer(i, match, similarity, similarity >= threshold)
        for i, match, similarity in _most_alike(
            given.sequence.queries.descriptors, given.places.descriptors, given.searchable
        )
    ]


def sequence_answers(given: Input) -> list[Answer]:
    """Take the most similar picture where it follows from the pictures before."""
    answers = retrieval_answers(given)
    follows = _in_succession(answers, [True] * len(answers))
    agrees = _in_succession(answers, [answer.accepted for answer in answers])
    return [
        replace(answer, score=answer.score if has_chain else -math.inf, accepted=is_accepted)
        for answer, has_chain, is_accepted in zip(answers, follows, agrees, strict=True)
    ]


def words_answers(given: Input) -> list[Answer]:
    """Take the picture with the most alike words, compared with the picture before."""
    words = given.sequence.queries.words
    before = np.r_[1.0, np.einsum('ij,ij->i', words[1:], words[:-1])]
    answers = [
        Answer(i, match, similarity / max(float(before[i]), 1e-6), accepted=False)
        for i, match, similarity in _most_alike(words, given.places.words, given.searchable)
    ]
    agrees = _in_succession(answers, [answer.score >= WORDS_SHARE for answer in answers])
    return [
        replace(answer, accepted=is_accepted)
        for answer, is_accepted in zip(answers, agrees, strict=True)
    ]


def _in_succession(answers: list[Answer], claimed: list[bool]) -> list[bool]:
    """Tell which answers end a chain of claimed ones that is long enough."""
    chain, found = 0, []
    for i, (answer, is_claimed) in enumerate(zip(answers, claimed, strict=True)):
        follows = i > 0 and abs(answer.match - answers[i - 1].match) <= FOLLOWS_WITHIN
        chain = (chain + 1 if follows else 1) if is_claimed else 0
        found.append(chain >= IN_SUCCESSION)
    return found


def _most_alike(
    queries: np.ndarray, places: np.ndarray, searchable: np.ndarray
) -> Iterator[tuple[int, int, float]]:
    """Yield query, best match and similarity where there is anything to match."""
    for i, count in enumerate(searchable.tolist()):
        if count:
            similarities = places[:count] @ queries[i]
            best = int(np.argmax(similarities))
            yield i, best, float(similarities[best])


METHODS = {
    'vpr_ros': vpr_ros_answers,
    'retrieval': retrieval_answers,
    'retrieval + sequence': sequence_answers,
    'ORB words': words_answers,
}


# The judgement.


def row_of(
    sequence: Scene,
    name: str,
    counted: np.ndarray,
    method: str,
    seed: int,
    answers: list[Answer],
    errors_m: tuple[float | None, float | None],
) -> dict:
    """Judge the answers to the queries counted (Q,)."""
    judged = [answer for answer in answers if counted[answer.query]]
    right = np.array([sequence.right[a.query, a.match] for a in judged], bool)
    asked = np.array([sequence.revisits[a.query] for a in judged], bool)
    score = np.array([a.score for a in judged], float)
    accepted = np.array([a.accepted for a in judged], bool)
    revisits = int((sequence.revisits & counted).sum())
    highest_false = float(score[~right].max(initial=-math.inf))
    found = right & asked & (score > highest_false)
    return dict(
        zip(
            COLUMNS,
            (
                *(name, method, seed, int(accepted.sum()), int((accepted & ~right).sum())),
                int(found.sum()) / revisits if revisits else None,
                *errors_m,
                *(int(counted.sum()), revisits),
                int((right & asked & accepted).sum()) / revisits if revisits else None,
            ),
            strict=True,
        )
    )


def errors(
    sequence: Scene, odometry: Trajectory | None, answers: list[Answer]
) -> tuple[float | None, float | None]:
    """Return the trajectory error of odometry and of the graph with the accepted closures."""
    if odometry is None or sequence.truth is None:
        return None, None
    stamps_ns = sequence.queries.stamps_ns.tolist()
    closures = [
        closure_of(answer, stamps_ns[answer.query], stamps_ns[answer.match])
        for answer in answers
        if answer.accepted
    ]
    graph, _, _ = optimised(odometry, closures)
    return errors_m(sequence.truth, odometry, graph)


def closure_of(answer: Answer, query_ns: int, match_ns: int) -> Closure:
    """Say to the graph what is known."""
    relative = answer.relative
    if relative is None:
        return Closure(query_ns, match_ns, Kind.PLACE, np.eye(4), np.eye(6))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = relative.rotation, relative.translation
    kind = Kind.METRIC if relative.metric else Kind.DIRECTION
    return Closure(query_ns, match_ns, kind, pose, relative.covariance)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, default=os.environ.get('VPR_DATA', '../shared/data'))
    parser.add_argument('--json', type=Path, help='write the rows here too')
    parser.add_argument('--seeds', type=int, default=3, help='how many: 0, 1, 2, ...')
    parser.add_argument(
        '--sequences', nargs='+', choices=SEQUENCES, default=list(SEQUENCES), metavar='NAME'
    )
    parser.add_argument('--pictures', type=int, help='take the first so many of each drive')
    parser.add_argument('--words', type=int, default=WORDS, help='ORB words (default %(default)s)')
    parser.add_argument(
        '--unhurried',
        action='store_true',
        help='verify every candidate however long it takes: for a machine that does other work',
    )
    args = parser.parse_args()
    config = RecognizerConfig()
    if args.unhurried:
        unbound = replace(config.verification, budget_s=UNHURRIED_S)
        config = replace(config, verification=unbound)
    if not args.data.is_dir():
        parser.error(f'{args.data} is no folder: name the pictures with --data or VPR_DATA')
    if importlib.util.find_spec('evo') is None:
        parser.error('trajectory errors are measured by evo: pip install evo')
    extractor = DescriptorExtractor(default_model(), device='cpu')
    reader = Reader(args.data, extractor, learned_words(args.data, args.words))
    print(f'odometry of hand-held cameras: {HAND_HELD}; of cars: {CAR}\n')
    print('| ' + ' | '.join(COLUMNS) + ' |\n' + '|---' * len(COLUMNS) + '|')
    rows = []
    for name in args.sequences:
        sequence = SEQUENCES[name](reader, name, args.pictures)
        for seed in range(args.seeds if sequence.depends_on_seed else 1):
            for row in rows_of(sequence, seed, extractor, config):
                rows.append(row)
                print('| ' + ' | '.join(map(cell, row.values())) + ' |', flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')


def rows_of(
    sequence: Scene, seed: int, extractor: DescriptorExtractor, config: RecognizerConfig
) -> Iterator[dict]:
    """Yield the rows of all methods."""
    odometry = sequence.odometry
    if sequence.depends_on_seed:
        assert sequence.truth is not None  # odometry is made from it
        odometry = drifted(sequence.truth, sequence.drift, np.random.default_rng(seed))
    for method, answers_of in METHODS.items():
        inputs = given(sequence, odometry, extractor, config)
        answers = answers_of(inputs)
        errors_m = errors(sequence, odometry, answers)
        everything = np.ones(len(sequence.queries.pictures), bool)
        for name, counted in {sequence.name: everything, **sequence.also}.items():
            yield row_of(sequence, name, counted, method, seed, answers, errors_m)


def cell(value: object) -> str:
    """Return a value as the table shows it."""
    if value is None:
        return ''
    return f'{value:.3f}' if isinstance(value, float) else str(value)


if __name__ == '__main__':
    main()
