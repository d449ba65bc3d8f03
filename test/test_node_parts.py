# SPDX-License-Identifier: Apache-2.0
"""The parts of the node that need no second process: mailbox, rates, silence, drawings."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')

import rclpy
from builtin_interfaces.msg import Time
from conftest import textured_pictures
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode
from rclpy.logging import get_logger
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker
from vpr_msgs.msg import GlobalDescriptor

from vpr_ros.conversions import image_from_rgb
from vpr_ros.errors import MapError
from vpr_ros.node import debug_image, messages
from vpr_ros.node.diagnostics import NodeState, diagnostic_array
from vpr_ros.node.engine import Engine, directory_of
from vpr_ros.node.mailbox import Mailbox, Put, RateLimiter
from vpr_ros.node.markers import MAX_PLACES, MarkerBoard
from vpr_ros.node.outputs import Outputs
from vpr_ros.node.parameters import NodeConfig
from vpr_ros.node.silence import Publisher, explain
from vpr_ros.node.statistics import Statistics
from vpr_ros.node.worker import Worker
from vpr_ros.place_map import KEYFRAMES
from vpr_ros.recognizer import RecognizerConfig, Status

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def test_the_mailbox_keeps_the_newest_and_tells_what_it_replaced():
    mailbox = Mailbox()
    assert [mailbox.put(n) for n in range(3)] == [Put.FREE, Put.BUSY, Put.BUSY]
    assert mailbox.take() == (0, 2)
    assert mailbox.put(9) is Put.FREE
    assert mailbox.take() == (0, 9)


def test_the_mailbox_serves_its_senders_in_turn():
    """A camera with four times the rate of another gets no more than its half."""
    mailbox = Mailbox(3)  # the third never sends
    taken = []
    for n in range(40):
        mailbox.put(f'fast {n}', 0)
        if n % 4 == 0:
            mailbox.put(f'slow {n}', 1)
        if n % 2 == 1:
            taken.append(mailbox.take())
    assert [sender for sender, _ in taken] == [0, 1] * 10
    assert taken[:4] == [(0, 'fast 1'), (1, 'slow 0'), (0, 'fast 5'), (1, 'slow 4')]


def test_the_rate_limit_serves_cameras_whose_pictures_come_together():
    mailbox, taken = Mailbox(2), []

    def work():
        while (item := mailbox.take()) is not None:
            taken.append(item[0])

    worker = threading.Thread(target=work)
    worker.start()
    fates = []
    begin_s = time.monotonic()
    while len(taken) < 12 and time.monotonic() < begin_s + 20:  # 0.6 s on a machine of our own
        fates += [mailbox.put(len(fates), camera, max_rate=20.0) for camera in (0, 1)]
        time.sleep(0.02)
    mailbox.close()
    worker.join(5)
    elapsed_s = time.monotonic() - begin_s
    assert min(taken.count(0), taken.count(1)) >= 4, 'in turn; left out, one would get none'
    assert 12 <= len(taken) <= 20.0 * elapsed_s + 2
    assert fates.count(Put.LIMITED) > 0
    left = fates.count(Put.FREE) - len(taken)
    assert 0 <= left <= 2, 'every picture is taken, replaced or one of the last'


def test_the_rate_limit_takes_the_fresh_picture_of_a_single_camera():
    mailbox = Mailbox()
    assert mailbox.put('first', max_rate=5.0) is Put.FREE
    assert mailbox.take() == (0, 'first')
    assert mailbox.put('early', max_rate=5.0) is Put.LIMITED
    time.sleep(0.21)
    assert mailbox.put('due', max_rate=5.0) is Put.FREE
    assert mailbox.put('newer', max_rate=5.0) is Put.BUSY  # nobody was there to take it
    assert mailbox.take() == (0, 'newer')
    assert mailbox.put('unlimited', max_rate=0.0) is Put.FREE


def test_closing_the_mailbox_wakes_the_worker():
    mailbox = Mailbox()
    taken = []
    worker = threading.Thread(target=lambda: taken.append(mailbox.take()))
    worker.start()
    mailbox.close()
    worker.join(5)
    assert not worker.is_alive()
    assert taken == [None]
    mailbox.put(1)
    assert mailbox.take() is None


def test_nothing_is_lost_or_doubled_between_threads():
    mailbox, taken = Mailbox(2), [[], []]

    def work():
        while (item := mailbox.take()) is not None:
            taken[item[0]].append(item[1])

    worker = threading.Thread(target=work)
    worker.start()
    fates = [mailbox.put(n, n % 2) for n in range(2, 5002)]
    while not all(taken) or (taken[0][-1], taken[1][-1]) != (5000, 5001):
        time.sleep(0.001)
    mailbox.close()
    worker.join(5)
    assert len(taken[0]) + len(taken[1]) + fates.count(Put.BUSY) == 5000
    assert taken == [sorted(set(numbers)) for numbers in taken]


@pytest.mark.parametrize(('max_rate', 'expected'), [(0.0, 300), (10.0, 100), (15.0, 150)])
def test_the_rate_limit_is_a_mean_despite_jitter(max_rate, expected):
    limiter = RateLimiter()
    jitter = np.random.default_rng(0).uniform(-0.01, 0.01, 300)
    passed = sum(limiter.admits(n / 30 + jitter[n], max_rate) for n in range(300))
    assert abs(passed - expected) <= 2


def test_the_rate_limit_does_not_save_up():
    limiter = RateLimiter()
    assert limiter.admits(0.0, 1.0)
    assert [limiter.admits(100 + n / 100, 1.0) for n in range(50)].count(True) == 1


def test_a_raised_rate_limit_applies_at_once():
    limiter = RateLimiter()
    assert limiter.admits(0.0, 0.01)
    assert not limiter.admits(1.0, 0.01)
    assert limiter.admits(2.0, 30.0)


SILENCE = [
    ([], {}, True, 'nobody publishes it; no topic here carries pictures: start the camera'),
    (
        [],
        {
            '/cam/image_raw': [IMAGE],
            '/cam/image_raw/compressed': [COMPRESSED],
            '/odd': [COMPRESSED],
            '/x': ['a/msg/B'],
        },
        True,
        'pictures are to be had with -r image/compressed:=/odd -p image_transport:=compressed, or '
        '-r image:=/cam/image_raw -p image_transport:=compressed, or '
        '-r image:=/cam/image_raw -p image_transport:=raw (launch: image:=TOPIC)',
    ),
    ([Publisher('/cam', COMPRESSED, True)], {}, True, f'/cam ({COMPRESSED}) publishes another'),
    ([Publisher('/cam', IMAGE, False)], {}, True, 'QoS mismatch: /cam'),
    ([Publisher('/cam', IMAGE, True)], {}, True, 'which sends nothing'),
    ([Publisher('/cam', IMAGE, False)], {}, False, 'raise net.core.rmem_max'),
]


@pytest.mark.parametrize(('publishers', 'topics', 'reliable', 'text'), SILENCE)
def test_silence_is_explained_with_what_to_do(publishers, topics, reliable, text):
    found = explain(
        '/image', 'image', 'raw', reliable=reliable, publishers=publishers, topics=topics
    )
    assert text in found


def test_map_urls():
    assert directory_of('/maps/town') == Path('/maps/town')
    assert directory_of('file:///maps/old%20town') == Path('/maps/old town')
    assert directory_of('~/town') == Path.home() / 'town'
    for url in ('', 'http://host/map', 'file://host/map', 'package://town/map'):
        with pytest.raises(MapError):
            directory_of(url)


@pytest.fixture
def engine(tiny_model, tmp_path):
    from node_process import build_map

    town = build_map(tiny_model, tmp_path / 'town', textured_pictures(6))
    return Engine(NodeConfig(model=str(tiny_model), map=str(town)), RecognizerConfig())


def look_up(engine, rgb, stamp_ns):
    return engine.recognize(engine.describe(rgb, stamp_ns))


def test_a_slow_verification_holds_newer_pictures_up_by_one_at_most(engine, monkeypatch):
    """The one that was described meanwhile is next, then the newest; the others are dropped."""
    recognize, answered, gate = engine.recognize, [], threading.Event()

    def slow(picture):
        if not answered:
            gate.wait(20)
        return recognize(picture)

    def publish(answers, header, rgb, *, age_s):
        answered.append(header.stamp.sec)

    monkeypatch.setattr(engine, 'recognize', slow)
    worker = Worker(
        engine,
        SimpleNamespace(publish_answers=publish),
        Statistics(),
        inputs=SimpleNamespace(
            names=('',),
            transport='raw',
            odometry=SimpleNamespace(frame_id=''),
            intrinsics=lambda camera, width, height: None,
            odometry_at=lambda camera, stamp_ns: None,
        ),
        age_s=lambda stamp_ns: 0.0,
        logger=get_logger('test'),
        is_alive=lambda: True,
    )
    try:
        pictures = textured_pictures(6)
        for second in range(1, 11):
            header = Header(stamp=Time(sec=second))
            worker.mailbox.put(image_from_rgb(pictures[second % 6], header))
            time.sleep(0.2 if second <= 2 else 0.01)  # the first two are taken
        gate.set()
        deadline = time.monotonic() + 20
        while len(answered) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        gate.set()
        worker.stop()
    assert answered == [1, 2, 10]


def test_a_late_picture_is_no_jump_in_time(engine):
    picture = textured_pictures(1)[0]
    stamps = [10**9, 2 * 10**9, 2 * 10**9 - 50_000_000, 3 * 10**9]
    assert [look_up(engine, picture, s)[0].recognition.query_id for s in stamps] == [0, 1, 2, 3]
    assert look_up(engine, picture, 10**9)[0].recognition.query_id == 0


def test_a_map_that_knows_some_poses_gives_a_finite_covariance(engine):
    unknown = {'positions': None, 'orientations_xyzw': None}
    picture = textured_pictures(1, seed=5)
    descriptors = engine.extractor.extract_batch(list(picture))
    engine.place_map.add(descriptors, stamps_ns=np.array([9]), **unknown)
    engine = Engine(
        NodeConfig(model=str(engine.extractor.info.path), map=saved(engine)), RecognizerConfig()
    )
    assert look_up(engine, picture[0], 0)[0].recognition.pose is None
    state = NodeState('/localizer', 'active', True, False, engine, None, Statistics().snapshot())
    status = diagnostic_array(state, Time()).status
    assert any('1 of 7 places without a position' in part.message for part in status)
    pose = look_up(engine, textured_pictures(6)[2], 1)[0].recognition.pose
    assert np.isfinite(pose.covariance).all()
    assert (np.diag(pose.covariance) > 0).all()


def saved(engine) -> str:
    engine.place_map.save(engine.place_map.directory)
    return str(engine.place_map.directory)


def test_the_map_frame_can_be_overridden(tiny_model, tmp_path):
    from node_process import build_map

    town = build_map(tiny_model, tmp_path / 'town', textured_pictures(2))
    config = NodeConfig(model=str(tiny_model), map=town.as_uri(), map_frame_id='robot1/map')
    engine = Engine(config, RecognizerConfig())
    (answer,) = look_up(engine, textured_pictures(1)[0], 0)
    assert answer.map_frame_id == 'robot1/map'


@pytest.fixture
def ros_node():
    from node_process import free_domain

    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = LifecycleNode('localizer', context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def test_what_nobody_listens_to_is_not_made(engine, ros_node, monkeypatch):
    made = []

    def spy(module, name):
        make = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: made.append(name) or make(*args))

    spy(messages, 'global_descriptor')
    spy(debug_image, 'draw')
    outputs = Outputs(ros_node, cameras=[''])
    picture = textured_pictures(6)[2]
    (answer,) = look_up(engine, picture, 0)
    outputs.publish_answers([answer], Header(), picture, age_s=0.0)
    assert made == []
    for message_type, topic in ((GlobalDescriptor, 'descriptor'), (Image, 'debug_image')):
        ros_node.create_subscription(message_type, f'~/{topic}', print, qos_profile_sensor_data)
    deadline = time.monotonic() + 10
    while len(set(made)) < 2 and time.monotonic() < deadline:
        outputs.publish_answers([answer], Header(), picture, age_s=0.0)
        time.sleep(0.05)  # until the publishers have found them
    assert set(made) == {'global_descriptor', 'draw'}


def test_the_debug_image_shows_the_keyframe_and_stays_inside_the_map(engine, tmp_path):
    pictures = textured_pictures(6)
    folder = engine.place_map.directory / KEYFRAMES
    folder.mkdir()
    green = np.full((60, 80, 3), (0, 255, 0), np.uint8)
    cv2.imwrite(str(folder / '000002.jpg'), green)
    cv2.imwrite(str(tmp_path / 'secret.jpg'), green)
    engine.place_map.images[2] = f'{KEYFRAMES}/000002.jpg'  # as the map builder names them
    (answer,) = look_up(engine, pictures[2], 0)
    picture = debug_image.draw(pictures[2], answer)
    assert picture.shape == (debug_image.PANEL_HEIGHT + 40, 640, 3)
    assert picture[120, 480, 1] > 200
    (answer,) = look_up(engine, pictures[3], 1)  # its keyframe was not kept
    assert tuple(debug_image.draw(pictures[3], answer)[200, 480]) == (70, 70, 70)
    engine.place_map.images[4] = f'{KEYFRAMES}/../../secret.jpg'
    (answer,) = look_up(engine, pictures[4], 2)
    assert tuple(debug_image.draw(pictures[4], answer)[200, 480]) == (70, 70, 70)


def test_markers_of_a_large_map_are_thinned(engine):
    place_map = engine.place_map
    n = 3 * MAX_PLACES
    descriptor = np.eye(192, dtype=np.float32)[:1]
    place_map.add(
        descriptor.repeat(n, axis=0),
        stamps_ns=np.arange(n),
        positions=np.arange(3 * n).reshape(n, 3) / 10,
        orientations_xyzw=np.tile([0.0, 0, 0, 1], (n, 1)),
    )
    markers = MarkerBoard().draw(place_map, 'map', Time())
    assert markers.markers[0].action == Marker.DELETEALL
    assert len(markers.markers[1].points) <= MAX_PLACES


def test_markers_are_drawn_of_what_has_a_position(engine):
    pictures = textured_pictures(6)
    unknown = textured_pictures(2, seed=5)
    engine.place_map.add(engine.extractor.extract_batch(list(unknown)), stamps_ns=np.array([8, 9]))
    board = MarkerBoard()
    for n, rgb in enumerate((pictures[0], pictures[1], unknown[0], pictures[2], pictures[3])):
        (answer,) = look_up(engine, rgb, n)
        board.add(answer)
    markers = board.draw(engine.place_map, 'map', Time()).markers
    drawn = {marker.ns: [(p.x, p.y, p.z) for p in marker.points] for marker in markers}
    assert drawn['places'] == [(float(n), 0.0, 0.0) for n in range(6)]
    assert drawn['accepted'][:4] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]
    assert 'candidates' in drawn
    assert np.isfinite([point for points in drawn.values() for point in points]).all()
    board.add(look_up(engine, unknown[1], 9)[0])
    drawn = board.draw(engine.place_map, 'map', Time()).markers
    assert np.isfinite([p.x for marker in drawn for p in marker.points]).all()


def test_statistics_take_percentiles_and_count_reasons(engine):
    statistics = Statistics()
    pictures = textured_pictures(6)
    for n in range(20):
        statistics.arrived()
        recognition = look_up(engine, pictures[n % 6], n)[0].recognition
        statistics.answered(recognition, duration_s=0.001 * (n + 1), age_s=0.1)
    dark = look_up(engine, np.zeros((64, 64, 3), np.uint8), 99)[0].recognition
    statistics.answered(dark, 0.01, 0.1)
    snapshot = statistics.snapshot()
    assert snapshot.process_ms == pytest.approx((10.0, 19.0), abs=1.5)
    reasons = snapshot.reasons
    assert reasons.keys() == {'candidate', 'consistent', 'dark'}
    assert (reasons['candidate'] + reasons['consistent'], reasons['dark']) == (20, 1)
    assert snapshot.last.status is Status.REJECTED
    assert (snapshot.total('received'), snapshot.total('processed')) == (20, 21)
    assert set(snapshot.stages_ms) == {'quality', 'extract', 'search', 'filter'}
