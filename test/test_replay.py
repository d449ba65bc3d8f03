# SPDX-License-Identifier: Apache-2.0
"""The player over real DDS: what is played, pace, stamps, /clock, order, and that it stops."""

import threading
import time
from collections import defaultdict

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
    POSE_STAMPED,
    TYPESTORE,
    header,
    message,
    pose,
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
LATE_S = 5.0  # what a busy machine may add; nothing may ever be early


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
            for topic in recording.types:  # the other side's turn: what it has not found is lost
                wait_for(lambda topic=topic: ears_node.count_publishers(topic))
            return player, ears

        yield make


class Watch:
    """Is told of events; notes when, and that none is early."""

    def __init__(self, player, then=lambda event: None):
        self.player, self.then = player, then
        self.events, self.at = [], []

    def __call__(self, event):
        assert 0 <= self.player.timeline.late_s(event.stamp_ns) < LATE_S
        self.events.append(event)
        self.at.append(time.monotonic())
        self.then(event)


def noted(said, publish):
    """The same, and notes every message."""

    def both(msg):
        said.append(msg)
        publish(msg)

    return both


def lasted(seconds, at_least):
    """A busy machine may begin and end late."""
    return at_least - 0.2 <= seconds < at_least + LATE_S


def wait_for(condition, timeout_s=30.0):
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
    replay = player.play(on_event=Watch(player))
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
    assert lasted(replay.seconds, (PICTURES - 1) / RATE_HZ)
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
    watch = Watch(player)
    replay = player.play(on_event=watch)
    wait_for(lambda: sum(map(len, ears.heard.values())) == 20)
    assert replay.others == 20
    for topic in recording.types:
        assert ears.stamps(topic) == [T0 + i * PERIOD_NS for i in range(5)]
    assert bytes(ears.messages('/cam/compressed')[0].data) == jpeg
    assert [msg.pose.position.y for msg in ears.messages('/robot/pose')] == [0, 1, 2, 3, 4]
    assert [e.stamp_ns - T0 for e in watch.events if e.topic == '/fix'] == [
        i * PERIOD_NS + 30_000_000 for i in range(5)
    ]


def test_stamps_are_moved_by_one_offset(connect, tmp_path):
    """Not to the times of recording, by which a picture and its calibration differ."""
    still = pose(np.zeros(3), np.array(AHEAD))
    with BagWriter(tmp_path / 'bag') as writer:
        for i in range(3):
            at = T0 + i * PERIOD_NS
            writer.add_camera_info('/info', np.eye(3), (8, 8), at, 'cam')
            writer.add_message(
                '/pose', POSE_STAMPED, at + 40_000_000, header=header(at, 'cam'), pose=still
            )
            poses = [
                message(POSE_STAMPED, header=header(stamp, 'map'), pose=still)
                for stamp in (at - 1000, 0)
            ]
            path = {'header': header(at, 'map'), 'poses': poses}
            writer.add_message('/path', 'nav_msgs/msg/Path', at + 70_000_000, **path)
    player, ears = connect(bag_recording(tmp_path / 'bag'), Pace(rate=2.0, restamp=True))
    before_ns = time.time_ns()
    player.play(on_event=Watch(player))
    wait_for(lambda: sum(map(len, ears.heard.values())) == 9)
    stamps = ears.stamps('/pose')
    assert before_ns <= stamps[0] < time.time_ns()
    assert np.diff(stamps) == pytest.approx(PERIOD_NS / 2, abs=2)
    assert (
        ears.stamps('/info') == ears.stamps('/path') == stamps
    )  # equal ones stay equal  # equal ones stay equal
    for i, msg in enumerate(ears.messages('/path')):
        first, without = (stamp_ns_from_msg(pose.header.stamp) for pose in msg.poses)
        assert stamps[i] - first == 500
        assert without == pytest.approx(stamps[i] + 35_000_000, abs=2)  # time of recording


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


def test_a_stamp_that_jumps_is_told(tmp_path, monkeypatch, caplog):
    """Against the record: a gap in both is none."""
    stamps = [T0, T0 + 60 * 10**9, T0 + 3660 * 10**9, T0 + 61 * 10**9]
    given = iter(stamps)
    monkeypatch.setattr(bag_writer, 'header', lambda _, frame_id: header(next(given), frame_id))
    with BagWriter(tmp_path / 'bag') as writer:
        for second in (0, 60, 60.1, 61):
            writer.add_image('/cam', np.zeros((8, 8, 3), np.uint8), T0 + int(second * 1e9), 'c')
    assert len(list(query_recording(BagSource(tmp_path / 'bag')).events())) == 4
    (record,) = caplog.records
    assert 'stamp of message 2 of /cam jumps by +3599.9 s' in record.getMessage()
    assert '--stamps record' in record.getMessage()
    caplog.clear()
    list(query_recording(BagSource(tmp_path / 'bag', stamps='record')).events())
    assert not caplog.records


