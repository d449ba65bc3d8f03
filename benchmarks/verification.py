# SPDX-License-Identifier: Apache-2.0
"""What geometry adds to retrieval, on real pictures: what it accepts, how much of it is right.

    python benchmarks/verification.py [--sequences NAME ...] [--features KIND ...] [--every N]
        [--thin N] [--data DIR] [--json FILE]
    python benchmarks/verification.py --focal

Each picture's most similar places are verified at the shipped defaults, but without the limit of
time, so that a slow machine finds the same; the places' landmarks are there beforehand, as in a
map. The best verified place is the answer. Baseline: the most similar place, when its similarity
reaches the model's threshold. Times are of the picture's own features and of the verification.

RedKitchen and fr1_desk are matched against their own past, and truth is 0.5 m and 30 degrees;
KITTI 03 never returns, so all that is accepted there is false; on Gardens Point the day's left
walk is the map and truth is two pictures either way, with no intrinsics and no poses.

`--focal` looks for RedKitchen's focal length instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.picture_folder import PictureFolder
from vpr_ros.pose_files import read_poses
from vpr_ros.pose_lookup import lookup_in_table
from vpr_ros.resources import default_model
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import FEATURE_KINDS, create_feature_extractor
from vpr_ros.verification.local_features import FeatureExtractor
from vpr_ros.verification.matching import match_features
from vpr_ros.verification.metric import Keyframe, Landmarks
from vpr_ros.verification.neighbours import neighbours_along_drive
from vpr_ros.verification.rotations import cross_matrix
from vpr_ros.verification.two_view import sampson_distance
from vpr_ros.verification.verifier import (
    GeometricVerifier,
    Verification,
    VerifierConfig,
    landmarks_of,
)

NO_LIMIT_S = 60.0
WITHIN_M, WITHIN_DEG, WITHIN_PICTURES = 0.5, 30.0, 2
REVISIT_M, REVISIT_DEG = 0.25, 15.0
NINETY_FIVE_PERCENT = 7.815  # of chi squared with three degrees of freedom


def red_kitchen_camera(focal: float) -> Intrinsics:
    """Return RedKitchen's camera, its focal length given for 640x480 pictures."""
    matrix = np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]])
    return Intrinsics(matrix * [[0.75], [0.75], [1]])


# The published 585 is of the depth camera; `--focal` finds the colour camera's near 520.
_RED_KITCHEN_FOCAL = 525.0
_FOCALS = (*range(480, 560, 10), 525, 570, 585, 600)
_FOCAL_APART = (10, 20)  # pictures between the two that are compared
_FOCAL_LEAST = 30  # features that two pictures must share
_FR1 = np.array([[517.3, 0, 318.6], [0, 516.5, 255.3], [0, 0, 1]])
_FR1_DISTORTION = np.array([0.2624, -0.9531, -0.0054, 0.0026, 1.1633])
_KITTI_SCALE = 620 / 1242
_KITTI = np.array([[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1 / _KITTI_SCALE]])


@dataclass(frozen=True)
class Task:
    """Queries against a map.

    Attributes:
        name: For the table.
        queries: Folder of pictures.
        places: Folder of pictures of the map; None: the queries' own past.
        poses: Pose file of both, or None.
        camera: Of both, or None.
        apart: Pictures between a query and its newest place; None: a map from before.
        first_half: Whether the map is the first half of the pictures and the rest are queries.
    """

    name: str
    queries: str
    places: str | None = None
    poses: str | None = None
    camera: Intrinsics | None = None
    apart: int = 0
    first_half: bool = False


_KITCHEN_CAMERA = red_kitchen_camera(_RED_KITCHEN_FOCAL)
_KITCHEN = ('red_kitchen/rgb', None, 'red_kitchen/poses_tum.txt', _KITCHEN_CAMERA, 150)
_DESK_CAMERA = Intrinsics(_FR1, _FR1_DISTORTION)
_LEFT, _RIGHT, _NIGHT = (
    f'gardens_point/{name}' for name in ('day_left', 'day_right', 'night_right')
)
TASKS = (
    Task('red_kitchen_own_past', *_KITCHEN),
    Task('red_kitchen_first_half', *_KITCHEN, first_half=True),
    Task(
        'tum_fr1_desk_own_past',
        'tum_fr1_desk/rgb',
        None,
        'tum_fr1_desk/groundtruth.txt',
        _DESK_CAMERA,
        100,
    ),
    Task(
        'kitti_03_own_past',
        'kitti_03/image_0',
        None,
        'kitti_03/poses_kitti.txt',
        Intrinsics(_KITTI * _KITTI_SCALE),
        100,
    ),
    Task('gardens_day', _RIGHT, _LEFT),
    Task('gardens_night', _NIGHT, _LEFT),
)


