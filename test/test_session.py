# SPDX-License-Identifier: Apache-2.0
"""What was learnt on a drive, written as a map: alone, behind a loaded one, again."""

import dataclasses

import numpy as np
import pytest
from made_moves import S, at, picture
from scipy.spatial.transform import Rotation

from vpr_ros.cameras import MapCamera, matrix_of_pose
from vpr_ros.errors import MapError, MapModelMismatchError
from vpr_ros.keyframe_store import KeyframeStore, store_of_map
from vpr_ros.map_calibration import MapCalibration
from vpr_ros.model_ref import ModelRef
from vpr_ros.online_map import MappingConfig, OnlineMap
from vpr_ros.place_map import PlaceMap, record_calibration
from vpr_ros.session import Anchor, Session

MODEL = ModelRef('made', 'ab' * 32, 64)
MOUNTED = (0.5, 0.0, 1.0, -0.5, 0.5, -0.5, 0.5)


@pytest.fixture
def learnt():
    online = OnlineMap(MODEL, 'odom', MappingConfig(), KeyframeStore.temporary())
    yield online
    online.close()


def drive(online, xs, *, start=0, piece=0, camera=0):
    for n, x in enumerate(xs):
        pose = None if x is None else at(x, piece=piece)
        online.learn(picture(start + n, look=n, camera=camera, odometry=pose))
    online.release((start + len(xs)) * S)


def check(place_map):
    """What `vpr map verify` looks at."""
    loaded = PlaceMap.load(place_map.directory)
    store = store_of_map(loaded)
    if store is not None:
        store.check(len(loaded))
    return loaded


def x_of(place_map):
    return place_map.places['position'][:, 0].tolist()