def test_pictures_without_times_get_a_rate(connect, bag):
    recording = folder_recording(BagSource(bag), rate_hz=50.0)
    player, ears = connect(recording)
    replay = player.play()
    wait_for(lambda: len(ears.heard['image']) == PICTURES)
    assert lasted(replay.seconds, (PICTURES - 1) / 50.0)
    assert ears.stamps('image') == [round(i * 1e9 / 50) for i in range(PICTURES)]


# /clock


@pytest.mark.parametrize('rate', [1.0, 3.0])
def test_clock_runs_with_the_recording(connect, bag, rate, monkeypatch):
    player, ears = connect(bag_recording(bag), Pace(rate=rate, clock_hz=100.0))
    said = []  # in the order of publishing, which two topics need not arrive in
    for topic in (player._clock, player.publishers['/cam']):
        monkeypatch.setattr(topic, 'publish', noted(said, topic.publish))
    before_s = time.monotonic()
    replay = player.play(on_event=Watch(player))
    assert lasted(replay.seconds, (PICTURES - 1) / RATE_HZ / rate)
    wait_for(lambda: len(ears.heard['/cam']) == PICTURES and max(ears.clock()) >= RECORDED[-1])
    assert ears.stamps('/cam') == RECORDED
    clock = ears.clock()
    assert (np.diff(clock) >= 0).all()
    assert clock[0] == T0
    at_s = np.array([arrival for arrival, *_ in ears.heard['/clock']])
    assert ((clock - T0) / 1e9 / rate <= at_s - before_s).all()  # never ahead of its rate
    assert len(clock) > PICTURES + PICTURES // 2 + 1  # between the messages too
    pictures = [i for i, msg in enumerate(said) if isinstance(msg, Image)]
    assert len(pictures) == PICTURES
    for i in pictures:  # right before each, so that no stamp lies in the future
        assert stamp_ns_from_msg(said[i - 1].clock) >= stamp_ns_from_msg(said[i].header.stamp)


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
    assert lasted(replay.seconds, 2 * (PICTURES - 1) / RATE_HZ / 4)
    wait_for(lambda: len(ears.heard['/cam']) == 2 * PICTURES + 2)
    assert ears.stamps('/cam') == [*RECORDED, *RECORDED, *RECORDED[:2]]
    clock = ears.clock()
    back = np.flatnonzero(np.diff(clock) < 0)
    assert len(back) == 2
    assert (clock[back] >= RECORDED[-1]).all()
    assert (clock[back + 1] == T0).all()


def test_a_pause_stops_messages_and_clock(connect, bag):
    player, ears = connect(bag_recording(bag), Pace(clock_hz=50.0))
    stood = []  # when it began and ended

    def pause(event):
        if event.stamp_ns == RECORDED[3] and not stood:
            player.timeline.pause()
            stood.append(time.monotonic())
            threading.Timer(0.5, resume).start()

    def resume():
        stood.append(time.monotonic())
        player.timeline.resume()

    watch = Watch(player, pause)
    replay = player.play(on_event=watch)
    wait_for(lambda: len(ears.heard['/cam']) == PICTURES)
    assert lasted(replay.seconds, (PICTURES - 1) / RATE_HZ + 0.5)
    assert not [at for at in watch.at if stood[0] < at < stood[1]]
    clock, times = np.unique(ears.clock(), return_counts=True)
    assert clock[times.argmax()] >= RECORDED[3]
    assert times.max() >= 5  # it was said again and again that the time stands


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
    """A bag with a message type that is installed nowhere; what else is wanted, one a second."""
    TYPESTORE.register(get_types_from_msg('uint8 value', 'nowhere_msgs/msg/Thing'))
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection('/thing', 'nowhere_msgs/msg/Thing', typestore=TYPESTORE)
        thing = TYPESTORE.types['nowhere_msgs/msg/Thing'](value=1)
        writer.write(connection, T0, TYPESTORE.serialize_cdr(thing, 'nowhere_msgs/msg/Thing'))
        others = {}
        for second, (topic, msgtype, qos, data) in enumerate(more, 1):
            if topic not in others:
                others[topic] = writer.add_connection(
                    topic, msgtype, typestore=TYPESTORE, offered_qos_profiles=qos
                )
            writer.write(others[topic], T0 + second * 10**9, data)
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
    """As the recorder notes it: transient local stays so, and everything is offered reliably.

    What was said on it before the part that is played comes first, all of it.
    """
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
        *[('/latched', 'nav_msgs/msg/Odometry', [latched], odometry())] * 150,
        ('/other', 'nav_msgs/msg/Odometry', [best_effort], odometry()),
    )
    domain, heard = free_domain(), []
    with ros_node('speaker', domain) as speaker, ros_node('late', domain) as late:
        recording = bag_recording(path, Selection(start_s=150.5))
        assert recording.latched == {'/latched': 150}
        assert {e.stamp_ns for e in recording.events() if e.topic == '/latched'} == {
            T0 + 150_500_000_000
        }
        player = Player(speaker, recording)
        assert player.play().others == 151
        qos = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        late.create_subscription(Odometry, '/latched', heard.append, qos)
        wait_for(lambda: len(heard) == 150)


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
