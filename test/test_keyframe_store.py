# SPDX-License-Identifier: Apache-2.0
"""Keyframes that come back from disk as they were, quickly, or not at all with a reason."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_keyframes import CAMERA, LANDMARKS, a_drive, made_features, made_keyframe, pose

from vpr_ros.errors import MapError
from vpr_ros.keyframe_store import (
    INDEX,
    INDEX_DTYPE,
    KeyframePart,
    KeyframeStore,
    store_of_map,
    write_keyframes,
)
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap
from vpr_ros.verification.features import LocalFeatures, create_feature_extractor
from vpr_ros.verification.matching import match_features
from vpr_ros.verification.metric import Keyframe, Landmarks


@pytest.fixture(scope='module')
def kitchen(vpr_data: Path) -> list[np.ndarray]:
    """Two real pictures of one place: RGB (360, 480, 3)."""
    files = [vpr_data / 'red_kitchen' / 'rgb' / f'{i:06d}.jpg' for i in (40, 52)]
    return [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]


def stored(tmp_path: Path, *pictures: LocalFeatures) -> list[LocalFeatures]:
    with KeyframeStore(tmp_path / 'keyframes') as store:
        for row, features in enumerate(pictures):
            store.add(row, Keyframe(features), drive=0)
    again = KeyframeStore(tmp_path / 'keyframes', read_only=True)
    return [again.keyframe(row).features for row in range(len(pictures))]


def test_rootsift_of_real_pictures_matches_as_before(tmp_path, kitchen) -> None:
    sift = create_feature_extractor('sift')
    before = [sift.extract(rgb) for rgb in kitchen]
    after = stored(tmp_path, *before)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new.keypoints, old.keypoints)
        assert new.descriptors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(new.descriptors, axis=1), 1, atol=1e-6)
        assert (
            np.abs(np.sum(old.descriptors * new.descriptors, axis=1) - 1).max() < 5e-5
        )  # 0.6 degrees
    products = [first.descriptors @ second.descriptors.T for first, second in (before, after)]
    assert np.abs(products[0] - products[1]).max() < 3e-3
    pairs = [
        {tuple(pair) for pair in match_features(*pictures, max_ratio=0.8, min_cosine=0.8).tolist()}
        for pictures in (before, after, (before[0], after[1]))  # a live picture is not quantised
    ]
    assert len(pairs[0]) > 150
    for other in pairs[1:]:
        assert len(pairs[0] & other) / len(pairs[0] | other) > 0.98


def test_orb_comes_back_bit_by_bit_and_takes_little_room(tmp_path, kitchen) -> None:
    before = create_feature_extractor('orb').extract(kitchen[0])
    (after,) = stored(tmp_path, before)
    assert (after.kind, after.width, after.height) == ('orb', 480, 360)
    np.testing.assert_array_equal(after.descriptors, before.descriptors)
    assert after.descriptors.dtype == np.uint8
    room = (tmp_path / 'keyframes' / '000000.npz').stat().st_size
    assert room < 40 * len(before) + 3000


def test_learned_features_take_half_the_room_and_nearly_the_same(tmp_path) -> None:
    before = made_features(n=500)
    (after,) = stored(tmp_path, before)
    assert after.kind == 'xfeat' and after.descriptors.dtype == np.float32
    assert np.abs(after.descriptors - before.descriptors).max() < 5e-4
    room = (tmp_path / 'keyframes' / '000000.npz').stat().st_size
    assert room < 500 * (2 * 64 + 8) + 3000


def test_a_picture_without_features_is_kept_too(tmp_path) -> None:
    empty = [made_features(n=0, kind=kind, d=128) for kind in ('sift', 'xfeat')]
    assert [len(features) for features in stored(tmp_path, *empty)] == [0, 0]


def test_a_black_patch_has_no_direction_before_and_after(tmp_path) -> None:
    features = made_features(n=2, kind='sift', d=128)
    features.descriptors[:] = np.abs(features.descriptors)
    features.descriptors[1] = 0
    (after,) = stored(tmp_path, features)
    assert np.linalg.norm(after.descriptors, axis=1).tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize('reopened', [False, True])
def test_camera_pose_and_landmarks_come_back(tmp_path, reopened) -> None:
    store = KeyframeStore(tmp_path)
    store.add(5, made_keyframe(1, pose(3)), drive=2, camera=1)
    store.add(2, Keyframe(made_features(2)), drive=0)
    assert store.landmarks(5) is None
    store.keep_landmarks(5, LANDMARKS)
    if reopened:
        store.close()
        store = KeyframeStore(tmp_path, read_only=True)
    assert len(store) == 2 and 5 in store and 3 not in store
    keyframe = store.keyframe(5)
    np.testing.assert_array_equal(keyframe.camera.matrix, CAMERA.matrix)
    np.testing.assert_array_equal(keyframe.camera.distortion, CAMERA.distortion)
    np.testing.assert_array_equal(keyframe.pose, pose(3))
    landmarks = store.landmarks(5)
    np.testing.assert_array_equal(landmarks.rows, LANDMARKS.rows)
    np.testing.assert_array_equal(landmarks.points, LANDMARKS.points)
    np.testing.assert_allclose(landmarks.depth_error, LANDMARKS.depth_error, rtol=1e-6)
    other = store.keyframe(2)
    assert other.camera is None and other.pose is None
    assert store.keyframe(3) is None and store.landmarks(3) is None and store.neighbours(3) == []
    assert store.landmarks(2) is None and store.neighbours(2) == []


def test_no_landmarks_found_is_not_the_same_as_not_looked_for(tmp_path) -> None:
    with KeyframeStore(tmp_path) as store:
        store.add(0, made_keyframe(), drive=0)
        store.keep_landmarks(0, Landmarks(np.zeros(0, int), np.zeros((0, 3)), np.zeros(0), 0.0))
    assert len(KeyframeStore(tmp_path).landmarks(0).rows) == 0


def test_neighbours_are_of_the_same_drive_and_camera(tmp_path) -> None:
    store = KeyframeStore(tmp_path)
    rows = np.random.default_rng(0).permutation(60)
    for row in rows.tolist():  # two cameras by turns; from row 40 on, the odometry has jumped
        drive, camera = int(row >= 40), row % 2
        at = pose(0.1 * row, 50.0 * camera)
        store.add(row, made_keyframe(row, at), drive=drive, camera=camera)
    for row in range(60):
        found = store.neighbours(row)
        assert 4 <= len(found) <= 8 and row not in found
        assert {(other >= 40, other % 2) for other in found} == {(row >= 40, row % 2)}
    assert store.neighbours(20)[:2] == [12, 28]  # four before and after, of the same camera


def test_a_row_that_is_stored_again_is_another_keyframe(tmp_path) -> None:
    store = a_drive(tmp_path)
    store.keep_landmarks(3, LANDMARKS)
    store.add(3, made_keyframe(99, pose(7)), drive=1)
    assert len(store) == 12 and store.landmarks(3) is None
    np.testing.assert_array_equal(
        store.keyframe(3).features.keypoints, made_features(99).keypoints
    )
    assert store.neighbours(3) == [] and 3 not in store.neighbours(4)


def test_an_interrupted_run_takes_up_its_files(tmp_path) -> None:
    store = a_drive(tmp_path, 3)
    store.keep_landmarks(1, LANDMARKS)
    again = KeyframeStore(tmp_path)  # as after a kill: the index was never written
    assert len(again) == 0
    for row in range(3):
        again.enlist(row, pose(0.1 * row), drive=0)
    assert again.index['num_landmarks'].tolist() == [-1, 2, -1]
    assert again.index['num_features'].tolist() == [20] * 3
    with pytest.raises(MapError, match=r'000003\.npz is missing'):
        again.enlist(3, None, drive=0)


def test_writing_takes_the_index_away_until_it_is_true_again(tmp_path) -> None:
    with a_drive(tmp_path, 2) as store:
        store.save()
        store.add(2, made_keyframe(), drive=0)
        assert not (tmp_path / INDEX).exists()
    assert len(KeyframeStore(tmp_path)) == 3


def test_a_map_on_disk_is_not_written_to(tmp_path) -> None:
    a_drive(tmp_path, 2).close()
    store = KeyframeStore(tmp_path, read_only=True)
    for change in (
        lambda: store.add(0, made_keyframe(), drive=0),
        lambda: store.keep_landmarks(0, LANDMARKS),
        store.save,
    ):
        with pytest.raises(MapError, match='hashes would not hold'):
            change()
    store.close()
    assert len(KeyframeStore(tmp_path)) == 2


@pytest.mark.parametrize(
    ('damage', 'complaint'),
    [
        ('gone', r'000001\.npz is missing'),
        ('cut', r'000001\.npz is no whole keyframe'),
        ('flipped', r'000001\.npz is no whole keyframe.*CRC'),
        ('text', r'000001\.npz is no whole keyframe'),
        ('pickle', r'000001\.npz is no whole keyframe.*allow_pickle'),
        ('foreign', r"000001\.npz is no whole keyframe: 'format'"),
        ('newer', r'format \[2\], this vpr_ros reads 1'),
        ('shape', r'keypoints is float32 \(20, 3\)'),
        ('landmark', r'a landmark of feature 20 of 20'),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path, damage, complaint) -> None:
    store = a_drive(tmp_path, 2)
    store.keep_landmarks(1, LANDMARKS)
    path = tmp_path / '000001.npz'
    content = bytearray(path.read_bytes())
    with np.load(path) as file:
        members = dict(file)
    if damage == 'gone':
        path.unlink()
    elif damage == 'cut':
        path.write_bytes(content[:-100])
    elif damage == 'flipped':
        at = content.index(members['descriptors'].tobytes()[:64])
        content[at] ^= 1
        path.write_bytes(content)
    elif damage == 'text':
        path.write_text('no keyframe')
    else:
        changed = {
            'pickle': {'kind': np.array([{}])},
            'newer': {'format': np.array([2], np.int32)},
            'shape': {'keypoints': np.zeros((20, 3), np.float32)},
            'landmark': {'landmark_rows': np.array([3, 20], np.int32)},
        }
        np.savez(
            path, **({'a': np.zeros(3)} if damage == 'foreign' else members | changed[damage])
        )
    with pytest.raises(MapError, match=complaint):
        store.keyframe(1)
    assert store.keyframe(0) is not None
    with pytest.raises(MapError, match=complaint):
        store.check(2)


@pytest.mark.parametrize('damage', ['cut', 'text', 'dtype', 'twice'])
def test_a_damaged_index_is_named(tmp_path, damage) -> None:
    a_drive(tmp_path).close()
    path = tmp_path / INDEX
    if damage == 'cut':
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == 'text':
        path.write_text('no index')
    else:
        np.save(path, np.zeros(3) if damage == 'dtype' else np.zeros(2, INDEX_DTYPE))
    with pytest.raises(MapError, match=INDEX):
        KeyframeStore(tmp_path)


def test_an_index_of_another_map_is_refused(tmp_path) -> None:
    with pytest.raises(MapError, match='tells of row 4 in a map of 4 places'):
        a_drive(tmp_path, 5).check(4)


def test_a_hundred_thousand_keyframes_open_and_answer_at_once(tmp_path) -> None:
    entries = np.zeros(100_000, INDEX_DTYPE)
    entries['row'] = np.arange(len(entries))
    entries['pose'] = np.eye(4)
    entries['pose'][:, 0, 3] = 0.1 * np.arange(len(entries))
    np.save(tmp_path / INDEX, entries)  # and not one file: opening must not look for any
    begun = time.perf_counter()
    store = KeyframeStore(tmp_path, read_only=True)
    assert time.perf_counter() - begun < 5
    begun = time.perf_counter()
    for row in range(50_000, 50_100):
        assert len(store.neighbours(row)) == 8
    assert (time.perf_counter() - begun) / 100 < 0.02


def test_a_keyframe_is_read_in_a_few_milliseconds(tmp_path, kitchen) -> None:
    store = KeyframeStore(tmp_path)
    store.add(0, Keyframe(create_feature_extractor().extract(kitchen[0]), CAMERA), drive=0)
    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        store.keyframe(0)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.01


def test_one_thread_writes_while_another_reads(tmp_path) -> None:
    store = KeyframeStore(tmp_path)
    store.add(0, made_keyframe(0, pose(0)), drive=0)
    done = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        rng = np.random.default_rng(1)
        try:
            while not done.is_set():
                row = int(rng.integers(len(store)))
                keyframe = store.keyframe(row)
                assert keyframe.features.keypoints.tobytes() == (
                    made_features(row).keypoints.tobytes()
                )
                assert set(store.neighbours(row)) <= set(range(len(store)))
                landmarks = store.landmarks(row)
                assert landmarks is None or len(landmarks.rows) == 2
        except BaseException as error:  # told by the test's own thread
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for row in range(1, 300):
        store.add(row, made_keyframe(row, pose(0.1 * row)), drive=row // 100)
        store.keep_landmarks(row - 1, LANDMARKS)
    done.set()
    reader.join()
    assert not failures, failures


def test_a_temporary_store_leaves_nothing(tmp_path) -> None:
    store = KeyframeStore.temporary(tmp_path)
    store.add(0, made_keyframe(), drive=0)
    assert store.keyframe(0) is not None
    store.close()
    assert list(tmp_path.iterdir()) == []


def a_map(n: int, *, first: int = 0) -> PlaceMap:
    place_map = PlaceMap(ModelRef('net', 'a' * 64, 4))
    grow(place_map, n, first=first)
    return place_map


def grow(place_map: PlaceMap, n: int, *, first: int) -> None:
    place_map.add(
        np.tile([[1.0, 0, 0, 0]], (n, 1)),
        stamps_ns=np.arange(n),
        images=[f'keyframes/{row:06d}.jpg' for row in range(first, first + n)],
    )


def test_a_temporary_store_stays_while_somebody_holds_it(tmp_path) -> None:
    store = KeyframeStore.temporary(tmp_path)
    store.add(0, made_keyframe(0), drive=0)
    with store.held(), store.held():
        store.close()
        assert store.keyframe(0) is not None
        with pytest.raises(MapError, match='what was learnt was forgotten meanwhile'):
            store.held().__enter__()
    assert not store.folder.exists()


def test_a_map_without_features_has_no_store(tmp_path) -> None:
    assert store_of_map(a_map(1)) is None
    a_map(1).save(tmp_path / 'map')
    assert store_of_map(PlaceMap.load(tmp_path / 'map')) is None


def test_rows_are_renumbered_and_drives_kept_apart(tmp_path) -> None:
    first, second = a_drive(tmp_path / 'first', 6, drive=3), a_drive(tmp_path / 'second', 4)
    first.keep_landmarks(5, LANDMARKS)
    kept = {2: 0, 3: 1, 5: 2}
    behind = {row: row + 3 for row in range(4)}
    write_keyframes(tmp_path / 'both', [KeyframePart(first, kept), KeyframePart(second, behind)])
    store = KeyframeStore(tmp_path / 'both')
    assert store.index['row'].tolist() == list(range(7))
    assert store.index['drive'].tolist() == [0] * 3 + [1] * 4
    assert store.index['num_landmarks'].tolist() == [-1, -1, 2, -1, -1, -1, -1]
    for old, new in kept.items():
        assert store.keyframe(new).features.keypoints.tobytes() == (
            made_features(old).keypoints.tobytes()
        )
        assert (tmp_path / 'both' / f'{new:06d}.jpg').read_bytes() == b'picture %d' % old
    assert set(store.neighbours(3)) == {4, 5}
    assert len(first) == 6 and (tmp_path / 'first' / '000000.npz').exists()


def test_a_missing_file_is_not_left_out_in_silence(tmp_path) -> None:
    store = a_drive(tmp_path / 'store', 3)
    (tmp_path / 'store' / '000001.npz').unlink()
    with pytest.raises(MapError, match='row 1 is missing'):
        store.write_to(tmp_path / 'copy')