@dataclass(frozen=True)
class Drive:
    """What is known of a folder of pictures.

    Attributes:
        descriptors: (N, D) float32.
        keyframes: N.
        poses: (N, 4, 4), NaN: unknown.
        seconds: (N,) that finding the local features took.
    """

    descriptors: np.ndarray
    keyframes: Sequence[Keyframe]
    poses: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class Row:
    """One line of the table; errors are of metric poses that were accepted."""

    sequence: str
    features: str
    queries: int
    with_place: int
    accepted: int
    false: int
    recall: float
    revisits: int
    recall_of_revisits: float
    retrieval_accepted: int
    retrieval_false: int
    median_error_m: float
    median_error_deg: float
    position_inside_95: float
    rotation_inside_95: float
    ms_features: float
    ms_verification: float
    ms_p95: float


class Places:
    """The keyframes of a map, as the verifier asks for them."""

    def __init__(self, sequence: Drive) -> None:
        """Take the keyframes of a sequence."""
        self._sequence = sequence
        self._landmarks: dict[int, Landmarks | None] = {}

    def keyframe(self, place: int) -> Keyframe:
        """Return a place's keyframe."""
        return self._sequence.keyframes[place]

    def neighbours(self, place: int) -> list[int]:
        """Return keyframes along the drive."""
        return neighbours_along_drive(place, self._sequence.poses)

    def landmarks(self, place: int) -> Landmarks | None:
        """Return a place's landmarks, made when they are first asked for."""
        if place not in self._landmarks:
            self._landmarks[place] = landmarks_of(place, self)
        return self._landmarks[place]


def describe(folder: Path, extractor: DescriptorExtractor, thin: int) -> np.ndarray:
    """Describe every thin-th picture of a folder for retrieval, (N, D)."""
    frames = itertools.islice(PictureFolder(folder).frames(), 0, None, thin)
    return np.array([extractor.extract(frame.rgb) for frame in frames])


def read_sequence(
    folder: Path,
    poses: Path | None,
    camera: Intrinsics | None,
    local: FeatureExtractor,
    descriptors: np.ndarray,
    *,
    thin: int = 1,
) -> Drive:
    """Find the local features of every thin-th picture of a folder and read their poses."""
    pictures = PictureFolder(folder)
    lookup = lookup_in_table(read_poses(poses), pictures, max_gap_s=0.1) if poses else None
    keyframes, matrices, seconds = [], [], []
    for frame in itertools.islice(pictures.frames(), 0, None, thin):
        rgb = frame.rgb
        matrix = np.full((4, 4), np.nan)
        if lookup:
            position, orientation = lookup.pose_of(frame)
            if np.isfinite(position).all() and np.isfinite(orientation).all():
                matrix = np.eye(4)
                matrix[:3, :3] = Rotation.from_quat(orientation).as_matrix()
                matrix[:3, 3] = position
        known = matrix if np.isfinite(matrix).all() else None
        begun = time.perf_counter()
        features = local.extract(rgb)
        seconds.append(time.perf_counter() - begun)
        keyframes.append(Keyframe(features, camera, known))
        matrices.append(matrix)
    return Drive(descriptors, keyframes, np.array(matrices), np.array(seconds))


def epipolar_errors(drive: Drive, focals: Sequence[float]) -> list[tuple[float, float]]:
    """Hold RedKitchen's focal length against its true poses.

    Features of pictures 10 and 20 apart are matched; with the true motion between the two and the
    right focal length, they lie on each other's epipolar lines.

    Args:
        drive: RedKitchen.
        focals: Focal lengths to try, for 640x480 pictures.

    Returns:
        For each the focal length and the median Sampson distance, pixels of the 480x360 pictures.
    """
    limits = VerifierConfig()
    seen = []
    for row in range(0, len(drive.keyframes) - max(_FOCAL_APART), min(_FOCAL_APART)):
        for other in (row + apart for apart in _FOCAL_APART):
            first, second = drive.keyframes[row].features, drive.keyframes[other].features
            pairs = match_features(
                first, second, max_ratio=limits.max_ratio, min_cosine=limits.min_cosine
            )
            motion = np.linalg.inv(drive.poses[other]) @ drive.poses[row]
            if len(pairs) >= _FOCAL_LEAST:
                points = first.keypoints[pairs[:, 0]], second.keypoints[pairs[:, 1]]
                seen.append((*points, cross_matrix(motion[:3, 3]) @ motion[:3, :3]))
    found = []
    for focal in focals:
        camera = red_kitchen_camera(focal)
        distances = [
            sampson_distance(essential, camera.rays(first), camera.rays(second))
            for first, second, essential in seen
        ]
        errors = np.abs(np.concatenate(distances)) * camera.focal_px
        found.append((float(focal), float(np.median(errors))))
    return found


