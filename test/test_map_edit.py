# SPDX-License-Identifier: Apache-2.0
"""Maps made of maps: every place keeps what is its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_keyframes import CAMERA, LANDMARKS, a_drive, made_features
from made_moves import at, picture

from vpr_ros.cameras import Calibration, MapCamera
from vpr_ros.cli import main
from vpr_ros.errors import MapError, MapModelMismatchError
from vpr_ros.keyframe_store import KeyframeStore, store_of_map
from vpr_ros.map_calibration import MapCalibration
from vpr_ros.map_edit import Cut, merge_maps, trim_map
from vpr_ros.model_ref import ModelRef
from vpr_ros.online_map import MappingConfig, OnlineMap
from vpr_ros.place_map import PlaceMap, record_calibration
from vpr_ros.session import Anchor, Session

S = 1_000_000_000
DRIVEN = ModelRef('made', 'ab' * 32, 64)


def a_map(tmp_path: Path, name: str, n: int = 5, *, features: bool = True, **how) -> PlaceMap:
    """A saved map of a straight drive; its keyframes are those of `a_drive`."""
    dtype = how.pop('dtype', 'float32')
    cameras = how.pop('cameras', ())
    model = ModelRef('net', how.pop('sha256', 'a') * 64, 4)
    place_map = PlaceMap(model, **({'frame_id': 'map'} | how))
    place_map.cameras = cameras
    rng = np.random.default_rng(n)
    descriptors = rng.normal(size=(n, 4))
    positions = np.zeros((n, 3))
    positions[:, 0] = np.arange(n)
    place_map.add(
        descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
        stamps_ns=S * np.arange(n),
        positions=positions,
        orientations_xyzw=np.tile([0.0, 0, 0, 1], (n, 1)),
        images=[f'keyframes/{row:06d}.jpg' if features else f'{row}.png' for row in range(n)],
    )
    store = None
    if features:
        store = a_drive(tmp_path / f'{name}.files', n)
        store.keep_landmarks(n - 1, LANDMARKS)
    place_map.save(tmp_path / name, dtype=dtype, keyframes=store)
    return PlaceMap.load(tmp_path / name)


def test_merged_maps_keep_their_keyframes_and_their_drives(tmp_path) -> None:
    camera = MapCamera(0, Calibration(CAMERA, 480, 360), (0, 0, 0, 0, 0, 0, 1))
    first = a_map(tmp_path, 'first', 5, cameras=(camera,))
    second = a_map(tmp_path, 'second', 4, cameras=(camera, MapCamera(1)))
    merge_maps([first, second], tmp_path / 'both')
    both = PlaceMap.load(tmp_path / 'both')
    assert both.places['place_id'].tolist() == list(range(9))
    np.testing.assert_array_equal(
        both.descriptors, np.concatenate([first.descriptors, second.descriptors])
    )
    assert [camera.number for camera in both.cameras] == [0, 1]
    assert both.cameras[0].to_json() == camera.to_json()
    store = store_of_map(both)
    store.check(9)
    assert store.index['drive'].tolist() == [0] * 5 + [1] * 4
    assert store.index['num_landmarks'].tolist() == [-1] * 4 + [2] + [-1] * 3 + [2]
    assert set(store.neighbours(4)) == {0, 2, 3} and set(store.neighbours(5)) == {6, 7}
    for row, own in enumerate([*range(5), *range(4)]):
        expected = made_features(own).keypoints
        np.testing.assert_array_equal(store.keyframe(row).features.keypoints, expected)
        assert (tmp_path / 'both' / both.images[row]).read_bytes() == b'picture %d' % own
    assert len(store_of_map(PlaceMap.load(tmp_path / 'first'))) == 5, 'what was is not changed'


def test_a_map_without_features_can_be_merged_with_one_that_has_them(tmp_path) -> None:
    maps = [a_map(tmp_path, 'plain', 3, features=False), a_map(tmp_path, 'rich', 2)]
    merge_maps(maps, tmp_path / 'both')
    both = PlaceMap.load(tmp_path / 'both')
    assert both.images == [
        '0.png',
        '1.png',
        '2.png',
        'keyframes/000003.jpg',
        'keyframes/000004.jpg',
    ]
    assert store_of_map(both).index['row'].tolist() == [3, 4]
    merge_maps([maps[0], maps[0]], tmp_path / 'plain2')
    assert not (tmp_path / 'plain2' / 'keyframes').exists()


def test_what_two_maps_say_differently_of_a_camera_is_not_known(tmp_path) -> None:
    lens = Calibration(CAMERA, 480, 360)
    maps = [
        a_map(tmp_path, 'first', cameras=(MapCamera(0, lens),)),
        a_map(tmp_path, 'second', cameras=(MapCamera(0, lens, (0, 0, 1, 0, 0, 0, 1)),)),
    ]
    (camera,) = merge_maps(maps, tmp_path / 'both').cameras
    assert camera.calibration is None and camera.body_from_camera is None


def test_maps_of_two_models_or_frames_are_not_merged(tmp_path) -> None:
    first = a_map(tmp_path, 'first')
    with pytest.raises(MapModelMismatchError, match=r'first was made by .* (?s:.)*second by net'):
        merge_maps([first, a_map(tmp_path, 'second', sha256='b')], tmp_path / 'both')
    with pytest.raises(MapError, match=r"first are in frame 'map'.*third in 'utm'"):
        merge_maps([first, a_map(tmp_path, 'third', frame_id='utm')], tmp_path / 'both')
    assert not (tmp_path / 'both').exists()


@pytest.fixture
def saved_drive(tmp_path):
    """Drive, each call a session of its own unless `online` goes on, and save."""
    stores = []

    def save(name, *, online=None, xs=(0.0, 0.5, 1.0), piece=0, start=0, loaded=None):
        if online is None:
            online = OnlineMap(DRIVEN, 'odom', MappingConfig(), KeyframeStore.temporary())
            stores.append(online)
        for n, x in enumerate(xs):
            odometry = None if x is None else at(x, piece=piece)
            online.learn(picture(start + n, look=n, odometry=odometry))
        anchors = [Anchor(0, 0, np.eye(4))]
        Session(online.snapshot(), loaded, anchors).save(tmp_path / name)
        return online, PlaceMap.load(tmp_path / name)

    yield save
    for online in stores:
        online.close()


def test_maps_of_two_drives_are_not_taken_for_one_frame(tmp_path, saved_drive) -> None:
    online, monday = saved_drive('monday')
    _, tuesday = saved_drive('tuesday')
    assert monday.frame_id == tuesday.frame_id == 'map'
    with pytest.raises(
        MapError,
        match=r"monday and of .*tuesday are in two frames, though both are called 'map': what is "
        r'learnt .* play the second drive again with mode:=both map:=.*monday and call ~/save_map',
    ):
        merge_maps([monday, tuesday], tmp_path / 'week')
    assert not (tmp_path / 'week').exists()
    built = PlaceMap(DRIVEN)
    built.add(monday.descriptors[:1], stamps_ns=np.zeros(1), positions=np.zeros((1, 3)))
    built.save(tmp_path / 'built')
    with pytest.raises(MapError, match='are in two frames'):
        merge_maps([built, monday], tmp_path / 'week')
    _, later = saved_drive('later', online=online, xs=(1.5, 2.0), start=3)
    trim_map(later, [3, 4], tmp_path / 'end')
    _, joined = saved_drive('joined', loaded=monday, start=10)
    parts = [monday, PlaceMap.load(tmp_path / 'end'), joined]
    assert len(merge_maps(parts, tmp_path / 'week')) == 3 + 2 + 6
    assert PlaceMap.load(tmp_path / 'week').frame_uid == monday.frame_uid is not None


def test_a_jump_of_odometry_makes_another_frame(tmp_path, saved_drive) -> None:
    online, before = saved_drive('before')
    _, after = saved_drive('after', online=online, xs=np.arange(5) / 2, piece=1, start=3)
    with pytest.raises(MapError, match='are in two frames'):
        merge_maps([before, after], tmp_path / 'both')


def test_a_map_without_any_pose_fits_all(tmp_path, saved_drive) -> None:
    _, blind = saved_drive('blind', xs=(None, None))
    _, placed = saved_drive('placed')
    merge_maps([blind, placed], tmp_path / 'both')
    assert PlaceMap.load(tmp_path / 'both').frame_uid == placed.frame_uid
    assert blind.frame_uid is None


def test_a_damaged_frame_uid_is_named(tmp_path, saved_drive) -> None:
    _, place_map = saved_drive('map')
    path = place_map.directory / 'map.json'
    path.write_text(path.read_text().replace(f'"{place_map.frame_uid}"', '7'))
    with pytest.raises(MapError, match=r'map\.json: frame_uid must be a text, not 7'):
        PlaceMap.load(place_map.directory)


def test_a_trimmed_map_keeps_ids_and_landmarks(tmp_path) -> None:
    whole = a_map(tmp_path, 'whole', 8, dtype='float16')
    trim_map(whole, [2, 5, 7], tmp_path / 'part')
    part = PlaceMap.load(tmp_path / 'part')
    assert part.places['place_id'].tolist() == [2, 5, 7]
    assert part.images == [f'keyframes/{row:06d}.jpg' for row in range(3)]
    assert part.descriptors.dtype == np.float16
    np.testing.assert_allclose(part.descriptors, whole.descriptors[[2, 5, 7]], atol=1e-3)
    store = store_of_map(part)
    store.check(3)
    assert store.index['num_landmarks'].tolist() == [-1, -1, 2]
    np.testing.assert_array_equal(store.keyframe(1).features.keypoints, made_features(5).keypoints)
    assert (tmp_path / 'part' / part.images[2]).read_bytes() == b'picture 7'
    assert part.add(part.descriptors[:1], stamps_ns=np.zeros(1)).tolist() == [8]
    with pytest.raises(MapError, match='none of the 8 places would stay'):
        trim_map(whole, [], tmp_path / 'none')


def test_cuts_by_time_and_distance(tmp_path) -> None:
    place_map = a_map(tmp_path, 'map', 8)
    assert Cut(begin_s=2.0, end_s=4.5).rows(place_map) == [2, 3, 4]
    assert Cut(min_distance_m=3.0).rows(place_map) == [0, 3, 6]
    assert Cut().rows(place_map) == list(range(8))
    place_map.add(place_map.descriptors[:1], stamps_ns=np.array([9 * S]))
    with pytest.raises(MapError, match='without poses cannot be thinned out'):
        Cut(min_distance_m=3.0).rows(place_map)


def test_as_they_are_typed(tmp_path, capsys) -> None:
    a_map(tmp_path, 'first', 5)
    a_map(tmp_path, 'second', 4)
    first, second, out = (str(tmp_path / name) for name in ('first', 'second', 'out'))
    assert main(['map', 'merge', first, second, '--out', out]) == 0
    assert '9 places of 2 maps written' in capsys.readouterr().out
    assert main(['map', 'trim', out, '--out', out]) == 2
    assert 'holds a map already; --overwrite' in capsys.readouterr().err
    assert main(['map', 'trim', out, '--out', out, '--overwrite', '--begin', '3']) == 0
    assert '3 of 9 places written' in capsys.readouterr().out
    assert main(['map', 'verify', out]) == 0
    capsys.readouterr()
    assert main(['map', 'info', out, '--json']) == 0
    features = json.loads(capsys.readouterr().out)['features']
    assert features['places'] == 3 and features['places_with_landmarks'] == 2


def test_what_was_calibrated_stays_with_a_part_and_not_with_a_sum(tmp_path, capsys) -> None:
    for name in 'one', 'two':
        a_map(tmp_path, name)
    calibration = MapCalibration(0.5, 0.99, 1.0, 0.9, 0.8, 10, 5, 'made', '2026-01-01T00:00:00Z')
    record_calibration(tmp_path / 'one', calibration)
    one, two, part, both = (str(tmp_path / name) for name in ('one', 'two', 'part', 'both'))
    assert main(['map', 'trim', one, '--out', part, '--end', '2']) == 0
    assert PlaceMap.load(part).calibration == calibration
    capsys.readouterr()
    assert main(['map', 'merge', one, two, '--out', both]) == 0
    assert f'not calibrated, as its parts were: vpr calibrate --map {both}' in (
        capsys.readouterr().out
    )
    assert PlaceMap.load(both).calibration is None
    assert main(['map', 'merge', two, two, '--out', both, '--overwrite']) == 0
    assert 'vpr calibrate' not in capsys.readouterr().out


def test_an_id_is_given_once(tmp_path) -> None:
    place_map = a_map(tmp_path, 'map', 3)
    with pytest.raises(ValueError, match='an id was given'):
        place_map.add(place_map.descriptors[:1], stamps_ns=np.zeros(1), place_ids=np.array([2]))
    assert len(place_map) == 3
