# SPDX-License-Identifier: Apache-2.0
"""Offline and live agree: the same bag through the recognizer and through the real node."""

import functools
import json
import math
import os
import random
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')

import node_process
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_process import FRAME, free_domain
from real_drive import LENS, Kitchen
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure, MapInfo, PlaceMatch

from vpr_ros.bag_writer import BagWriter
from vpr_ros.cameras import OPTICAL, Calibration, MapCamera
from vpr_ros.conversions import stamp_msg_from_ns
from vpr_ros.evaluation.offline import UNHURRIED_S, answer_queries, unhurried
from vpr_ros.evaluation.sensors import Sensors
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.keyframe_store import store_of_map
from vpr_ros.live import listener as listening
from vpr_ros.live import run as running_live
from vpr_ros.live.answers import AnswerError, AnswerReader
from vpr_ros.live.counts import Counts
from vpr_ros.live.listener import Listener, ros_node
from vpr_ros.live.node_process import NodeError, NodeProcess
from vpr_ros.live.run import Hooks, LiveRun, run_attached, run_live
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_lookup import PosesByTime
from vpr_ros.recognizer import PlaceRecognizer, RecognizerConfig, Status
from vpr_ros.replay.player import Pace, Replay, Sent
from vpr_ros.replay.recording import Selection, folder_recording, query_recording
from vpr_ros.resources import default_model
from vpr_ros.sources import BagSource, PictureFolder
from vpr_ros.verification.features import create_feature_extractor

pytestmark = pytest.mark.ros
T0 = 1_700_000_000_000_000_000
PICTURES = 60
RATE_HZ = 20.0
STEP_NS = round(1e9 / RATE_HZ)
AS_RECORDED = Pace(clock_hz=40.0)
AHEAD = [0, 0, 0, 1]


@pytest.fixture(scope='module')
def town(tiny_model, tmp_path_factory):
    """Two drives as bags and a map of the first: the second has noise, blanks and new places.

    Returns:
        Folder with `reference`, `query`, `jpeg` (the same, compressed) and `map`.
    """
    from conftest import textured_pictures

    folder = tmp_path_factory.mktemp('town')
    rng = np.random.default_rng(1)
    pictures = textured_pictures(PICTURES, height=240, width=320)
    with BagWriter(folder / 'reference') as bag:
        for i, rgb in enumerate(pictures):
            bag.add_image('/cam/image_raw', rgb, T0 + i * STEP_NS, FRAME)
            bag.add_odometry('/odom', [2.0 * i, 0, 0], AHEAD, T0 + i * STEP_NS)
    noise = rng.normal(0, 40, pictures.shape)
    queries = np.clip(pictures + noise, 0, 255).astype(np.uint8)
    queries[::7] = rng.integers(0, 256, queries[::7].shape, np.uint8)  # nowhere on the map
    queries[5::20] = 128  # blank
    with BagWriter(folder / 'query') as bag, BagWriter(folder / 'jpeg') as jpeg:
        for i, rgb in enumerate(queries):
            bag.add_image('/cam/image_raw', rgb, T0 + i * STEP_NS, FRAME)
            data = cv2.imencode('.jpg', rgb[..., ::-1])[1].tobytes()
            jpeg.add_compressed('/camera', data, T0 + i * STEP_NS, FRAME)
    source = BagSource(folder / 'reference')
    poses = PosesByTime(source.poses('/odom').trajectory, max_gap_s=1.0)
    options = BuildOptions(min_distance_m=0.0)
    build_map(
        source, DescriptorExtractor(tiny_model), folder / 'map', poses=poses, options=options
    )
    return folder


def offline(source, place_map, model, *, part=slice(None), **config):
    """What the recognizer says of a part of the pictures, in a loop."""
    recognizer = PlaceRecognizer(DescriptorExtractor(model), place_map, RecognizerConfig(**config))
    frames = list(source.frames())[part]
    return [(frame, recognizer.process(frame.rgb, frame.stamp_ns)) for frame in frames]


def answers_all(live):
    return live.counts.processed == live.counts.sent


def sustained(run, rate, is_whole=answers_all):
    """Play at a rate, and ever slower where this machine was too busy for it just now."""
    for slower in (1, 3, 10, 30):
        live = run(Pace(rate=rate / slower, clock_hz=40.0))
        if is_whole(live):
            break
    return live