def differences(poses: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return metres and degrees between poses (N, 4, 4) and one (4, 4); NaN: one is unknown."""
    turns = poses[:, :3, :3].transpose(0, 2, 1) @ pose[:3, :3]
    cosines = (np.trace(turns, axis1=1, axis2=2) - 1) / 2
    metres = np.linalg.norm(poses[:, :3, 3] - pose[:3, 3], axis=1)
    return metres, np.degrees(np.arccos(np.clip(cosines, -1, 1)))


class Judge:
    """Tells right places from wrong ones."""

    def __init__(self, queries: Drive, places: Drive, *, by_order: bool) -> None:
        """Judge by order or by pose."""
        self._queries, self._places, self._by_order = queries, places, by_order

    def right(
        self, query: int, within: tuple[float, float] = (WITHIN_M, WITHIN_DEG)
    ) -> np.ndarray:
        """Tell which places are the query's, bool (P,)."""
        if self._by_order:
            return np.abs(np.arange(len(self._places.poses)) - query) <= WITHIN_PICTURES
        metres, degrees = differences(self._places.poses, self._queries.poses[query])
        return (metres <= within[0]) & (degrees <= within[1])

    def errors(self, query: int, result: Verification) -> tuple[float, float, float, float]:
        """Return metres, degrees, and both squared in units of the stated covariance."""
        assert result.rotation is not None and result.translation is not None
        assert result.covariance is not None
        truth = np.linalg.inv(self._places.poses[result.place]) @ self._queries.poses[query]
        moved = truth[:3, 3] - result.translation
        turned = Rotation.from_matrix(truth[:3, :3] @ result.rotation.T).as_rotvec()
        return (
            float(np.linalg.norm(moved)),
            float(np.degrees(np.linalg.norm(turned))),
            float(moved @ np.linalg.solve(result.covariance[:3, :3], moved)),
            float(turned @ np.linalg.solve(result.covariance[3:, 3:], turned)),
        )


def run(task: Task, queries: Drive, places: Drive, threshold: float, every: int, thin: int) -> Row:
    """Verify the candidates of every n-th query of drives of which every thin-th was read."""
    judge = Judge(queries, places, by_order=task.poses is None)
    source = Places(places)
    config = VerifierConfig(budget_s=NO_LIMIT_S)
    verifier = GeometricVerifier(source, config)
    counts = dict.fromkeys(('queries', 'place', 'good', 'bad', 'revisits', 'found', 'r', 'rf'), 0)
    errors, seconds, asked = [], [], []
    half = len(queries.keyframes) // 2
    for query in range(half if task.first_half else 0, len(queries.keyframes), every):
        keyframe = queries.keyframes[query]
        last = query - task.apart // thin if task.apart else len(places.keyframes)
        last = min(last, half) if task.first_half else last
        if last <= 0 or (task.poses and keyframe.pose is None):
            continue
        similarities = places.descriptors[:last] @ queries.descriptors[query]
        nearest = np.argsort(-similarities)[: config.max_candidates]
        candidates = [int(row) for row in nearest]
        for place in candidates:
            source.landmarks(place)
        begun = time.perf_counter()
        results = verifier.verify(keyframe.features, candidates, camera=task.camera)
        seconds.append(time.perf_counter() - begun)
        asked.append(query)
        right = judge.right(query)[:last]
        revisits = judge.right(query, (REVISIT_M, REVISIT_DEG))[:last].any()
        best = results[0]
        is_good = best.is_verified and bool(right[best.place])
        if best.is_verified and best.metric:
            errors.append(judge.errors(query, best))
        claimed = similarities[candidates[0]] >= threshold
        counts['queries'] += 1
        counts['place'] += bool(right.any())
        counts['good'] += is_good
        counts['bad'] += best.is_verified and not is_good
        counts['revisits'] += bool(revisits)
        counts['found'] += bool(revisits) and is_good
        counts['r'] += bool(claimed)
        counts['rf'] += bool(claimed) and not right[candidates[0]]
    of_features = queries.seconds[asked]
    metres, degrees, moved, turned = np.array(errors or [[np.nan] * 4]).T
    inside = [np.nan, np.nan]
    if errors:
        inside = [float(np.mean(part <= NINETY_FIVE_PERCENT)) for part in (moved, turned)]
    return Row(
        task.name,
        queries.keyframes[0].features.kind,
        counts['queries'],
        counts['place'],
        counts['good'] + counts['bad'],
        counts['bad'],
        counts['good'] / counts['place'] if counts['place'] else np.nan,
        counts['revisits'],
        counts['found'] / counts['revisits'] if counts['revisits'] else np.nan,
        counts['r'],
        counts['rf'],
        float(np.median(metres)),
        float(np.median(degrees)),
        *inside,
        1e3 * float(np.mean(of_features)),
        1e3 * float(np.mean(seconds)),
        1e3 * float(np.percentile(of_features + np.array(seconds), 95)),
    )


HEADER = (
    f'{"sequence":23}{"features":>8}{"queries":>8}{"mapped":>7} | {"accepted":>8}{"false":>6}'
    f'{"recall":>7}{"revisits":>9}{"found":>6} | {"retrieval":>9}{"false":>6} | {"error m":>7}'
    f'{"deg":>5}{"inside 95: m":>13}{"deg":>5} | {"features ms":>11}{"verify ms":>10}{"p95":>5}'
)


def line(row: Row) -> str:
    """Return a row of the table."""
    return (
        f'{row.sequence:23}{row.features:>8}{row.queries:8}{row.with_place:7} | '
        f'{row.accepted:8}{row.false:6}{row.recall:7.2f}{row.revisits:9}'
        f'{row.recall_of_revisits:6.2f} | {row.retrieval_accepted:9}{row.retrieval_false:6} | '
        f'{row.median_error_m:7.3f}{row.median_error_deg:5.1f}{row.position_inside_95:13.2f}'
        f'{row.rotation_inside_95:5.2f} | {row.ms_features:11.0f}{row.ms_verification:10.0f}'
        f'{row.ms_p95:5.0f}'
    )


def print_focal(data: Path) -> None:
    """Print how well each focal length explains RedKitchen's pictures."""
    folder, poses = data / _KITCHEN[0], data / _KITCHEN[2]
    nothing = np.zeros((0, 0), np.float32)  # nothing is retrieved here
    drive = read_sequence(folder, poses, _KITCHEN_CAMERA, create_feature_extractor(), nothing)
    print(f'{"focal length (640x480)":>22}{"median error px":>17}')
    for focal, error in epipolar_errors(drive, sorted(_FOCALS)):
        print(f'{focal:22.0f}{error:17.3f}')


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', type=Path, default=os.environ.get('VPR_DATA', '../shared/data'))
    parser.add_argument('--every', type=int, default=1, help='take every n-th query')
    parser.add_argument('--thin', type=int, default=1, help='leave out all but every n-th picture')
    parser.add_argument('--features', nargs='+', choices=FEATURE_KINDS, default=['sift'])
    names = [task.name for task in TASKS]
    parser.add_argument('--sequences', nargs='+', choices=names, default=names, metavar='NAME')
    parser.add_argument('--focal', action='store_true', help="RedKitchen's focal length instead")
    parser.add_argument('--json', type=Path, help='write the rows here too')
    args = parser.parse_args()
    if not args.data.is_dir():
        parser.error(f'{args.data} is no folder: name the pictures with --data or VPR_DATA')
    if args.focal:
        print_focal(args.data)
        return
    extractor = DescriptorExtractor(default_model(), device='cpu')
    threshold = extractor.info.min_similarity
    assert threshold is not None  # the shipped model records one
    descriptors: dict[str, np.ndarray] = {}
    rows = []
    print(HEADER)
    for kind in args.features:
        local = create_feature_extractor(kind)
        sequences: dict[str, Drive] = {}
        for task in (task for task in TASKS if task.name in args.sequences):
            for folder in filter(None, (task.queries, task.places)):
                if folder not in descriptors:
                    descriptors[folder] = describe(args.data / folder, extractor, args.thin)
                if folder not in sequences:
                    poses = args.data / task.poses if task.poses else None
                    sequences[folder] = read_sequence(
                        args.data / folder,
                        poses,
                        task.camera,
                        local,
                        descriptors[folder],
                        thin=args.thin,
                    )
            queries = sequences[task.queries]
            places = sequences[task.places or task.queries]
            rows.append(run(task, queries, places, threshold, args.every, args.thin))
            print(line(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + '\n', 'utf-8')


if __name__ == '__main__':
    main()
