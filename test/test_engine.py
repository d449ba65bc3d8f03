# SPDX-License-Identifier: Apache-2.0
"""The node's engine in each of its modes, with the small model: learning, loops of bags, maps."""

import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('rcl_interfaces')
pytest.importorskip('vpr_msgs.msg')

from conftest import textured_pictures
from made_moves import S, at
from tiny_model import write_tiny_model

from vpr_ros.errors import MapError, MapModelMismatchError, ModelError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.keyframe_store import KeyframeStore, store_of_map, write_keyframes
from vpr_ros.map_calibration import MapCalibration
from vpr_ros.node.engine import Engine
from vpr_ros.node.parameters import NodeConfig
from vpr_ros.online_map import MappingConfig
from vpr_ros.place_map import PlaceMap, record_calibration
from vpr_ros.recognizer import RecognizerConfig, Status
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import create_feature_extractor
from vpr_ros.verification.metric import Keyframe

LENS = Intrinsics(np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]))


@pytest.fixture(scope='module')
def pictures():
    return textured_pictures(12)


@pytest.fixture
def start(tiny_model):
    engines = []

    def make(mode='slam', *, mapping=None, **config):
        given = NodeConfig(model=str(tiny_model), mode=mode, device='cpu', **config)
        engines.append(Engine(given, RecognizerConfig(), mapping or MappingConfig()))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def process(engine, rgb, stamp_ns, *, camera=0, odometry=None, intrinsics=None):
    picture = engine.describe(rgb, stamp_ns, camera=camera, intrinsics=intrinsics)
    picture.odometry = odometry
    return engine.recognize(picture)


def drive(engine, pictures, *, start=0, x=0.0):
    """A picture a second, half a metre apart."""
    return [
        process(engine, rgb, (start + n) * S, odometry=at(x + 0.5 * n), intrinsics=LENS)
        for n, rgb in enumerate(pictures)
    ]


@pytest.fixture
def town(tmp_path, start, pictures):
    """A map of the first six pictures, learnt in mode slam."""
    engine = start()
    drive(engine, pictures[:6])
    return engine.save_map(str(tmp_path / 'town')).place_map.directory


def statuses(answers):
    return [answer.recognition.status for answer in answers]


def test_slam_matches_its_own_past(start, pictures):
    engine = start()
    before = drive(engine, pictures[:6])
    assert all(len(answers) == 1 for answers in before)
    assert before[0][0].recognition.reason.startswith('too_recent')
    (answer,) = process(engine, pictures[1], 60 * S, odometry=at(50.0), intrinsics=LENS)
    assert answer.recognition.matches[0].stamp_ns == S
    assert answer.recognition.status in (Status.CANDIDATE, Status.VERIFIED)
    assert answer.map_frame_id == 'odom'
    assert (engine.num_learnt, len(engine.place_map)) == (7, 4)
    engine.odometry_frame_id = 'wheels'
    (answer,) = process(engine, pictures[1], 61 * S, odometry=at(50.0), intrinsics=LENS)
    assert answer.map_frame_id == engine.map_frame_id == 'wheels'
    assert len(engine.place_map) == 6, 'the rest is far enough now'


def test_what_cannot_be_learnt_is_answered(start, pictures, town, caplog):
    engine = start('both', map=str(town))
    drive(engine, pictures[6:9], start=100)
    folder = engine._revisits.learnt.store.folder
    (folder / '000003.jpg').mkdir()  # where the next picture would be written
    with caplog.at_level(logging.WARNING, 'vpr_ros'):
        answers = drive(engine, pictures[:6], start=110, x=10.0)
    assert [len(found) for found in answers] == [2] * 6
    assert [found[0].recognition.matches[0].stamp_ns for found in answers] == [
        n * S for n in range(6)
    ]
    assert engine.num_learnt == 3
    assert caplog.messages == [engine.learning_problem], 'said once'
    assert f'pictures are not learnt: {folder} cannot be written: ' in caplog.text
    assert 'make room there, or start with TMPDIR' in caplog.text
    (folder / '000003.jpg').rmdir()
    drive(engine, pictures[9:], start=120, x=20.0)
    assert (engine.num_learnt, engine.learning_problem) == (6, '')


def test_localize_learns_nothing(start, pictures, town):
    engine = start('localize', map=str(town))
    answers = drive(engine, pictures)
    assert all(len(found) == 1 for found in answers)
    assert (engine.num_learnt, engine.odometry_frame_id, engine.mapping) == (0, '', None)
    assert len(engine.place_map) == 6
    with pytest.raises(MapError, match='mode localize learns nothing: start the node with mode'):
        engine.save_map('')


