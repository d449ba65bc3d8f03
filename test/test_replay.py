# SPDX-License-Identifier: Apache-2.0
"""The player over real DDS: what is played, pace, stamps, /clock, order, and that it stops."""

import threading
import time
from collections import defaultdict
from itertools import pairwise

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from node_process import free_domain
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, NavSatFix

from vpr_ros import bag_writer
from vpr_ros.bag_messages import (
    IMAGE,
    NAV_SAT_FIX,
    TYPESTORE,
    header,
    message,
    pose_with_covariance,
)
from vpr_ros.bag_writer import BagWriter
from vpr_ros.conversions import rgb_from_image, stamp_ns_from_msg
from vpr_ros.errors import SourceError
from vpr_ros.live.listener import ros_node
from vpr_ros.replay.player import Pace, Player
from vpr_ros.replay.recording import (
    Recording,
    Selection,
    bag_recording,
    folder_recording,
    query_recording,
)
from vpr_ros.sources import BagSource

pytestmark = pytest.mark.ros
T0 = 10**18
RATE_HZ = 20.0
PERIOD_NS = round(1e9 / RATE_HZ)
PICTURES = 12
AHEAD = [0, 0, 0, 1]
AS_RECORDED = Pace()


class Ears:
    """Notes what arrives on the topics of a recording, and when."""

    def __init__(self, node, recording, reliability=ReliabilityPolicy.RELIABLE):
        self.heard = defaultdict(list)  # topic -> (monotonic, system, message)
        qos = QoSProfile(depth=2000, reliability=reliability)
        for topic, kind in [*recording.types.items(), ('/clock', Clock)]:
            node.create_subscription(kind, topic, self.note(topic), qos)

    def note(self, topic):
        return lambda msg: self.heard[topic].append((time.monotonic(), time.time_ns(), msg))

    def messages(self, topic):
        return [msg for _, _, msg in list(self.heard[topic])]

    def stamps(self, topic):
        return [stamp_ns_from_msg(msg.header.stamp) for msg in self.messages(topic)]

    def clock(self):
        return np.array([stamp_ns_from_msg(msg.clock) for msg in self.messages('/clock')])


@pytest.fixture
def connect():
    """From a recording and a pace to a player and somebody who listens, connected."""
    domain = free_domain()
    with ros_node('ears', domain) as ears_node, ros_node('speaker', domain) as speaker:

        def make(recording, pace=AS_RECORDED, reliability=ReliabilityPolicy.RELIABLE):
            player = Player(speaker, recording, pace)
            ears = Ears(ears_node, recording, reliability)
            wait_for(lambda: not player.unheard())
            if pace.clock_hz:
                wait_for(lambda: ears_node.count_publishers('/clock'))
            return player, ears

        yield make


