# SPDX-License-Identifier: Apache-2.0
"""Which pictures become places, and when they may be recognised; pictures are made here."""

import dataclasses
import resource

import numpy as np
import pytest
from made_keyframes import CAMERA, made_features
from made_moves import S, at, heading, picture

from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.model_ref import ModelRef
from vpr_ros.online_map import MappingConfig, OnlineMap

MODEL = ModelRef('made', 'ab' * 32, 64)


@pytest.fixture
def learnt():
    online = OnlineMap(MODEL, 'odom', MappingConfig(), KeyframeStore.temporary())
    yield online
    online.close()


def stamps(online):
    return (online.place_map.places['stamp_ns'] // S).tolist()


def drive(online, seconds, *, speed=0.5, start=0, camera=0, piece=0, x=0.0):
    """A picture a second at so many m/s along x; returns whether each became a place."""
    return [
        online.learn(picture(start + n, camera=camera, odometry=at(x + speed * n, piece=piece)))
        for n in range(seconds)
    ]


def test_places_by_distance_and_by_angle(learnt):
    xs = [0.0, 0.1, 0.19, 0.2, 0.35, 0.41]
    taken = [learnt.learn(picture(n, odometry=at(x))) for n, x in enumerate(xs)]
    assert taken == [True, False, False, True, False, True]
    turns = [5.0, 9.9, 10.1, 15.0, 21.0]
    taken = [
        learnt.learn(picture(10 + n, odometry=heading(0.41, degrees)))
        for n, degrees in enumerate(turns)
    ]
    assert taken == [False, False, True, False, True]


def test_places_by_look_where_odometry_is_missing(learnt):
    assert learnt.learn(picture(0, look=0))
    assert not learnt.learn(picture(1, look=0.3))  # similarity cos(0.3) = 0.955
    assert learnt.learn(picture(2, look=0.5))  # 0.878
    assert not learnt.learn(picture(3, look=0.6, odometry=at(9.0)))  # the last had no odometry
    learnt.config = MappingConfig(keyframe_similarity=0.999)
    assert learnt.learn(picture(4, look=0.6, odometry=at(9.0)))


def test_what_shows_nothing_is_not_learnt(learnt):
    dark = dataclasses.replace(picture(0), descriptor=None, problem='dark: nothing')
    assert not learnt.learn(dark)
    assert len(learnt) == 0


@pytest.fixture
def full_disk():
    """A function after which no file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('most', [10, 2000])  # bytes: not even the picture, not the features
def test_what_cannot_be_written_is_no_place_and_the_next_can_be(learnt, full_disk, most):
    learnt.learn(picture(0))
    full_disk(most)
    with pytest.raises(OSError, match='File too large'):
        learnt.learn(picture(1, look=1))
    full_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert len(learnt) == len(learnt.store) == 1
    assert learnt.learn(picture(2, look=1)), 'the last keyframe is still the first picture'
    for n in range(3, 12):
        learnt.learn(picture(n, look=n))
    assert learnt.release(100 * S) == 1, 'what was not kept does not count'
    keyframe = learnt.store.keyframe(1)
    np.testing.assert_array_equal(keyframe.features.keypoints, made_features(2).keypoints)


def test_what_shows_nothing_still_tells_the_piece_of_odometry(learnt):
    drive(learnt, 2)
    learnt.learn(dataclasses.replace(picture(2, odometry=at(0.0, piece=1)), descriptor=None))
    assert learnt.piece == 1


def test_standing_still_piles_up_nothing_and_lets_nothing_in(learnt):
    taken = [learnt.learn(picture(n, odometry=at(0.01 * (n % 2)))) for n in range(300)]
    assert taken == [True] + [False] * 299
    assert learnt.release(300 * S) == 0
    assert [learnt.learn(picture(300 + n, look=0.01)) for n in range(300)] == [False] * 300
    assert learnt.release(600 * S) == 0


def test_turning_on_the_spot_lets_nothing_in(learnt):
    taken = [learnt.learn(picture(n, odometry=heading(0.0, 15.0 * n))) for n in range(48)]
    assert all(taken)
    assert learnt.release(100 * S) == 0


def test_places_wait_until_old_and_far_enough(learnt):
    drive(learnt, 4)  # at 0, 0.5, 1.0, 1.5 m
    assert (len(learnt), len(learnt.place_map)) == (4, 0)
    assert learnt.release(2 * S) == 0, 'far enough, not old enough'
    assert learnt.release(3 * S) == 1
    assert stamps(learnt) == [0]
    assert learnt.release(100 * S) == 1, '0.5 m are 1 m behind; the rest is old, but near'
    assert stamps(learnt) == [0, 1]
    assert len(learnt) == 4


def test_places_wait_for_keyframes_where_odometry_is_missing(learnt):
    for n in range(11):
        assert learnt.release(n * S) == 0
        learnt.learn(picture(n, look=n))
    assert learnt.release(11 * S) == 1, 'ten keyframes later'


def test_odometry_that_stops_does_not_hold_places_back(learnt):
    """It dies 0.5 m after the first place; keyframes by look go on."""
    drive(learnt, 2)
    for n in range(2, 14):
        learnt.learn(picture(n, look=n))
    learnt.release(14 * S)
    assert stamps(learnt) == [0, 1, 2, 3]


def test_a_jump_of_odometry_is_no_way_and_begins_anew(learnt):
    drive(learnt, 2)
    assert learnt.learn(picture(2, odometry=at(500.0, piece=1)))
    assert learnt.release(100 * S) == 0, '499.5 m were not driven'
    drive(learnt, 4, start=3, piece=1, x=500.0)
    learnt.release(100 * S)
    assert stamps(learnt) == [0, 1, 2, 4]  # 3 stands where 2 did
    assert learnt.pieces == [0, 0, 1, 1]
    assert learnt.piece == 1


def test_depth_comes_from_the_same_piece_of_odometry_and_the_same_camera(learnt):
    drive(learnt, 6)
    drive(learnt, 6, start=6, piece=1)
    drive(learnt, 6, start=12, piece=1, camera=1)
    store = learnt.store
    for begin in (0, 6, 12):
        rows = set(range(begin, begin + 6))
        for row in rows:
            found = store.neighbours(row)
            assert found and set(found) < rows


def test_a_camera_that_fell_silent_holds_no_place_back(learnt):
    """Two cameras on one body; the left one sends a single picture."""
    learnt.learn(picture(0, camera=1, odometry=at(0.0)))
    drive(learnt, 8, start=0)
    learnt.release(100 * S)
    assert learnt.place_map.places['camera'].tolist()[:3] == [1, 0, 0]


def test_a_silent_camera_without_odometry_holds_no_place_back(learnt):
    learnt.learn(picture(0, camera=1))
    for n in range(12):
        learnt.learn(picture(n, look=n))
    learnt.release(100 * S)
    assert len(learnt.place_map) == 3


def test_a_camera_that_starts_late_counts_from_there(learnt):
    drive(learnt, 40)
    learnt.learn(picture(40, camera=1, odometry=at(20.0)))
    learnt.release(1000 * S)
    assert 1 not in learnt.place_map.places['camera']


def test_rows_of_features_pictures_and_places_agree(learnt):
    for n in range(9):
        learnt.learn(picture(n, camera=n % 2, look=n, odometry=at(0.5 * n)))
    learnt.release(100 * S)
    place_map = learnt.place_map
    assert len(place_map) == 8
    for row, place in enumerate(place_map.places):
        keyframe = learnt.store.keyframe(row)
        second = int(place['stamp_ns'] // S)
        np.testing.assert_array_equal(keyframe.features.keypoints, made_features(second).keypoints)
        assert keyframe.pose[0, 3] == place['position'][0] == 0.5 * second
        np.testing.assert_array_equal(keyframe.camera.matrix, CAMERA.matrix)
        assert place_map.picture_path(place_map.images[row]).is_file()


def test_a_pose_of_the_body_places_no_camera(learnt):
    drive_of_body = [
        learnt.learn(picture(n, odometry=dataclasses.replace(at(0.5 * n), of_camera=False)))
        for n in range(4)
    ]
    assert all(drive_of_body), 'it serves for distances'
    assert learnt.store.keyframe(1).pose is None
    assert learnt.store.neighbours(1) == []


def test_a_snapshot_holds_those_that_wait_and_stays_as_it_is(learnt):
    drive(learnt, 6)
    learnt.release(3 * S)
    snapshot = learnt.snapshot()
    drive(learnt, 6, start=6)
    learnt.release(100 * S)
    assert (len(snapshot), len(learnt)) == (6, 12)
    assert (snapshot.stamps_ns // S).tolist() == [0, 1, 2, 3, 4, 5]
    assert [pose.position[0] for pose in snapshot.odometry] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert snapshot.descriptors.shape == (6, 64)
    assert len(snapshot.images) == 6
    assert snapshot.images[5] == 'keyframes/000005.jpg'


def test_a_snapshot_of_nothing_is_empty(learnt):
    assert len(learnt.snapshot()) == 0
    assert learnt.snapshot().descriptors.shape == (0, 64)


def test_closing_leaves_nothing_on_disk(learnt):
    drive(learnt, 3)
    folder = learnt.store.folder
    assert any(folder.iterdir())
    learnt.close()
    assert not folder.exists()


@pytest.mark.parametrize(
    'change', [{'min_keyframes': 0}, {'keyframe_similarity': 1.5}, {'min_age_s': -1.0}]
)
def test_values_out_of_range_are_named(change):
    with pytest.raises(ValueError, match=f'{next(iter(change))} must lie between'):
        MappingConfig(**change)