def test_both_answers_for_the_map_and_for_the_past(start, pictures, town):
    engine = start('both', map=str(town))
    drive(engine, pictures[6:], start=100)
    of_map, of_past = process(engine, pictures[7], 200 * S, odometry=at(90.0), intrinsics=LENS)
    assert of_past.recognition.matches[0].stamp_ns == 101 * S
    assert (of_map.map_frame_id, of_past.map_frame_id) == ('map', 'odom')
    of_map, of_past = process(engine, pictures[2], 201 * S, odometry=at(90.5), intrinsics=LENS)
    assert of_map.recognition.matches[0].stamp_ns == 2 * S
    assert of_past.recognition.matches[0].stamp_ns != 2 * S
    assert (of_map.place_map, of_past.place_map) == (
        engine.place_map,
        engine._revisits.place_map,
    )


def test_a_looped_bag_forgets_what_was_learnt_and_says_so(start, pictures, caplog):
    engine = start()
    drive(engine, pictures, start=100)
    assert engine.num_learnt == 12
    with caplog.at_level(logging.WARNING, 'vpr_ros'):
        (answer,) = process(engine, pictures[0], 100 * S, odometry=at(0.0), intrinsics=LENS)
    assert caplog.messages == [
        'picture stamps jumped back by 11.000 s (a bag that loops?): forgetting earlier pictures '
        'and 12 places learnt'
    ]
    assert answer.recognition.reason.startswith('too_recent')
    assert answer.recognition.query_id == 0
    assert engine.num_learnt == 1


def test_a_looped_bag_is_noticed_though_the_clock_was_reset_before(start, pictures, caplog):
    """With /clock, the node resets before the first picture of the new lap comes."""
    engine = start()
    drive(engine, pictures, start=100)
    engine.reset()
    assert engine.num_learnt == 12, 'a reset forgets nothing that was learnt'
    with caplog.at_level(logging.WARNING, 'vpr_ros'):
        process(engine, pictures[0], 100 * S, odometry=at(0.0), intrinsics=LENS)
    assert 'and 12 places learnt' in caplog.text
    assert engine.num_learnt == 1


@pytest.mark.parametrize('end', ['loop', 'close'])
def test_a_map_that_is_being_saved_is_saved_whole(start, pictures, tmp_path, monkeypatch, end):
    engine = start()
    drive(engine, pictures, start=100)
    begun, ended = threading.Event(), threading.Event()

    def wait_and_write(*args):
        begun.set()
        assert ended.wait(20)
        write_keyframes(*args)

    monkeypatch.setattr('vpr_ros.session.write_keyframes', wait_and_write)
    folder = engine._revisits.learnt.store.folder
    with ThreadPoolExecutor(1) as services:
        saving = services.submit(engine.save_map, str(tmp_path / 'saved'))
        assert begun.wait(20)
        if end == 'loop':
            process(engine, pictures[0], 100 * S, odometry=at(0.0), intrinsics=LENS)
            assert engine.num_learnt == 1
        else:
            engine.close()
        ended.set()
        assert len(store_of_map(saving.result(20).place_map)) == 12
    assert len(list((tmp_path / 'saved' / 'keyframes').glob('*.jpg'))) == 12
    assert not folder.exists()


def test_without_room_for_a_new_session_the_old_one_is_forgotten_later(
    start, pictures, tmp_path, monkeypatch
):
    engine = start()
    drive(engine, pictures, start=100)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'gone'))
    with pytest.raises(FileNotFoundError, match='gone'):
        process(engine, pictures[0], 100 * S)
    assert engine._revisits.learnt.store.folder.is_dir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    process(engine, pictures[1], 101 * S)
    assert engine.num_learnt == 1


def test_a_looped_bag_keeps_the_loaded_map(start, pictures, town):
    engine = start('both', map=str(town))
    drive(engine, pictures[6:], start=100)
    of_map, of_past = drive(engine, pictures[:1], start=100)[0]
    assert of_map.recognition.matches[0].stamp_ns == 0
    assert of_past.recognition.matches == ()
    assert len(engine.place_map) == 6


def test_swapped_pictures_forget_nothing(start, pictures, caplog):
    engine = start()
    drive(engine, pictures[:4])
    process(engine, pictures[4], 3 * S - 50_000_000, odometry=at(1.4), intrinsics=LENS)
    assert 'jumped back' not in caplog.text
    assert engine.num_learnt >= 4


