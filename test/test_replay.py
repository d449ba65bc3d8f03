# SPDX-License-Identifier: Apache-2.0
"""The player over real DDS: pace, stamps, order, and that it stops."""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip('rclpy')

import rclpy
from node_process import free_domain
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from vpr_ros import bag_writer
from vpr_ros.bag_messages import header
from vpr_ros.bag_writer import BagWriter
from vpr_ros.conversions import rgb_from_image, stamp_ns_from_msg
from vpr_ros.replay import Player, bag_events, picture_events
from vpr_ros.sources import BagSource

pytestmark = pytest.mark.ros
RATE_HZ = 20.0
PICTURES = 12


class Ears(Node):
    """Notes what arrives, and when."""

    def __init__(self, context, reliability):
        super().__init__('ears', context=context)
        self.images, self.infos = [], []
        qos = QoSProfile(depth=20, reliability=reliability)
        self.create_subscription(Image, 'image', self.on_image, qos)
        self.create_subscription(CameraInfo, 'camera_info', self.infos.append, qos)

    def on_image(self, msg):
        self.images.append((time.monotonic(), time.time_ns(), msg))


@pytest.fixture
def recording(tmp_path):
    """A bag of PICTURES numbered pictures at RATE_HZ; every second one with camera_info."""
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(PICTURES):
            stamp_ns = 10**18 + round(i * 1e9 / RATE_HZ)
            bag.add_image('/cam', np.full((480, 640, 3), i, np.uint8), stamp_ns, 'cam')
            if i % 2:
                bag.add_camera_info('/info', np.eye(3) * i, (480, 640), stamp_ns, 'cam')
    return BagSource(tmp_path / 'bag')


@pytest.fixture(params=[ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT], ids=str)
def dds(request):
    """A player and somebody who listens, connected."""
    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    ears = Ears(context, request.param)
    speaker = Node('speaker', context=context)
    player = Player(speaker)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(ears)

    stopped = threading.Event()

    def spin():
        while not stopped.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    wait_for(
        lambda: all(
            p.get_subscription_count() for t, p in player.publishers.items() if t != 'odom'
        )
    )
    yield player, ears
    stopped.set()
    thread.join()
    context.try_shutdown()


def wait_for(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'timed out'
        time.sleep(0.01)


def test_a_bag_arrives_in_order_at_its_own_pace_with_present_stamps(dds, recording):
    player, ears = dds
    before_ns = time.time_ns()
    replay = player.play(bag_events(recording))
    wait_for(lambda: len(ears.images) == PICTURES and len(ears.infos) == PICTURES // 2)
    assert [int(rgb_from_image(msg)[0, 0, 0]) for _, _, msg in ears.images] == list(
        range(PICTURES)
    )
    stamps = [stamp_ns_from_msg(msg.header.stamp) for _, _, msg in ears.images]
    assert np.diff(stamps) == pytest.approx(1e9 / RATE_HZ, abs=2)
    assert stamps == [sent.stamp_ns for sent in replay.sent]
    assert before_ns <= stamps[0] <= ears.images[0][1]
    assert {msg.header.frame_id for _, _, msg in ears.images} == {'cam'}
    assert replay.others == PICTURES // 2
    assert replay.seconds == pytest.approx((PICTURES - 1) / RATE_HZ, abs=0.2)
    gaps = [b - a for (a, *_), (b, *_) in pairwise(ears.images)]
    assert np.median(gaps) == pytest.approx(1 / RATE_HZ, rel=0.2)
    infos = {stamp_ns_from_msg(msg.header.stamp) for msg in ears.infos}
    assert infos == set(stamps[1::2])  # equal stamps stay equal


def test_a_bag_without_stamps_plays_by_the_time_of_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_writer, 'header', lambda _, frame_id: header(0, frame_id))
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(3):
            stamp_ns = 10**18 + i * 10**8
            for camera in ('/left', '/right'):
                bag.add_image(camera, np.full((8, 8, 3), i, np.uint8), stamp_ns, camera[1:])
            bag.add_odometry('/odom', [i, 0, 0], [0, 0, 0, 1], stamp_ns + 1)
    source = BagSource(tmp_path / 'bag', topic='/right', stamps='record')
    events = list(bag_events(source))
    assert [(event.topic, event.stamp_ns - 10**18) for event in events] == [
        (topic, i * 10**8 + after)
        for i in range(3)
        for topic, after in (('image', 0), ('odom', 1))
    ]
    assert events[0].message.header.frame_id == 'right'


def test_pictures_without_times_get_a_rate(dds, recording):
    player, ears = dds
    replay = player.play(picture_events(recording, frame_id='camera', rate_hz=50.0))
    wait_for(lambda: len(ears.images) == PICTURES)
    assert replay.seconds == pytest.approx((PICTURES - 1) / 50.0, abs=0.15)


def test_stop_ends_the_replay_early(dds, recording):
    player, _ = dds
    replay = player.play(
        bag_events(recording),
        lambda sent: player.stop() if sent.picture == 2 else None,
    )
    assert [sent.picture for sent in replay.sent] == [0, 1, 2]


def test_a_broken_recording_ends_the_replay_with_its_error(dds):
    player, _ = dds

    def events():
        raise OSError('gone')
        yield

    with pytest.raises(OSError, match='gone'):
        player.play(events())


def test_rate_must_be_positive(dds):
    player, _ = dds
    with pytest.raises(ValueError, match='rate must be positive'):
        Player(player._node, rate=0.0)
