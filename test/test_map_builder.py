# SPDX-License-Identifier: Apache-2.0
"""Maps built from real files, interrupted in earnest, and what must not become a place."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.bag_writer import BagWriter
from vpr_ros.cameras import Calibration, MapCamera
from vpr_ros.errors import MapError, SourceError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.keyframe_store import store_of_map
from vpr_ros.map_builder import BuildOptions, UnreadablePictureError, build_map
from vpr_ros.place_map import GeodeticOrigin, PlaceMap
from vpr_ros.pose_files import read_poses
from vpr_ros.pose_lookup import PosesByTime, lookup_in_table
from vpr_ros.poses import Trajectory
from vpr_ros.sources import PictureFolder, open_source
from vpr_ros.verification.camera import Intrinsics

S = 1_000_000_000
T0 = 1_700_000_000 * S


@pytest.fixture(scope='module')
def extractor(tiny_model: Path) -> DescriptorExtractor:
    return DescriptorExtractor(tiny_model, device='cpu', num_threads=1)


@pytest.fixture
def folder(tmp_path: Path, textured_pictures):
    """A function that writes a folder of numbered pictures."""

    def _folder(n: int, suffix: str = 'png', **size: int) -> PictureFolder:
        path = tmp_path / 'pictures'
        path.mkdir()
        for i, rgb in enumerate(textured_pictures(n, **size)):
            assert cv2.imwrite(str(path / f'{i:04d}.{suffix}'), rgb[..., ::-1])
        return PictureFolder(path)

    return _folder


def straight_drive(n: int, step_m: float = 0.5) -> PosesByTime:
    """One picture a second, `step_m` apart, looking ahead."""
    positions = np.zeros((n, 3))
    positions[:, 0] = step_m * np.arange(n)
    orientations = np.tile([0.0, 0, 0, 1], (n, 1))
    return PosesByTime(Trajectory(S * np.arange(n), positions, orientations), max_gap_s=1.0)


def test_without_poses_every_picture_is_a_place(tmp_path, folder, extractor) -> None:
    source = folder(11)
    report = build_map(source, extractor, tmp_path / 'map', options=BuildOptions(batch_size=4))
    loaded = PlaceMap.load(tmp_path / 'map', model=extractor.info.ref)
    assert len(loaded) == report.num_frames == 11 and not loaded.has_poses
    assert np.isnan(report.length_m)
    assert loaded.places['stamp_ns'].tolist() == [S * i for i in range(11)]
    expected = extractor.extract_batch([frame.rgb for frame in source.frames()])
    np.testing.assert_allclose(loaded.descriptors, expected, atol=1e-6)
    assert loaded.images[3] == 'keyframes/000003.jpg'
    assert not (tmp_path / 'map.partial').exists()


def test_every_third_picture(tmp_path, folder, extractor) -> None:
    options = BuildOptions(every=3, picture_height=0)
    report = build_map(folder(8), extractor, tmp_path / 'map', options=options)
    assert report.place_map.images == ['0000.png', '0003.png', '0006.png']
    assert not (tmp_path / 'map' / 'keyframes').exists()


def test_keyframes_by_distance(tmp_path, folder, extractor) -> None:
    source = folder(9)
    report = build_map(source, extractor, tmp_path / 'map', poses=straight_drive(9))
    places = PlaceMap.load(tmp_path / 'map').places
    np.testing.assert_allclose(places['position'][:, 0], [0, 1, 2, 3, 4])
    assert places['stamp_ns'].tolist() == [0, 2 * S, 4 * S, 6 * S, 8 * S]
    np.testing.assert_array_equal(places['orientation_xyzw'][0], [0, 0, 0, 1])
    assert report.length_m == pytest.approx(4)
    assert report.place_map.spacing_m == pytest.approx(1)


def test_pictures_without_a_pose_are_dropped_and_counted(tmp_path, folder, extractor) -> None:
    report = build_map(folder(9), extractor, tmp_path / 'map', poses=straight_drive(6))
    assert report.dropped == {'without a pose': 3}
    assert len(report.place_map) == 3


def test_poses_of_another_clock_are_explained(tmp_path, folder, extractor) -> None:
    late = Trajectory(T0 + S * np.arange(3), np.zeros((3, 3)), np.tile([0.0, 0, 0, 1], (3, 1)))
    with pytest.raises(
        SourceError,
        match=r'without a pose: 4; the poses reach from 1700000000\.000 s to 1700000002\.000 s, '
        r'the pictures from 0\.000 s to 3\.000 s',
    ):
        build_map(folder(4), extractor, tmp_path / 'map', poses=PosesByTime(late, max_gap_s=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['pictures']


def test_a_covered_lens_is_no_place_and_the_next_picture_is(tmp_path, folder, extractor) -> None:
    source = folder(6)
    cv2.imwrite(str(source.files[2]), np.zeros((120, 160, 3), np.uint8))
    report = build_map(source, extractor, tmp_path / 'map', poses=straight_drive(6))
    assert report.dropped == {'dark': 1}
    np.testing.assert_allclose(report.place_map.places['position'][:, 0], [0, 1.5, 2.5])


def test_a_damaged_picture_stops_or_is_skipped(tmp_path, folder, extractor) -> None:
    source = folder(6, 'jpg')
    source.files[4].write_bytes(source.files[4].read_bytes()[:300])
    with pytest.raises(UnreadablePictureError, match=r'0004\.jpg is not a whole picture'):
        build_map(source, extractor, tmp_path / 'map', options=BuildOptions(batch_size=2))
    assert not (tmp_path / 'map').exists()
    options = BuildOptions(batch_size=2, skip_unreadable=True, picture_height=0)
    with pytest.raises(MapError, match='skip_unreadable was False, is True'):
        build_map(source, extractor, tmp_path / 'map', options=options)
    report = build_map(source, extractor, tmp_path / 'map', options=options, resume=False)
    assert report.dropped == {'unreadable': 1}
    assert '0004.jpg' not in report.place_map.images and len(report.place_map) == 5


def test_kept_pictures_are_small_and_show_the_place(
    tmp_path, folder, extractor, textured_pictures
) -> None:
    options = BuildOptions(picture_height=60)
    build_map(folder(2), extractor, tmp_path / 'map', options=options)
    loaded = PlaceMap.load(tmp_path / 'map')
    kept = cv2.imread(str(tmp_path / 'map' / loaded.images[1]))
    assert kept.shape == (60, 80, 3)
    original = cv2.resize(textured_pictures(2)[1], (80, 60), interpolation=cv2.INTER_AREA)
    assert np.abs(kept[..., ::-1].astype(int) - original).mean() < 15


def test_an_existing_map_is_replaced_only_on_request(tmp_path, folder, extractor) -> None:
    source = folder(3)
    build_map(source, extractor, tmp_path / 'map')
    with pytest.raises(MapError, match='holds a map already; --overwrite'):
        build_map(source, extractor, tmp_path / 'map')
    options = BuildOptions(every=2)
    build_map(source, extractor, tmp_path / 'map', options=options, overwrite=True)
    assert len(PlaceMap.load(tmp_path / 'map')) == 2


def test_a_folder_that_is_no_map_is_never_replaced(tmp_path, folder, extractor) -> None:
    source = folder(3)
    with pytest.raises(MapError, match='exists and is not a map'):
        build_map(source, extractor, source.path, overwrite=True)
    assert len(list(source.path.iterdir())) == 3
    assert not source.path.with_name('pictures.partial').exists()
    (tmp_path / 'empty').mkdir()
    build_map(source, extractor, tmp_path / 'empty')
    assert len(PlaceMap.load(tmp_path / 'empty')) == 3


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_from_a_bag_with_odometry_at_another_rate(
    tmp_path, storage, extractor, textured_pictures
) -> None:
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for i in range(25):  # 10 Hz, 2 m/s
            bag.add_odometry('/odom', [0.2 * i, 0, 0], [0, 0, 0, 1], T0 + i * S // 10)
        for i, rgb in enumerate(textured_pictures(6)):  # 3 Hz, from 50 ms later on
            bag.add_image('/image', rgb, T0 + S // 20 + i * S // 3, 'camera')
    source = open_source(tmp_path / 'bag')
    poses = PosesByTime(source.poses().trajectory, max_gap_s=0.5)
    build_map(source, extractor, tmp_path / 'map', poses=poses)
    positions = PlaceMap.load(tmp_path / 'map').places['position']
    np.testing.assert_allclose(positions[:, 0], 0.1 + 4 / 3 * np.arange(3), atol=1e-6)


def test_a_bag_of_gnss_gives_metres_without_orientations(
    tmp_path, extractor, textured_pictures
) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(textured_pictures(4)):
            bag.add_navsatfix('/fix', (48 + 0.001 * i, 11.0, 500.0), T0 + i * S)
            bag.add_image('/image', rgb, T0 + i * S, 'camera')
    source = open_source(tmp_path / 'bag')
    poses = PosesByTime(source.poses().trajectory, max_gap_s=1.5)
    report = build_map(source, extractor, tmp_path / 'map', poses=poses)
    assert report.place_map.spacing_m == pytest.approx(111.2, abs=0.1)
    assert np.isnan(report.place_map.places['orientation_xyzw']).all()


def test_progress_is_told(tmp_path, folder, extractor) -> None:
    told: list[tuple[int, int, int]] = []
    build_map(folder(5), extractor, tmp_path / 'map', progress=lambda *counts: told.append(counts))
    assert told[-1] == (5, 5, 0)
    assert told == sorted(told)


def test_pictures_are_decoded_while_the_network_runs(tmp_path, folder, extractor) -> None:
    later_picture = threading.Event()
    waited: list[bool] = []

    class Watched(PictureFolder):
        def frames(self):
            for frame in super().frames():
                yield frame
                if frame.index == 3:
                    later_picture.set()

    class Waiting:
        info = extractor.info

        def extract_batch(self, rgbs):
            waited.append(later_picture.wait(timeout=20))
            return extractor.extract_batch(rgbs)

    source = Watched(folder(6).path)
    build_map(source, Waiting(), tmp_path / 'map', options=BuildOptions(batch_size=2))
    assert waited[0], 'the first run of the network began and ended before picture 3 was read'


class _InterruptedError(Exception):
    """Stands for whatever ends a build early."""


def test_an_interrupted_build_does_not_compute_twice(tmp_path, folder, extractor) -> None:
    source = folder(20)
    options = BuildOptions(batch_size=4)

    def stop_at_ten(num_frames: int, num_places: int, num_done: int) -> None:
        if num_places == 10:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        build_map(source, extractor, tmp_path / 'map', options=options, progress=stop_at_ten)
    assert not (tmp_path / 'map').exists()

    described = []

    class Counting:
        info = extractor.info

        def extract_batch(self, rgbs):
            described.extend(rgbs)
            return extractor.extract_batch(rgbs)

    report = build_map(source, Counting(), tmp_path / 'map', options=options)
    assert report.num_resumed == 8 and len(described) == 12
    whole = build_map(source, extractor, tmp_path / 'whole', options=options)
    np.testing.assert_array_equal(report.place_map.descriptors, whole.place_map.descriptors)
    assert _keyframes(tmp_path / 'map') == _keyframes(tmp_path / 'whole')


def test_a_resumed_build_keeps_the_zero_of_its_poses(tmp_path, folder, extractor) -> None:
    source = folder(6)
    options = BuildOptions(batch_size=2, origin=GeodeticOrigin(48.0, 11.0, 500.0))

    def stop(num_frames: int, num_places: int, num_done: int) -> None:
        if num_places == 3:
            raise _InterruptedError

    # Work of a version that recorded no origin goes on as well: the poses say where the zero is.
    with pytest.raises(_InterruptedError):
        build_map(
            source,
            extractor,
            tmp_path / 'map',
            poses=straight_drive(6, 1.0),
            options=BuildOptions(batch_size=2),
            progress=stop,
        )
    report = build_map(
        source, extractor, tmp_path / 'map', poses=straight_drive(6, 1.0), options=options
    )
    assert report.num_resumed == 2
    assert report.place_map.origin == options.origin
    assert PlaceMap.load(tmp_path / 'map').origin == options.origin


@pytest.mark.parametrize('out', ['.', 'below/..'])
def test_the_current_folder_becomes_no_map(tmp_path, folder, extractor, monkeypatch, out) -> None:
    source = folder(2)
    (tmp_path / 'empty' / 'below').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'empty' / 'below' if out == '.' else tmp_path / 'empty')
    with pytest.raises(MapError, match='current folder'):
        build_map(source, extractor, out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['empty', 'pictures']


def test_a_link_to_a_map_stays_one(tmp_path, folder, extractor) -> None:
    source = folder(2)
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'map').symlink_to(tmp_path / 'disk' / 'real')
    for _ in range(2):
        build_map(source, extractor, tmp_path / 'map', overwrite=True)
        assert (tmp_path / 'map').is_symlink() and len(PlaceMap.load(tmp_path / 'map')) == 2
        assert [path.name for path in (tmp_path / 'disk').iterdir()] == ['real']


def test_resuming_with_changed_pictures_is_refused(tmp_path, folder, extractor) -> None:
    source = folder(20)
    options = BuildOptions(batch_size=4)

    def stop(num_frames: int, num_places: int, num_done: int) -> None:
        if num_places == 10:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        build_map(source, extractor, tmp_path / 'map', options=options, progress=stop)
    source.files[0].unlink()
    changed = PictureFolder(source.path)
    with pytest.raises(MapError, match='files_sha256 was'):
        build_map(changed, extractor, tmp_path / 'map', options=options)


_BUILD_IN_A_PROCESS = """
import os, signal, sys
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.sources import open_source
source, model, out, kill_at = sys.argv[1:]
def progress(num_frames, num_places, num_done):
    if num_places == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