def test_a_picture_that_comes_late_is_answered_and_not_learnt(start, pictures, caplog):
    engine = start()
    drive(engine, pictures[:6])
    (answer,) = process(engine, pictures[1], 5 * S - 50_000_000, odometry=at(9.0))
    assert answer.recognition.matches[0].stamp_ns == S
    assert engine.num_learnt == 6
    process(engine, pictures[6], 5 * S, odometry=at(9.5))
    assert engine.num_learnt == 7, 'of the same stamp is not late'
    process(engine, pictures[7], 5 * S - 80_000_000)
    process(engine, pictures[8], 5 * S - 120_000_000)
    assert 'jumped back by 0.120 s' in caplog.text, 'from the newest, not from the last'


def test_each_camera_has_its_own_delay(start, pictures, caplog):
    engine = start(cameras=('front', 'left'))
    for n in range(4):
        process(engine, pictures[n], n * S, camera=0, odometry=at(0.5 * n))
        process(engine, pictures[6 + n], n * S - S // 2, camera=1, odometry=at(0.5 * n))
    assert 'jumped back' not in caplog.text
    assert engine.num_learnt == 8


def test_a_map_in_the_frame_of_the_odometry_is_refused(start, town, caplog):
    loaded = PlaceMap.load(town)
    loaded.frame_id = 'odom'
    loaded.save(town)
    remedy = 'name the frame of the map with -p map_frame_id:=NAME, or build it with --frame-id'
    with pytest.raises(MapError, match=f"town: frame 'odom' is the frame of both .*{remedy}"):
        start('both', map=str(town))
    start('localize', map=str(town))
    engine = start('both')
    with pytest.raises(MapError, match=remedy):
        engine.load_map(str(town))
    assert len(engine.place_map) == 0
    engine.odometry_frame_id = 'wheels'
    engine.load_map(str(town))
    assert start('both', map=str(town), map_frame_id='town').map_frame_id == 'town'
    assert caplog.messages == []


def test_closures_of_a_map_whose_frame_the_odometry_turns_out_to_have_are_rejected(
    start, pictures, town, caplog
):
    engine = start('both', map=str(town))
    drive(engine, pictures[:3], start=100)
    engine.odometry_frame_id = 'map'
    assert caplog.messages == [engine.frame_clash]
    of_map, of_past = process(engine, pictures[2], 110 * S, odometry=at(9.0), intrinsics=LENS)
    found = of_map.recognition
    assert found.status is Status.REJECTED
    assert found.reason.startswith("same_frame: frame 'map' is the frame of both the map and")
    assert (found.pose, found.relative_pose, found.map_from_camera) == (None, None, None)
    assert not of_past.recognition.reason.startswith('same_frame')
    engine.odometry_frame_id = 'odom'
    of_map, _ = process(engine, pictures[2], 111 * S, odometry=at(9.5), intrinsics=LENS)
    assert of_map.recognition.status is not Status.REJECTED


def test_slam_takes_no_map(start, town):
    with pytest.raises(MapError, match=r'mode slam knows no map but its own past, and .*town was'):
        start('slam', map=str(town))
    with pytest.raises(MapError, match='choose mode both to extend it'):
        start().load_map(str(town))


def test_saving_names_what_is_missing(start, pictures, tmp_path):
    engine = start()
    with pytest.raises(FileNotFoundError, match='no map was loaded, so a directory has to be'):
        engine.save_map('')
    with pytest.raises(MapError, match='nothing was learnt yet'):
        engine.save_map(str(tmp_path / 'empty'))
    assert not (tmp_path / 'empty').exists()
    with pytest.raises(MapError, match='cannot be read: give a directory or file:'):
        engine.save_map('http://host/map')


def test_another_models_map_is_not_written_over(start, pictures, tmp_path):
    from vpr_ros.model_ref import ModelRef

    other = PlaceMap(ModelRef('other', 'cd' * 32, 192))
    other.add(np.eye(192, dtype=np.float32)[:1], stamps_ns=np.array([1]))
    other.save(tmp_path / 'theirs')
    engine = start()
    drive(engine, pictures[:2])
    with pytest.raises(MapModelMismatchError, match='holds a map of model other'):
        engine.save_map((tmp_path / 'theirs').as_uri())


def test_what_was_learnt_is_saved_loaded_extended_and_saved_again(start, pictures, town):
    engine = start('both', map=str(town))
    assert (engine.place_map.places['stamp_ns'] // S).tolist() == [*range(6)]
    drive(engine, pictures[6:], start=100)
    saved = engine.save_map('')
    assert saved.place_map.directory == town
    assert len(PlaceMap.load(town)) == 12
    assert len(store_of_map(saved.place_map)) == 12
    assert len(engine.place_map) == 6, 'the one in use stays as it is'
    again = engine.save_map('')
    assert len(again.place_map) == 12
    engine.load_map(str(town))
    drive(engine, textured_pictures(2, seed=8), start=300)
    assert len(engine.save_map('').place_map) == 14


def test_the_frame_of_a_saved_map_can_be_named(start, pictures, tmp_path):
    engine = start(map_frame_id='building')
    drive(engine, pictures[:2])
    assert engine.save_map(str(tmp_path / 'a')).place_map.frame_id == 'building'


def a_map_of_orb(engine, folder, pictures):
    place_map = PlaceMap(engine.extractor.info.ref)
    place_map.add(engine.extractor.extract_batch(list(pictures)), stamps_ns=np.arange(2))
    store, orb = KeyframeStore(folder.parent / 'features'), create_feature_extractor('orb')
    for row, rgb in enumerate(pictures):
        store.add(row, Keyframe(orb.extract(rgb)), drive=0)
    place_map.save(folder, keyframes=store)


def test_local_features_follow_the_map(start, pictures, tmp_path, caplog):
    engine = start('localize')
    a_map_of_orb(engine, tmp_path / 'orb', pictures[:2])
    with caplog.at_level(logging.WARNING, 'vpr_ros'):
        engine.load_map(str(tmp_path / 'orb'))
    assert 'local features are orb now, as in the map, no longer sift' in caplog.text
    process(engine, pictures[0], S)
    assert engine._located.local.kind == 'orb'
    picture = engine._located.describe(pictures[0], S)
    assert picture.features.kind == 'orb'
    from_start = start('localize', map=str(tmp_path / 'orb'))
    assert from_start._located.local.kind == 'orb'
    fixed = start('localize', map=str(tmp_path / 'orb'), features='sift')
    assert fixed._located.local.kind == 'sift'


def test_a_map_with_pictures_only_verifies_nothing_and_costs_no_features(start, pictures, town):
    learnt = PlaceMap.load(town)
    only = town.parent / 'pictures'
    only.mkdir()
    for path in (town / 'keyframes').glob('*.jpg'):
        shutil.copy(path, only)
    folder = town.parent / 'copy'
    learnt.save(folder, keyframes=only)
    engine = start('localize', map=str(folder))
    for n in range(4):
        (answer,) = process(engine, pictures[n], n * S)
    assert answer.recognition.status is Status.CONSISTENT
    assert answer.recognition.reason.startswith('no_keyframes: ')
    assert 'features' not in answer.recognition.timings_s


def test_settings_reach_both_recognizers(start, town):
    engine = start('both', map=str(town))
    engine.config = RecognizerConfig(min_similarity=0.31)
    engine.mapping = MappingConfig(min_age_s=9.0)
    assert [recognizer.min_similarity for recognizer in engine._recognizers()] == [0.31, 0.31]
    assert engine._revisits.learnt.config.min_age_s == engine.mapping.min_age_s == 9.0
    engine._revisits.start_over()
    assert engine._revisits.learnt.config.min_age_s == 9.0


def test_a_threshold_must_be_there_for_both_recognizers(tmp_path, pictures):
    """The loaded map records one; the model, which what is learnt would need, does not."""
    model = write_tiny_model(tmp_path / 'm.onnx', min_similarity=None)
    place_map = PlaceMap(DescriptorExtractor(model).info.ref)
    place_map.save(tmp_path / 'town')
    record_calibration(
        tmp_path / 'town', MapCalibration(0.4, 0.9, 1.0, 0.9, 0.5, 2, 1, 'town', '2026-01-01')
    )
    given = NodeConfig(model=str(model), mode='both', map=str(tmp_path / 'town'))
    set_by_hand = RecognizerConfig(min_similarity=0.3)
    engine = Engine(given, set_by_hand)
    with pytest.raises(ModelError, match='records no threshold: set min_similarity'):
        engine.check(RecognizerConfig())
    assert engine.config == set_by_hand
    engine.check(RecognizerConfig(min_similarity=0.5))
    engine.close()


def test_a_model_without_threshold_is_refused_in_every_mode(tmp_path):
    model = write_tiny_model(tmp_path / 'm.onnx', min_similarity=None)
    for mode in ('localize', 'slam', 'both'):
        with pytest.raises(ModelError, match='records no threshold'):
            Engine(NodeConfig(model=str(model), mode=mode), RecognizerConfig())


def test_closing_removes_what_was_kept_on_disk(start, pictures):
    engine = start()
    drive(engine, pictures[:3])
    folder = engine._revisits.learnt.store.folder
    engine.close()
    assert not folder.exists()