def test_what_was_learnt_becomes_a_map(learnt, tmp_path):
    drive(learnt, [0.0, 0.5, 1.0, 1.5, 2.0])
    saved = Session(learnt.snapshot(), None, ()).save(tmp_path / 'map')
    assert saved.num_unplaced == 0
    loaded = check(saved.place_map)
    assert loaded.frame_id == 'map', 'odom means another frame tomorrow'
    assert x_of(loaded) == [0.0, 0.5, 1.0, 1.5, 2.0], 'those that wait are written too'
    assert (loaded.places['stamp_ns'] // S).tolist() == [0, 1, 2, 3, 4]
    assert loaded.cameras[0].body_from_camera == (0, 0, 0, 0, 0, 0, 1), 'poses of the camera'
    assert all(loaded.picture_path(name).is_file() for name in loaded.images)
    store = store_of_map(loaded)
    assert len(store) == 5
    assert store.neighbours(2)
    np.testing.assert_array_equal(store.keyframe(3).pose[:3, 3], [1.5, 0, 0])


def test_learning_goes_on_after_saving(learnt, tmp_path):
    drive(learnt, [0.0, 0.5])
    Session(learnt.snapshot(), None, ()).save(tmp_path / 'map')
    drive(learnt, [1.0, 1.5], start=2)
    saved = Session(learnt.snapshot(), None, ()).save(tmp_path / 'map')
    assert len(check(saved.place_map)) == 4


def test_a_map_is_in_one_frame_though_odometry_jumped(learnt, tmp_path):
    drive(learnt, [0.0, 0.5])
    drive(learnt, [0.0, 0.5, 1.0], start=2, piece=1)
    drive(learnt, [None, None], start=5)
    saved = Session(learnt.snapshot(), None, ()).save(tmp_path / 'map')
    assert saved.num_unplaced == 4
    assert 'not of the longest piece' in saved.explain_unplaced()
    loaded = check(saved.place_map)
    np.testing.assert_array_equal(x_of(loaded), [np.nan] * 2 + [0.0, 0.5, 1.0] + [np.nan] * 2)
    store = store_of_map(loaded)
    assert store.keyframe(0).pose is None
    assert store.keyframe(2).pose is not None
    assert store.neighbours(0) == []


def test_a_map_of_the_body_says_nothing_of_the_camera(learnt, tmp_path):
    for n in range(3):
        odometry = dataclasses.replace(at(0.5 * n), of_camera=False)
        learnt.learn(picture(n, odometry=odometry))
    loaded = check(Session(learnt.snapshot(), None, ()).save(tmp_path / 'map').place_map)
    assert x_of(loaded) == [0.0, 0.5, 1.0]
    assert loaded.cameras == ()
    assert store_of_map(loaded).keyframe(0).pose is None


def a_loaded_map(learnt, folder, *, mounted=MOUNTED) -> PlaceMap:
    """Three places of a body at y = 3 that carries camera 0 so; ids 7, 8, 9."""
    place_map = PlaceMap(MODEL, frame_id='town')
    place_map.cameras = (MapCamera(0, None, mounted),)
    place_map.add(
        np.eye(64, dtype=np.float32)[[50, 51, 52]],
        stamps_ns=np.array([-30, -20, -10]) * S,
        positions=np.array([[0.0, 3, 0], [1, 3, 0], [2, 3, 0]]),
        orientations_xyzw=np.tile([0.0, 0, 0, 1], (3, 1)),
        images=['a.jpg', 'b.jpg', ''],
        place_ids=np.array([7, 8, 9]),
    )
    store = KeyframeStore(folder.parent / 'keyframes_of_town')
    for row in range(3):
        camera = place_map.cameras[0]
        place = place_map.places[row]
        frame = learnt.store.keyframe(0)
        pose = camera.pose(place['position'], place['orientation_xyzw'])
        store.add(row, dataclasses.replace(frame, pose=pose), drive=0)
    place_map.save(folder, keyframes=store)
    return PlaceMap.load(folder)


def anchor(second, x, *, piece=0):
    """The odometry's frame stands at (x, 10, 0) of the map, turned by 90 degrees."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler('z', 90, degrees=True).as_matrix()
    matrix[:3, 3] = [x, 10, 0]
    return Anchor(second * S, piece, matrix)


def test_what_was_learnt_is_put_behind_what_was_loaded(learnt, tmp_path):
    drive(learnt, [0.0, 0.5, 1.0])
    loaded = a_loaded_map(learnt, tmp_path / 'town')
    saved = Session(learnt.snapshot(), loaded, [anchor(0, 100.0), anchor(2, 102.0)]).save(
        tmp_path / 'more'
    )
    more = check(saved.place_map)
    assert (saved.num_unplaced, more.frame_id, len(more)) == (0, 'town', 6)
    assert more.cameras == loaded.cameras
    assert more.places['place_id'].tolist() == [7, 8, 9, 10, 11, 12]
    np.testing.assert_array_equal(more.places[:3], loaded.places)
    store = store_of_map(more)
    # The camera at 0.5 m along the odometry's x is at y = 10.5; the nearest anchor places it.
    for row, true in ((3, [100, 10, 0]), (4, [100, 10.5, 0]), (5, [102, 11, 0])):
        camera = store.keyframe(row).pose
        np.testing.assert_allclose(camera[:3, 3], true, atol=1e-9)
        place = more.places[row]
        body = matrix_of_pose(np.concatenate([place['position'], place['orientation_xyzw']]))
        np.testing.assert_allclose(body @ matrix_of_pose(MOUNTED), camera, atol=1e-9)
    assert set(store.neighbours(4)) <= {3, 5}, 'drives of two recordings are apart'
    assert len(PlaceMap.load(tmp_path / 'town')) == 3


def test_the_loaded_map_can_be_replaced_in_its_place(learnt, tmp_path):
    drive(learnt, [0.0, 0.5, 1.0])
    loaded = a_loaded_map(learnt, tmp_path / 'town')
    session = Session(learnt.snapshot(), loaded, [anchor(0, 100.0)])
    for _ in range(2):  # a second time nothing is doubled
        saved = session.save(tmp_path / 'town')
        assert len(check(saved.place_map)) == 6
    assert len(loaded) == 3
    assert np.linalg.norm(loaded.descriptors[2]) == pytest.approx(1.0), 'still in use'


def test_a_map_that_grows_keeps_its_calibration_and_its_precision(learnt, tmp_path):
    drive(learnt, [0.0, 0.5, 1.0])
    town = a_loaded_map(learnt, tmp_path / 'town').directory
    PlaceMap.load(town).save(town, dtype='float16')
    calibration = MapCalibration(0.4, 0.99, 1.0, 0.9, 0.5, 20, 10, 'town itself', '2026-01-01')
    record_calibration(town, calibration)
    Session(learnt.snapshot(), PlaceMap.load(town), [anchor(0, 100.0)]).save(town)
    grown = PlaceMap.load(town)
    assert (len(grown), grown.calibration, grown.descriptors.dtype) == (6, calibration, 'float16')


def test_what_was_saved_and_loaded_again_is_not_doubled(learnt, tmp_path):
    drive(learnt, [0.0, 0.5, 1.0])
    first = Session(learnt.snapshot(), None, ()).save(tmp_path / 'map').place_map
    loaded = PlaceMap.load(first.directory)
    drive(learnt, [1.5, 2.0], start=3)
    same = Anchor(S, 0, np.eye(4))
    saved = Session(learnt.snapshot(), loaded, [same]).save(tmp_path / 'map')
    assert x_of(check(saved.place_map)) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert (saved.place_map.places['stamp_ns'] // S).tolist() == [0, 1, 2, 3, 4]
    frame = store_of_map(saved.place_map).keyframe(4)
    np.testing.assert_array_equal(
        frame.features.keypoints, learnt.store.keyframe(4).features.keypoints
    )


def test_places_are_unplaced_where_the_loaded_map_was_not_seen(learnt, tmp_path):
    drive(learnt, [0.0, 0.5])
    drive(learnt, [7.0, 7.5], start=2, piece=1)
    loaded = a_loaded_map(learnt, tmp_path / 'town')
    saved = Session(learnt.snapshot(), loaded, [anchor(3, 100.0, piece=1)]).save(tmp_path / 'b')
    assert saved.num_unplaced == 2
    assert '2 of the learnt places have no pose: there was no odometry' in (
        saved.explain_unplaced()
    )
    more = check(saved.place_map)
    assert np.isnan(more.places['position'][3:5]).all()
    assert np.isfinite(more.places['position'][5:]).all()


def test_a_camera_that_the_loaded_map_does_not_know_is_placed_itself(learnt, tmp_path):
    drive(learnt, [0.0, 0.5])
    drive(learnt, [0.5, 1.0], start=2, camera=1)
    loaded = a_loaded_map(learnt, tmp_path / 'town')
    saved = Session(learnt.snapshot(), loaded, [anchor(0, 100.0)]).save(tmp_path / 'b')
    more = check(saved.place_map)
    assert [camera.number for camera in more.cameras] == [0, 1]
    place, camera = more.places[5], more.cameras[1]
    pose = camera.pose(place['position'], place['orientation_xyzw'])
    np.testing.assert_allclose(pose, store_of_map(more).keyframe(5).pose, atol=1e-9)


def test_a_camera_that_is_mounted_nobody_knows_how_is_not_placed(learnt, tmp_path):
    drive(learnt, [0.0, 0.5])
    loaded = a_loaded_map(learnt, tmp_path / 'town')
    loaded.cameras = (MapCamera(0, None, None),)
    saved = Session(learnt.snapshot(), loaded, [anchor(0, 100.0)]).save(tmp_path / 'b')
    assert np.isnan(saved.place_map.places['position'][3:]).all()
    assert saved.num_unplaced == 2


def test_a_map_without_keyframes_is_extended(learnt, tmp_path):
    drive(learnt, [0.0, 0.5])
    town = PlaceMap(MODEL, frame_id='town')
    town.add(np.eye(64, dtype=np.float32)[:1], stamps_ns=np.array([-1]))
    town.save(tmp_path / 'town')
    loaded = PlaceMap.load(tmp_path / 'town')
    more = check(Session(learnt.snapshot(), loaded, ()).save(tmp_path / 'b').place_map)
    store = store_of_map(more)
    assert (len(more), 0 in store, 1 in store, 2 in store) == (3, False, True, True)


def test_nothing_learnt_is_nothing_to_write(learnt, tmp_path):
    with pytest.raises(MapError, match='nothing was learnt yet: there is no map to write'):
        Session(learnt.snapshot(), None, ()).save(tmp_path / 'map')
    assert not (tmp_path / 'map').exists()


def test_a_loaded_map_alone_can_be_copied(learnt, tmp_path):
    drive(learnt, [0.0])
    loaded = a_loaded_map(learnt, tmp_path / 'town')
    learnt.close()
    fresh = OnlineMap(MODEL, 'odom', MappingConfig(), KeyframeStore.temporary())
    saved = Session(fresh.snapshot(), loaded, ()).save(tmp_path / 'copy')
    fresh.close()
    assert len(check(saved.place_map)) == 3
    assert len(store_of_map(saved.place_map)) == 3


def test_another_models_map_is_not_written_over(learnt, tmp_path):
    other = PlaceMap(ModelRef('other', 'cd' * 32, 64))
    other.add(np.eye(64, dtype=np.float32)[:1], stamps_ns=np.array([1]))
    other.save(tmp_path / 'theirs')
    drive(learnt, [0.0])
    with pytest.raises(
        MapModelMismatchError,
        match=r'theirs holds a map of model other \(sha256 cdcdcdcdcdcd…\), this one is of made',
    ):
        Session(learnt.snapshot(), None, ()).save(tmp_path / 'theirs')
    assert PlaceMap.load(tmp_path / 'theirs').model.name == 'other'


def test_what_is_no_map_is_not_written_over(learnt, tmp_path):
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'letter.txt').write_text('dear')
    drive(learnt, [0.0])
    with pytest.raises(MapError, match='exists and is not a map'):
        Session(learnt.snapshot(), None, ()).save(tmp_path / 'home')
    assert (tmp_path / 'home' / 'letter.txt').read_text() == 'dear'