extractor = DescriptorExtractor(model, device='cpu', num_threads=1)
options = BuildOptions(batch_size=4)
report = build_map(open_source(source), extractor, out, options=options, progress=progress)
print(report.num_resumed)
"""


def test_killed_again_and_again_it_ends_as_if_never_interrupted(
    tmp_path, folder, tiny_model, extractor
) -> None:
    source = folder(40, 'jpg')
    command = [sys.executable, '-c', _BUILD_IN_A_PROCESS, str(source.path), str(tiny_model)]
    command.append(str(tmp_path / 'map'))
    for kill_at, batches in ((6, 1), (31, 7)):
        killed = subprocess.run([*command, str(kill_at)], check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert len(list((tmp_path / 'map.partial').glob('rows_*.npy'))) == batches
    assert not (tmp_path / 'map').exists()
    finished = subprocess.run(
        [*command, '-1'], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    assert int(finished.stdout) == 28
    build_map(source, extractor, tmp_path / 'whole', options=BuildOptions(batch_size=4))
    for name in ('descriptors.npy', 'places.npy', 'images.txt'):
        interrupted = (tmp_path / 'map' / name).read_bytes()
        assert interrupted == (tmp_path / 'whole' / name).read_bytes(), name
    assert _keyframes(tmp_path / 'map') == _keyframes(tmp_path / 'whole')
    assert not (tmp_path / 'map.partial').exists()
    PlaceMap.load(tmp_path / 'map')


@pytest.mark.parametrize(
    ('options', 'complaint'),
    [
        ({'every': 0}, 'every must be at least 1, not 0'),
        ({'batch_size': 0}, 'batch_size'),
        ({'min_distance_m': -1.0}, 'min_distance_m must be 0 or more'),
        ({'min_angle_deg': float('nan')}, 'min_angle_deg'),
        ({'frame_id': ''}, 'frame_id must not be empty'),
        ({'features': 'surf'}, "features must be one of none, sift, orb.* not 'surf'"),
        ({'max_features': 0}, 'max_features must be at least 1'),
    ],
)
def test_options_out_of_range(options, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        BuildOptions(**options)


def test_real_desk_with_motion_capture(tmp_path, vpr_data, extractor) -> None:
    source = PictureFolder(vpr_data / 'tum_fr1_desk' / 'rgb')
    table = read_poses(vpr_data / 'tum_fr1_desk' / 'groundtruth.txt')
    poses = lookup_in_table(table, source, max_gap_s=0.1)
    options = BuildOptions(min_distance_m=0.3, min_angle_deg=30)
    report = build_map(source, extractor, tmp_path / 'map', poses=poses, options=options)
    assert report.num_frames == 613
    positions = report.place_map.places['position']
    assert 15 < len(positions) < 60
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 0.35
    assert report.place_map.places['stamp_ns'][0] == 1305031452791720000


def test_real_drive_with_kitti_poses(tmp_path, vpr_data, extractor) -> None:
    source = PictureFolder(vpr_data / 'kitti_03' / 'image_0')
    table = read_poses(vpr_data / 'kitti_03' / 'poses_kitti.txt')
    poses = lookup_in_table(table, source, max_gap_s=1)
    options = BuildOptions(min_distance_m=10, picture_height=120)
    report = build_map(source, extractor, tmp_path / 'map', poses=poses, options=options)
    assert report.length_m == pytest.approx(559, rel=0.02)
    assert 45 <= len(report.place_map) <= 60 and not report.dropped


def _keyframes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / 'keyframes').iterdir()}


@pytest.fixture
def kitchen_build(vpr_data, extractor):
    """A function that builds a map of 120 real pictures with poses and a known camera."""
    source = PictureFolder(vpr_data / 'red_kitchen' / 'rgb')
    table = read_poses(vpr_data / 'red_kitchen' / 'poses_tum.txt')
    matrix = np.array([[525.0, 0, 319.5], [0, 525, 239.5], [0, 0, 1]])
    camera = MapCamera(0, Calibration(Intrinsics(matrix), 640, 480), (0, 0, 0, 0, 0, 0, 1))

    class Begin(PictureFolder):
        def frames(self):
            return itertools.islice(super().frames(), 120)

    def _build(directory: Path, **how):
        options = {'min_distance_m': 0.05, 'min_angle_deg': 10.0, 'features': 'orb'} | how
        progress = options.pop('progress', None)
        return build_map(
            Begin(source.path),
            extractor,
            directory,
            poses=lookup_in_table(table, source, max_gap_s=1),
            options=BuildOptions(cameras=(camera,), **options),
            progress=progress,
        )

    return _build


def test_features_and_landmarks_of_every_place(tmp_path, kitchen_build) -> None:
    told = []
    report = kitchen_build(
        tmp_path / 'map', picture_height=240, progress=lambda *counts: told.append(counts)
    )
    n = len(report.place_map)
    assert told[-1] == (120, n, n) and report.num_with_landmarks > 0.8 * n > 10
    place_map = PlaceMap.load(tmp_path / 'map')
    assert place_map.cameras[0].body_from_camera == (0, 0, 0, 0, 0, 0, 1)
    store = store_of_map(place_map)
    store.check(n)
    assert len(store) == n
    assert store.index['num_landmarks'].min() >= 0
    # Kept at 240 rows, found at the 360 that the picture has: its own size is below the limit.
    assert store.keyframe(3).features.height == 360
    assert cv2.imread(str(tmp_path / 'map' / place_map.images[3])).shape == (240, 320, 3)
    height = kitchen_build(tmp_path / 'small', feature_height=180, max_features=300)
    small = store_of_map(height.place_map).keyframe(3)
    assert (small.features.width, small.features.height) == (240, 180)
    assert 100 < len(small.features) <= 300
    # The picture's own corner stays its corner.
    np.testing.assert_allclose(small.camera.matrix[0], [525 * 0.375, 0, 320 * 0.375 - 0.5])


@pytest.mark.parametrize('stage', ['pictures', 'landmarks'])
def test_features_of_an_interrupted_build_are_not_found_twice(
    tmp_path, kitchen_build, stage
) -> None:
    kitchen_build(tmp_path / 'whole')

    def stop(num_frames: int, num_places: int, num_done: int) -> None:
        if (num_places == 10 and stage == 'pictures') or num_done == 7:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        kitchen_build(tmp_path / 'map', progress=stop)
    partial = tmp_path / 'map.partial' / 'keyframes'
    before = {path.name: path.stat().st_mtime_ns for path in partial.glob('*.npz')}
    places = []
    report = kitchen_build(tmp_path / 'map', progress=lambda *counts: places.append(counts))
    assert report.num_resumed == (8 if stage == 'pictures' else len(report.place_map))
    assert _keyframes(tmp_path / 'map') == _keyframes(tmp_path / 'whole')
    if stage == 'landmarks':
        kept = sorted(before)[:7]  # whose landmarks were found: never written again
        folder = tmp_path / 'map' / 'keyframes'
        assert [(folder / name).stat().st_mtime_ns for name in kept] == [
            before[name] for name in kept
        ]


def test_other_features_are_another_build(tmp_path, kitchen_build) -> None:
    def stop(num_frames: int, num_places: int, num_done: int) -> None:
        if num_places == 10:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        kitchen_build(tmp_path / 'map', progress=stop)
    with pytest.raises(MapError, match='features was orb, is sift'):
        kitchen_build(tmp_path / 'map', features='sift')
    with pytest.raises(MapError, match=r'max_features was 1000, is 200'):
        kitchen_build(tmp_path / 'map', max_features=200)