def wait_for(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'timed out'
        time.sleep(0.02)


def places(recognition):
    return [match.place_id for match in recognition.matches]


def assert_same(answers, expected):
    """Every picture, and all that was said of it."""
    assert [a.index for a in answers] == [frame.index for frame, _ in expected]
    assert [a.name for a in answers] == [frame.name for frame, _ in expected]
    assert [a.stamp_ns for a in answers] == [frame.stamp_ns for frame, _ in expected]
    for answer, (_, wanted) in zip(answers, expected, strict=True):
        found = answer.recognition
        assert found is not None, f'picture {answer.index} is missing'
        assert (found.status, found.reason) == (wanted.status, wanted.reason)
        assert (found.stamp_ns, found.query_id) == (wanted.stamp_ns, wanted.query_id)
        assert places(found) == places(wanted)
        assert [m.row for m in found.matches] == [m.row for m in wanted.matches]
        similarities = [m.similarity for m in wanted.matches]
        assert [m.similarity for m in found.matches] == pytest.approx(similarities, abs=1e-5)
        probabilities = [m.probability for m in wanted.matches]
        assert [m.probability for m in found.matches] == pytest.approx(
            probabilities, abs=1e-3, nan_ok=True
        )
        for mine, other in zip(found.matches, wanted.matches, strict=True):
            assert (mine.stamp_ns, mine.image, mine.camera) == (
                *(other.stamp_ns, other.image, other.camera),
            )
            np.testing.assert_array_equal(mine.position, other.position)
            np.testing.assert_array_equal(mine.orientation_xyzw, other.orientation_xyzw)
        assert (found.pose is None) == (wanted.pose is None)
        if wanted.pose is not None:
            np.testing.assert_array_equal(found.pose.position, wanted.pose.position)
            np.testing.assert_array_equal(found.pose.covariance, wanted.pose.covariance)
        assert (found.descriptor is None) == (wanted.descriptor is None)
        if wanted.descriptor is not None:
            np.testing.assert_allclose(found.descriptor, wanted.descriptor, atol=1e-5)
        assert 0 < answer.latency_s < 60


def test_live_answers_are_those_of_the_recognizer(town, tiny_model, tmp_path):
    source, place_map = BagSource(town / 'query'), PlaceMap.load(town / 'map')
    run = functools.partial(
        run_live,
        query_recording(source),
        place_map=place_map,
        model=tiny_model,
        log=tmp_path / 'log',
        parameters={'top_k': 20, 'min_similarity': 0.9},
        descriptors=True,
    )
    live = sustained(lambda pace: run(pace=pace), 1.0)
    expected = offline(source, place_map, tiny_model, top_k=20, min_similarity=0.9)
    assert_same(live.answers, expected)
    reasons = {r.reason.partition(':')[0] for _, r in expected}
    assert {'no_keyframes', 'below_threshold', 'blank'} <= reasons  # the bag has all kinds
    counts = live.counts
    assert (counts.sent, counts.received, counts.processed) == (PICTURES,) * 3
    assert (counts.dropped, counts.others, counts.overtaken) == (0, 0, 0)
    assert 0 <= live.max_age_s < 60.0  # by simulated time: stamps and clock belong together
    assert live.diagnostics['map']['places'] == str(PICTURES)
    assert live.diagnostics['localization']['min_similarity'] == '0.9'


def test_compressed_pictures_at_another_rate_and_from_the_middle(town, tiny_model, tmp_path):
    """On a topic that is not named as image_transport would."""
    source, place_map = BagSource(town / 'jpeg'), PlaceMap.load(town / 'map')
    run = functools.partial(
        run_live,
        query_recording(source, Selection(start_s=1.0, duration_s=1.0)),
        place_map=place_map,
        model=tiny_model,
        log=tmp_path / 'log',
        descriptors=True,
    )
    live = sustained(lambda pace: run(pace=pace), 0.7)
    expected = offline(source, place_map, tiny_model, part=slice(20, 41))
    assert_same(live.answers, expected)


def test_real_pictures_and_the_shipped_model(vpr_data, tmp_path):
    """At 10 pictures a second slowed down to what this machine sustains just now."""
    paths = sorted(vpr_data.glob('tum_fr1_desk/**/*.jpg'))[:30]
    with BagWriter(tmp_path / 'bag') as bag:
        for i, path in enumerate(paths):
            bag.add_compressed('/cam/compressed', path.read_bytes(), T0 + i * 10**8, FRAME)
    (tmp_path / 'reference').mkdir()
    for path in paths[::5]:
        (tmp_path / 'reference' / path.name).symlink_to(path)
    extractor = DescriptorExtractor(default_model())
    reference = PictureFolder(tmp_path / 'reference')
    place_map = build_map(reference, extractor, tmp_path / 'map').place_map
    source = BagSource(tmp_path / 'bag')
    expected = offline(source, place_map, default_model())
    assert len(expected) == 30
    slowest_s = np.quantile([sum(r.timings_s.values()) for _, r in expected], 0.9)
    rate = min(1.0, 0.1 / (3 * slowest_s))  # player and node share the cores
    run = functools.partial(
        run_live,
        query_recording(source),
        place_map=place_map,
        model=default_model(),
        log=tmp_path / 'log',
        descriptors=True,
    )
    live = sustained(lambda pace: run(pace=pace), rate)
    assert_same(live.answers, expected)
    assert {r.status for _, r in expected} == {Status.CANDIDATE, Status.CONSISTENT}


@pytest.fixture(scope='module')
def again(vpr_data, tmp_path_factory):
    """A hand-held run as a map in metres, and its return as a bag with odometry and camera_info.

    Returns:
        kitchen, source, place_map, and what the recognizer says of the bag, unhurried.
    """
    folder = tmp_path_factory.mktemp('again')
    kitchen = Kitchen(vpr_data)
    topic = '/cam/image_raw/compressed'
    for name, numbers in ('mapped', range(150, 340, 10)), ('again', range(510, 550, 5)):
        with BagWriter(folder / name) as bag:
            for shot in kitchen.shots(*numbers):
                stamp_ns, odometry = shot.stamp_ns, shot.odometry
                data = cv2.imencode('.png', shot.rgb[..., ::-1])[1].tobytes()
                bag.add_camera_info('/cam/camera_info', LENS.matrix, (360, 480), stamp_ns, FRAME)
                pose = (odometry.position, odometry.orientation_xyzw)
                bag.add_odometry('/odom', *pose, stamp_ns, child_frame_id=FRAME)
                bag.add_compressed(topic, data, stamp_ns, FRAME)
    camera = MapCamera(0, Calibration(LENS, 480, 360), OPTICAL)
    mapped, source = BagSource(folder / 'mapped'), BagSource(folder / 'again')
    place_map = build_map(
        mapped,
        DescriptorExtractor(default_model()),
        folder / 'map',
        poses=PosesByTime(mapped.poses('/odom').trajectory, max_gap_s=0.1),
        options=BuildOptions(
            min_distance_m=0.0, features='sift', cameras=(camera,), frame_id='map'
        ),
    ).place_map
    recognizer = PlaceRecognizer(
        DescriptorExtractor(default_model()),
        place_map,
        unhurried(RecognizerConfig()),
        local=create_feature_extractor('sift'),
        keyframes=store_of_map(place_map),
    )
    sensors = Sensors([camera], source.poses('/odom').trajectory)
    answers = answer_queries(source, recognizer, sensors=sensors)
    expected = [
        (frame, answer.recognition) for frame, answer in zip(source.frames(), answers, strict=True)
    ]
    return SimpleNamespace(kitchen=kitchen, source=source, place_map=place_map, expected=expected)


@pytest.mark.parametrize('mode', ['localize', 'both'])
def test_poses_in_metres_with_odometry_and_calibration(again, tmp_path, mode):
    """The bag's odometry and camera_info reach both; nothing is hurried, nothing dropped.

    In mode both the answers about the map are the same, beside those about the own past.
    """
    run = functools.partial(
        run_live,
        query_recording(again.source),
        place_map=again.place_map,
        model=default_model(),
        log=tmp_path / 'log',
        parameters={
            'mode': mode,
            'verification.budget_s': UNHURRIED_S,
            'body_from_camera': list(OPTICAL),
        },
        descriptors=True,
    )

    def is_whole(live):
        """Whether odometry came in time too: a busy node carries the last motion on."""
        found = [answer.recognition and places(answer.recognition) for answer in live.answers]
        return found == [places(wanted) for _, wanted in again.expected]

    live = sustained(lambda pace: run(pace=pace), 0.5, is_whole)
    assert_same(live.answers, again.expected)
    assert Status.VERIFIED in {recognition.status for _, recognition in again.expected}
    for answer, (frame, wanted) in zip(live.answers, again.expected, strict=True):
        found = answer.recognition
        assert (found.num_correspondences, found.num_inliers) == (
            *(wanted.num_correspondences, wanted.num_inliers),
        )
        if wanted.status is Status.VERIFIED:
            shot = again.kitchen[again.kitchen.number_of(frame.stamp_ns)]
            assert np.linalg.norm(found.pose.position - shot.odometry.position) < 0.15


def test_what_is_too_fast_is_reported_as_dropped(town, tiny_model, tmp_path):
    source = BagSource(town / 'query')
    live = run_live(
        query_recording(source),
        place_map=PlaceMap.load(town / 'map'),
        model=tiny_model,
        log=tmp_path / 'log',
        pace=Pace(rate=500.0, clock_hz=100.0),
    )
    assert [answer.index for answer in live.answers] == list(range(PICTURES))
    missing = [answer for answer in live.answers if answer.recognition is None]
    counts = live.counts
    assert counts.sent == PICTURES
    assert counts.processed == PICTURES - len(missing)
    assert counts.received == counts.processed + counts.dropped + counts.others
    assert len(missing) == counts.overtaken + counts.dropped + counts.others > 0
    assert all(math.isnan(answer.latency_s) for answer in missing)
    assert live.answers[-1].recognition is not None


def test_pictures_that_are_skipped_are_accounted_for(town, tiny_model, tmp_path):
    """The last ones too, which no newer picture replaced."""
    live = run_live(
        query_recording(BagSource(town / 'query'), Selection(duration_s=1.0)),
        place_map=PlaceMap.load(town / 'map'),
        model=tiny_model,
        log=tmp_path / 'log',
        pace=AS_RECORDED,
        parameters={'max_rate': 0.5},
    )
    assert live.counts.sent == 21
    assert live.counts.processed == sum(a.recognition is not None for a in live.answers) < 3
    counts = live.counts
    assert counts.others + counts.dropped + counts.overtaken == 21 - counts.processed
    assert counts.others > 15
    assert live.answers[-1].recognition is None


def test_pictures_of_a_folder_with_present_stamps(town, tiny_model, tmp_path):
    source = BagSource(town / 'query')
    progress = []
    live = run_live(
        folder_recording(source, rate_hz=RATE_HZ),
        place_map=PlaceMap.load(town / 'map'),
        model=tiny_model,
        log=tmp_path / 'log',
        pace=Pace(rate=2.0, restamp=True),
        hooks=Hooks(progress=progress.append),
    )
    assert progress == list(range(1, PICTURES + 1))
    assert [a.stamp_ns for a in live.answers] == [
        round(i * 1e9 / RATE_HZ) for i in range(PICTURES)
    ]
    assert 0 <= live.max_age_s < 60.0
    assert json.dumps(live.diagnostics)


# Nodes that run already, and those that do not.


@pytest.fixture
def running(town, tiny_model, tmp_path, monkeypatch):
    """The real node in a domain of its own, which this process then uses; gives it back."""
    domain = free_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    node = node_process.NodeProcess(
        tmp_path / 'node.log',
        *('-p', f'model:={tiny_model}', '-p', f'map:={town / "map"}', '-p', 'use_sim_time:=true'),
        *('-r', 'image:=/cam/image_raw', '-r', '__ns:=/robot'),
        domain=domain,
    )
    node.wait_for_log('inactive -> active')
    yield node
    node.stop()


def test_a_node_that_runs_already_is_asked(running, town, tiny_model):
    source, place_map = BagSource(town / 'query'), PlaceMap.load(town / 'map')
    recording = query_recording(source)
    expected = offline(source, place_map, tiny_model)
    run = functools.partial(
        run_attached, recording, name='/robot/localizer', place_map=place_map, descriptors=True
    )
    for again in (False, True):  # its counts go on, and are taken from where they were
        live = sustained(lambda pace: run(pace=pace), 1.0)
        if again:
            assert 'the clock jumped back' in running.log()  # so that it counts anew
        assert_same(live.answers, expected)
        assert live.counts.processed == live.counts.received == PICTURES
    assert running.process.poll() is None


def test_it_listens_to_another_topic(running, town):
    with ros_node('ears', None) as node:
        listener = Listener(node, '/robot/localizer', PlaceMap.load(town / 'map'))
        text = 'it does not listen to /other but to /cam/image_raw: remap'
        wait_for(lambda: listener._missing('/other').startswith(text))
        wait_for(lambda: not listener._missing('/cam/image_raw'))


def test_it_has_another_map(running, town, tiny_model, textured_pictures, tmp_path):
    node_process.build_map(tiny_model, tmp_path / 'other', textured_pictures(3))
    with pytest.raises(NodeError, match=rf'another map than .*other: {PICTURES} places.*not 3 pl'):
        run_attached(
            query_recording(BagSource(town / 'query')),
            name='/robot/localizer',
            place_map=PlaceMap.load(tmp_path / 'other'),
            pace=AS_RECORDED,
        )


def test_it_ends_while_it_is_asked(running, town):
    def end(number):
        if number == 5:
            running.stop()

    recording = query_recording(BagSource(town / 'query'))
    with pytest.raises(NodeError, match='/robot/localizer has ended: nobody offers'):
        run_attached(
            recording,
            name='/robot/localizer',
            place_map=PlaceMap.load(town / 'map'),
            pace=Pace(rate=0.5, clock_hz=40.0),
            hooks=Hooks(progress=end),
        )


def test_there_is_no_such_node(town, monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    monkeypatch.setattr(listening, 'START_TIMEOUT_S', 1.0)
    with pytest.raises(NodeError, match=r'after 1 s: there is no node /elsewhere \(other nodes:'):
        run_attached(
            query_recording(BagSource(town / 'query')),
            name='/elsewhere',
            place_map=PlaceMap.load(town / 'map'),
            pace=AS_RECORDED,
        )


def test_a_node_that_dies_is_reported_with_its_own_words(tmp_path):
    parameters = {'map': tmp_path / 'nowhere', 'no_such_parameter': 1}
    with NodeProcess(parameters, log=tmp_path / 'log', environment={}) as node:
        deadline = time.monotonic() + 30
        with pytest.raises(NodeError, match='ended by itself') as error:
            while time.monotonic() < deadline:
                node.check()
                time.sleep(0.05)
    assert 'no_such_parameter' in str(error.value)


def test_pictures_that_all_are_refused_are_an_error(town, tiny_model, tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(3):
            picture = np.zeros((8, 8), np.uint8)
            bag.add_image('/cam', picture, T0 + i * 5 * 10**8, FRAME, encoding='8UC7')
    with pytest.raises(NodeError, match=r"(?s)none of 3 pictures \(3 rec.* 3 refused.*'8UC7'"):
        run_live(
            query_recording(BagSource(tmp_path / 'bag')),
            place_map=PlaceMap.load(town / 'map'),
            model=tiny_model,
            log=tmp_path / 'log',
            pace=AS_RECORDED,
        )


# What the listener makes of messages.


@pytest.fixture
def listener(town):
    with ros_node('ears', free_domain()) as node:
        listener = Listener(node, '/localizer', PlaceMap.load(town / 'map'))
        for picture in range(3):
            stamp_ns = (picture + 1) * 10**9
            now_s = time.monotonic()
            listener.remember(Sent(picture, str(picture), stamp_ns, stamp_ns, now_s, 0.0))
        yield listener


def closure(second, **fields):
    return LoopClosure(
        header=Header(stamp=stamp_msg_from_ns(second * 10**9)), status=3, reason='no', **fields
    )


@pytest.fixture
def process(tmp_path):
    (tmp_path / 'log').write_text('its last words')
    return NodeProcess({}, log=tmp_path / 'log', environment={})


def counts(received, processed, **others):
    """What the node says of itself."""
    keys = {'dropped': 'dropped, a newer one came', 'limited': 'skipped, max_rate'}
    said = {
        'input': {'received': received, **{keys[k]: n for k, n in others.items()}},
        'inference': {'processed': processed},
    }
    return DiagnosticArray(
        status=[
            DiagnosticStatus(
                name=f'localizer: {task}',
                values=[KeyValue(key=key, value=str(n)) for key, n in values.items()],
            )
            for task, values in said.items()
        ]
    )


def test_a_node_that_never_answers_is_an_error(listener, process, monkeypatch):
    monkeypatch.setattr(listening, 'ANSWER_TIMEOUT_S', 0.2)
    with pytest.raises(NodeError, match=r'none of 3 pictures within 0.2 s.*\n.*last words'):
        listener.wait_for_last_answer(process)


def test_a_node_that_falls_silent_keeps_what_it_answered(listener, process, monkeypatch, caplog):
    monkeypatch.setattr(listening, 'ANSWER_TIMEOUT_S', 0.2)
    listener._on_answer(closure(1))
    listener.wait_for_last_answer(process)
    assert 'what became of the last pictures: 1 of 3 were answered' in caplog.text
    assert [a.recognition is None for a in listener.answers()] == [False, True, True]


@pytest.mark.parametrize(
    ('report', 'ended'),
    [
        (counts(2, 1, limited=1), True),  # one was lost on the way, the last was skipped
        (counts(2, 1), False),  # one is still being looked at
        (counts(2, 2), True),
        (counts(1, 0, dropped=1), False),  # from before the answer
    ],
)
def test_a_last_picture_without_an_answer_ends_with_the_counts(
    listener, process, monkeypatch, caplog, report, ended
):
    monkeypatch.setattr(listening, 'ANSWER_TIMEOUT_S', 0.2)
    monkeypatch.setattr(listening, 'SETTLED_S', 0.0)
    listener._on_answer(closure(1))
    listener._on_diagnostics(report)
    listener.wait_for_last_answer(process)
    assert ('its counts are older' not in caplog.text) == ended
    assert [a.recognition is None for a in listener.answers()] == [False, True, True]


def test_the_last_picture_gets_time_to_arrive(listener, process, monkeypatch, caplog):
    monkeypatch.setattr(listening, 'ANSWER_TIMEOUT_S', 0.2)
    listener._on_answer(closure(1))
    listener._on_diagnostics(counts(2, 1, limited=1))  # at once: the third may be on its way
    listener.wait_for_last_answer(process)
    assert 'its counts are older' in caplog.text
    listener._on_diagnostics(counts(3, 1, limited=2))  # all three arrived: nothing to wait for
    assert listener._is_complete()


def test_counts_are_those_of_after_the_last_answer(listener, process, monkeypatch, caplog):
    monkeypatch.setattr(listening, 'ANSWER_TIMEOUT_S', 0.2)
    listener._on_diagnostics(counts(5, 5))  # others send pictures too
    listener._on_answer(closure(3))
    listener.wait_for_last_answer(process)
    assert 'its counts are older' in caplog.text
    listener._on_diagnostics(counts(5, 5))
    assert listener._is_complete()


def test_values_that_the_node_does_not_tell_are_an_error():
    live = LiveRun([], Counts(0, 0, 0, 0), Replay(), 0.0, {'map': {'places': '3'}})
    assert live.said('map', 'places') == '3'
    with pytest.raises(NodeError, match=r'not tell `provider` in .* of `inference`, but nothing'):
        live.said('inference', 'provider')
    with pytest.raises(NodeError, match=r'not tell `url` in .* of `map`, but places'):
        live.said('map', 'url')


def test_a_private_domain_is_empty_and_not_the_users(monkeypatch):
    users, taken, empty = 7, 8, ['9', '10', '11']  # unless others test here too
    monkeypatch.setenv('ROS_DOMAIN_ID', str(users))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    offered = []

    def sample(_, choice, number):
        offered.extend(choice)
        return [taken, *map(int, empty)]

    monkeypatch.setattr(random.SystemRandom, 'sample', sample)
    monkeypatch.setattr(running_live, '_LOOK_S', 5.0)  # enough for a busy machine
    with ros_node('somebody', taken), running_live._private_node() as (node, environment):
        assert environment['ROS_DOMAIN_ID'] in empty
        assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
        assert str(node.context.get_domain_id()) == environment['ROS_DOMAIN_ID']
        assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'SUBNET'
    assert users not in offered and len(offered) == 100


def test_a_place_that_is_another_one_in_the_map_is_an_error(town):
    place_map = PlaceMap.load(town / 'map')
    reader = AnswerReader(place_map)
    match = PlaceMatch(place_id=1, stamp=stamp_msg_from_ns(T0 + STEP_NS))
    match.pose.position.x = 2.0
    assert reader.recognition(closure(1, matches=[match]), 0).matches[0].row == 1
    match.pose.position.x = 2.5
    text = 'place 1, which has another time or position in the map .*: it runs with another map'
    with pytest.raises(AnswerError, match=text):
        reader.recognition(closure(1, matches=[match]), 0)
    match.pose.position.x, match.stamp = 2.0, stamp_msg_from_ns(T0)
    with pytest.raises(AnswerError, match=text):
        reader.recognition(closure(1, matches=[match]), 0)


def test_answers_about_other_pictures_and_other_maps(listener):
    listener._on_answer(closure(77))
    assert all(a.recognition is None for a in listener.answers())
    listener._on_pose(PoseWithCovarianceStamped())
    listener.check()
    listener._on_answer(closure(1, matches=[PlaceMatch(place_id=999)]))
    with pytest.raises(AnswerError, match=r'place 999, which the map .*map does not have'):
        listener.check()
    listener._on_map(MapInfo(num_places=1, model_name='other'))
    with pytest.raises(NodeError, match='1 places of model other from nowhere'):
        listener.check()