def wait_for(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'timed out'
        time.sleep(0.01)


@pytest.fixture
def bag(tmp_path):
    """PICTURES numbered pictures at RATE_HZ; every second one with camera_info."""
    with BagWriter(tmp_path / 'bag') as writer:
        for i in range(PICTURES):
            stamp_ns = T0 + i * PERIOD_NS
            writer.add_image('/cam', np.full((480, 640, 3), i, np.uint8), stamp_ns, 'cam')
            if i % 2:
                writer.add_camera_info('/info', np.eye(3) * i, (480, 640), stamp_ns, 'cam')
    return tmp_path / 'bag'


def numbers(messages):
    return [int(rgb_from_image(msg)[0, 0, 0]) for msg in messages]


RECORDED = [T0 + i * PERIOD_NS for i in range(PICTURES)]


@pytest.mark.parametrize(
    'reliability', [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT], ids=str
)
def test_arrives_in_order_at_its_own_pace_with_present_stamps(connect, bag, reliability):
    recording = query_recording(BagSource(bag))
    player, ears = connect(recording, Pace(restamp=True), reliability)
    before_ns = time.time_ns()
    replay = player.play()
    wait_for(
        lambda: len(ears.heard['/cam']) == PICTURES and len(ears.heard['/info']) == PICTURES // 2
    )
    assert numbers(ears.messages('/cam')) == list(range(PICTURES))
    stamps = ears.stamps('/cam')
    assert np.diff(stamps) == pytest.approx(PERIOD_NS, abs=2)
    assert stamps == [sent.stamp_ns for sent in replay.sent]
    assert [sent.recorded_ns for sent in replay.sent] == RECORDED
    assert before_ns <= stamps[0] <= ears.heard['/cam'][0][1]
    assert {msg.header.frame_id for msg in ears.messages('/cam')} == {'cam'}
    assert replay.others == PICTURES // 2
    assert replay.seconds == pytest.approx((PICTURES - 1) / RATE_HZ, abs=0.2)
    gaps = [b - a for (a, *_), (b, *_) in pairwise(ears.heard['/cam'])]
    assert np.median(gaps) == pytest.approx(1 / RATE_HZ, rel=0.2)
    assert set(ears.stamps('/info')) == set(stamps[1::2])  # equal stamps stay equal
    assert len(ears.clock()) == 0


def test_every_topic_plays_under_its_name_with_its_own_stamps(connect, tmp_path):
    """Messages were recorded 30 ms after their stamps; a plain replay goes by the record."""
    jpeg = cv2.imencode('.jpg', np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    with BagWriter(tmp_path / 'bag') as writer:
        for i in range(5):
            at = T0 + i * PERIOD_NS
            writer.add_compressed('/cam/compressed', jpeg, at, 'cam')
            writer.add_odometry('/odom', [i, 0, 0], AHEAD, at)
            writer.add_pose_stamped('/robot/pose', [0, i, 0], AHEAD, at)
            writer.add_message(
                '/fix',
                NAV_SAT_FIX,
                at + 30_000_000,
                header=header(at, 'gps'),
                status=message('sensor_msgs/msg/NavSatStatus', status=0, service=1),
                latitude=48.0,
                longitude=11.0,
                altitude=float(i),
                position_covariance=np.zeros(9),
                position_covariance_type=0,
            )
    recording = bag_recording(tmp_path / 'bag')
    assert recording.types == {
        '/cam/compressed': CompressedImage,
        '/odom': Odometry,
        '/robot/pose': PoseStamped,
        '/fix': NavSatFix,
    }
    player, ears = connect(recording)
    replay = player.play()
    wait_for(lambda: sum(map(len, ears.heard.values())) == 20)
    assert replay.others == 20
    for topic in recording.types:
        assert ears.stamps(topic) == [T0 + i * PERIOD_NS for i in range(5)]
    assert bytes(ears.messages('/cam/compressed')[0].data) == jpeg
    assert [msg.pose.position.y for msg in ears.messages('/robot/pose')] == [0, 1, 2, 3, 4]
    late = np.subtract(
        [at for at, *_ in ears.heard['/fix']], [at for at, *_ in ears.heard['/odom']]
    )
    assert np.median(late) == pytest.approx(0.03, abs=0.015)


def test_without_stamps_it_goes_by_the_time_of_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_writer, 'header', lambda _, frame_id: header(0, frame_id))
    with BagWriter(tmp_path / 'bag') as writer:
        for i in range(3):
            stamp_ns = T0 + i * 10**8
            for camera in ('/left', '/right'):
                writer.add_image(camera, np.full((8, 8, 3), i, np.uint8), stamp_ns, camera[1:])
            writer.add_odometry('/odom', [i, 0, 0], AHEAD, stamp_ns + 1)
    source = BagSource(tmp_path / 'bag', topic='/right', stamps='record')
    events = list(query_recording(source).events())
    assert [(e.topic, e.stamp_ns - T0, e.picture) for e in events] == [
        (topic, i * 10**8 + after, i if topic == '/right' else -1)
        for i in range(3)
        for topic, after in (('/right', 0), ('/odom', 1))
    ]
    # Answers are told apart by their stamps, so that pictures without get that of the record.
    assert [stamp_ns_from_msg(e.message.header.stamp) for e in events] == [
        e.stamp_ns for e in events
    ]
    assert events[0].name == next(source.frames()).name
    source = BagSource(tmp_path / 'bag', topic='/right')
    with pytest.raises(SourceError, match='/right has no stamp in its header; --stamps record'):
        list(query_recording(source).events())
    plain = bag_recording(tmp_path / 'bag').events()
    assert {stamp_ns_from_msg(event.message.header.stamp) for event in plain} == {0}


def test_pictures_without_times_get_a_rate(connect, bag):
    recording = folder_recording(BagSource(bag), rate_hz=50.0)
    player, ears = connect(recording)
    replay = player.play()
    wait_for(lambda: len(ears.heard['image']) == PICTURES)
    assert replay.seconds == pytest.approx((PICTURES - 1) / 50.0, abs=0.15)
    assert ears.stamps('image') == [round(i * 1e9 / 50) for i in range(PICTURES)]


# /clock


@pytest.mark.parametrize('rate', [1.0, 3.0])
def test_clock_runs_with_the_recording(connect, bag, rate):
    player, ears = connect(bag_recording(bag), Pace(rate=rate, clock_hz=100.0))
    replay = player.play()
    assert replay.seconds == pytest.approx((PICTURES - 1) / RATE_HZ / rate, abs=0.15)
    wait_for(lambda: len(ears.heard['/cam']) == PICTURES and max(ears.clock()) >= RECORDED[-1])
    assert ears.stamps('/cam') == RECORDED
    clock = ears.clock()
    assert (np.diff(clock) >= 0).all()
    assert clock[0] == T0
    assert clock[-1] - RECORDED[-1] < 0.1e9 * rate
    assert len(clock) >= 0.7 * 100 * replay.seconds
    for stamp in RECORDED:  # right before each message, so that no stamp lies in the future
        assert (clock[clock >= stamp] - stamp).min() < 0.02e9 * rate
    # A subscriber's clock never lags behind by more than a period.
    at = np.array([arrival for arrival, *_ in ears.heard['/clock']])
    assert np.polyfit(at, clock / 1e9 - T0 / 1e9, 1)[0] == pytest.approx(rate, rel=0.1)


def test_clock_stands_until_the_listener_is_ready(connect, bag):
    player, ears = connect(bag_recording(bag), Pace(clock_hz=50.0))

    def ready():
        wait_for(lambda: len(ears.clock()) > 10)
        assert set(ears.clock()) == {T0}
        assert not ears.heard['/cam']

    player.play(ready=ready)
    wait_for(lambda: len(ears.heard['/cam']) == PICTURES)


def test_a_loop_begins_again_and_clock_jumps_back(connect, bag):
    player, ears = connect(bag_recording(bag), Pace(rate=4.0, clock_hz=40.0))
    played = []

    def count(event):
        played.append(event)
        if len(played) == 2 * (PICTURES + PICTURES // 2) + 3:
            player.timeline.stop()

    replay = player.play(loop=True, on_event=count)
    assert replay.rounds == 2
    round_s = (PICTURES - 1) / RATE_HZ / 4
    assert 2 * round_s <= replay.seconds < 2 * round_s + 0.4
    wait_for(lambda: len(ears.heard['/cam']) == 2 * PICTURES + 2)
    assert ears.stamps('/cam') == [*RECORDED, *RECORDED, *RECORDED[:2]]
    clock = ears.clock()
    back = np.flatnonzero(np.diff(clock) < 0)
    assert len(back) == 2
    assert (clock[back] >= RECORDED[-1]).all()
    assert (clock[back + 1] == T0).all()


def test_a_pause_stops_messages_and_clock(connect, bag):
    player, ears = connect(bag_recording(bag), Pace(clock_hz=50.0))
    stood = []

    def pause(event):
        if event.stamp_ns == RECORDED[3] and not stood:
            player.timeline.pause()
            stood.append(time.monotonic())
            threading.Timer(0.5, player.timeline.resume).start()

    replay = player.play(on_event=pause)
    wait_for(lambda: len(ears.heard['/cam']) == PICTURES)
    assert replay.seconds == pytest.approx((PICTURES - 1) / RATE_HZ + 0.5, abs=0.15)
    within = (stood[0] + 0.1, stood[0] + 0.45)
    assert not [at for at, *_ in ears.heard['/cam'] if within[0] < at < within[1]]
    shown = {
        stamp_ns_from_msg(msg.clock)
        for at, _, msg in ears.heard['/clock']
        if within[0] < at < within[1]
    }
    assert len(shown) == 1
    assert RECORDED[3] <= shown.pop() < RECORDED[4]


def test_stop_ends_the_replay_early(connect, bag):
    player, _ = connect(query_recording(BagSource(bag)))
    replay = player.play(
        on_picture=lambda sent: player.timeline.stop() if sent.picture == 2 else None
    )
    assert [sent.picture for sent in replay.sent] == [0, 1, 2]
    assert replay.rounds == 0


# What is played.


@pytest.mark.parametrize('stamps', ['header', 'record'])
def test_start_and_duration_keep_the_numbers_of_pictures(bag, stamps):
    source = BagSource(bag, stamps=stamps)
    selection = Selection(start_s=0.2, duration_s=0.3)
    events = [e for e in query_recording(source, selection).events() if e.picture >= 0]
    assert [event.picture for event in events] == [4, 5, 6, 7, 8, 9, 10]
    assert [event.name for event in events] == [f.name for f in source.frames()][4:11]
    assert numbers(event.message for event in events) == [4, 5, 6, 7, 8, 9, 10]
    plain = [e for e in bag_recording(bag, selection).events() if e.topic == '/cam']
    assert numbers(event.message for event in plain) == [4, 5, 6, 7, 8, 9, 10]


def test_nothing_in_the_selection_is_an_error(bag):
    recording = bag_recording(bag, Selection(start_s=60))
    with pytest.raises(SourceError, match=r'no message of /.* from second 60 on; .* 0\.\d s long'):
        list(recording.events())


def test_topics_are_chosen_and_renamed(connect, bag):
    selection = Selection(topics=['info'], remap={'/info': '/robot/camera_info'})
    recording = bag_recording(bag, selection)
    assert recording.types == {'/robot/camera_info': CameraInfo}
    player, ears = connect(recording)
    assert player.play().others == PICTURES // 2
    wait_for(lambda: len(ears.heard['/robot/camera_info']) == PICTURES // 2)


@pytest.mark.parametrize(
    ('selection', 'text'),
    [
        (Selection(topics=['/nothing']), r'has no topic /nothing; it holds\n +/cam '),
        (Selection(remap={'/nothing': '/a'}), 'nothing is not played, .*: /cam, /info are'),
        (Selection(topics=['/cam'], remap={'/info': '/a'}), '/info is not played'),
        (Selection(remap={'/cam': 'no spaces'}), "/cam cannot become 'no spaces'"),
        (Selection(remap={'/cam': '/info'}), 'cannot both become /info: they are'),
    ],
)
def test_mistakes_in_a_selection_are_named(bag, selection, text):
    with pytest.raises(SourceError, match=text):
        bag_recording(bag, selection)


def test_the_inputs_of_the_localizer_are_found(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        for camera in ('/left', '/right'):
            writer.add_image(camera, np.zeros((8, 8, 3), np.uint8), T0, camera)
            writer.add_camera_info(f'{camera}_info', np.eye(3), (8, 8), T0, camera)
        writer.add_odometry('/odom', [0, 0, 0], AHEAD, T0)
    source = BagSource(tmp_path / 'bag', topic='/left')
    recording = query_recording(source)
    assert recording.inputs == {'image': '/left', 'odom': '/odom'}  # two of camera_info
    selection = Selection(topics=['/left_info'], remap={'/left': '/image'})
    recording = query_recording(source, selection)
    assert recording.inputs == {'image': '/image', 'camera_info': '/left_info'}
    assert recording.pictures == '/image'


def unknown_bag(path, *more):
    """A bag with a message type that is installed nowhere, and what else is wanted."""
    TYPESTORE.register(get_types_from_msg('uint8 value', 'nowhere_msgs/msg/Thing'))
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection('/thing', 'nowhere_msgs/msg/Thing', typestore=TYPESTORE)
        thing = TYPESTORE.types['nowhere_msgs/msg/Thing'](value=1)
        writer.write(connection, T0, TYPESTORE.serialize_cdr(thing, 'nowhere_msgs/msg/Thing'))
        for topic, msgtype, qos, data in more:
            other = writer.add_connection(
                topic, msgtype, typestore=TYPESTORE, offered_qos_profiles=qos
            )
            writer.write(other, T0, data)
    return path


def odometry():
    fields = {'header': header(T0, 'odom'), 'child_frame_id': 'base'}
    zero = message('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
    twist = message('geometry_msgs/msg/Twist', linear=zero, angular=zero)
    fields['twist'] = message(
        'geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=np.zeros(36)
    )
    fields['pose'] = pose_with_covariance(np.zeros(3), np.array([0, 0, 0, 1.0]))
    msgtype = 'nav_msgs/msg/Odometry'
    return bytes(TYPESTORE.serialize_cdr(message(msgtype, **fields), msgtype))


def test_messages_that_are_not_installed_are_left_out_by_name(tmp_path):
    path = unknown_bag(tmp_path / 'bag', ('/odom', 'nav_msgs/msg/Odometry', [], odometry()))
    recording = bag_recording(path)
    assert [topic.name for topic in recording.left_out] == ['/thing']
    assert [event.topic for event in recording.events()] == ['/odom']
    alone = unknown_bag(tmp_path / 'alone')
    with pytest.raises(SourceError, match=r'nothing of .*alone can be played; .*\n +/thing '):
        bag_recording(alone)


def test_a_latched_topic_reaches_who_comes_late(tmp_path):
    """As the recorder notes it: transient local stays so, and everything is offered reliably."""
    never = QosTime(2147483647, 4294967295)
    latched = Qos(
        *(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL),
        *(never, never, QosLiveliness.AUTOMATIC, never, False),
    )
    best_effort = latched._replace(
        reliability=QosReliability.BEST_EFFORT, durability=QosDurability.VOLATILE
    )
    path = unknown_bag(
        tmp_path / 'bag',
        ('/latched', 'nav_msgs/msg/Odometry', [latched], odometry()),
        ('/other', 'nav_msgs/msg/Odometry', [best_effort], odometry()),
    )
    domain, heard = free_domain(), []
    with ros_node('speaker', domain) as speaker, ros_node('late', domain) as late:
        recording = bag_recording(path)
        assert recording.latched == {'/latched'}
        Player(speaker, recording).play()
        qos = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        late.create_subscription(Odometry, '/latched', heard.append, qos)
        wait_for(lambda: heard)


def test_a_message_that_is_none_names_its_place(tmp_path):
    path = unknown_bag(tmp_path / 'bag', ('/cam', IMAGE, [], odometry()[:30]))
    with pytest.raises(SourceError, match=f'message 0 of /cam is no {IMAGE}.*--topics'):
        list(bag_recording(path).events())


def test_a_broken_recording_ends_the_replay_with_its_error(connect):
    def events():
        raise OSError('gone')
        yield

    player, _ = connect(Recording({'image': Image}, events))
    with pytest.raises(OSError, match='gone'):
        player.play()


def test_clock_must_be_a_frequency():
    with pytest.raises(ValueError, match='clock_hz must be positive, not 0'):
        Pace(clock_hz=0.0)
