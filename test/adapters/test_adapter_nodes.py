# SPDX-License-Identifier: Apache-2.0
"""The adapters' nodes over DDS; RTAB-Map is a stand-in with its published fields and rules."""

import csv
import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')

import rclpy
from adapters import rtabmap_stand_ins
from adapters.rtabmap_stand_ins import AddLink, MapData, map_data
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovariance, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from node_process import environment, free_domain, stop_process
from pose_graph.drive_messages import closure_msg, odometry_msg, pose_msg
from pose_graph.drives import S, closure, pose_of, seen_by, square
from rclpy.task import Future
from ros_client import RosClient
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vpr_msgs.msg import LoopClosure

from vpr_ros.adapters.closure_file import COLUMNS
from vpr_ros.conversions import stamp_msg_from_ns
from vpr_ros.pose_graph.transforms import inverse, quaternion_xyzw, transform

pytestmark = pytest.mark.ros
TRUTH = square()
LAP = len(TRUTH) // 2
MOUNTING = [0.3, 0.1, 0.5, -0.5, 0.5, -0.5, 0.5]
BASE_FROM_CAMERA = transform(np.array(MOUNTING[:3]), np.array(MOUNTING[3:]))
MOUNTED = f'body_from_camera:={MOUNTING}'


class Robot(RosClient):
    """Publishes what localizer and odometry publish, and keeps what comes."""

    def __init__(self, domain):
        super().__init__(domain, 'robot')
        create = self.node.create_publisher
        self.odom = create(Odometry, 'odom', 1000)
        self.closures = create(LoopClosure, 'localizer/loop_closures', 100)
        self.poses = create(PoseWithCovarianceStamped, 'localizer/pose', 100)

    def ask(self, name):
        return self.call(Trigger, name, Trigger.Request())

    def ask_until(self, name, *parts):
        """Ask again until the node has heard all that these parts of its message tell of."""
        answers = []

        def told():
            answers.append(self.ask(name))
            return all(part in answers[-1].message for part in parts)

        self.wait_until(told, f'{parts} in an answer of {name}')
        return answers[-1]


def command(name, *parameters):
    arguments = [word for text in parameters for word in ('-p', text)]
    return [sys.executable, '-m', 'vpr_ros.adapters', name, '--ros-args', *arguments]


@pytest.fixture
def started(tmp_path):
    """Start an adapter; returns a robot that it listens to, its process and its log."""
    processes, robots, log = [], [], tmp_path / 'node.log'

    def start(name, *parameters):
        domain = free_domain()
        with log.open('wb') as file:
            processes.append(
                subprocess.Popen(
                    command(name, *parameters), stdout=file, stderr=file, env=environment(domain)
                )
            )
        robots.append(Robot(domain))
        robots[-1].wait_until(
            robots[-1].closures.get_subscription_count, f'{name}: {log.read_text()}'
        )
        return robots[-1], processes[-1], log

    yield start
    for robot in robots:
        robot.close()
    for process in processes:
        assert stop_process(process, log) in (0, -9)
    assert 'Traceback' not in log.read_text()


def refusal_of(name, *parameters):
    done = subprocess.run(
        command(name, *parameters),
        env=environment(free_domain()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert 'Traceback' not in done.stderr
    return done.stderr


def of_camera(made):
    return seen_by(made, BASE_FROM_CAMERA)


# --- closure_recorder


def test_every_closure_is_in_the_file_even_after_a_kill(started, tmp_path):
    path = tmp_path / 'closures.csv'
    robot, process, _ = started('closure_recorder', f'file:={path}')
    made = closure(TRUTH, LAP, 0)
    rejected = closure_msg(made, status=LoopClosure.REJECTED, relative=False)
    rejected.reason = 'few_inliers: only 7,\nof 20'
    rejected.camera = 'front'
    robot.closures.publish(closure_msg(made))
    robot.closures.publish(rejected)
    robot.closures.publish(LoopClosure(status=LoopClosure.REJECTED, reason='blank: dark'))
    robot.wait_until(lambda: path.read_text().count('\n') == 4, 'three lines')
    process.kill()
    with path.open(newline='') as file:
        verified, refused, blank = csv.DictReader(file)
    assert list(verified) == list(COLUMNS)
    assert (verified['status'], verified['kind']) == ('verified', 'metric')
    assert verified['query_stamp'] == f'{made.query_stamp_ns // S}.{made.query_stamp_ns % S:09d}'
    assert verified['match_stamp'] == '1.000000000'
    found = [float(verified[name]) for name in ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')]
    assert found[:3] == pytest.approx(made.match_from_query[:3, 3], abs=1e-8)
    assert found[3:] == pytest.approx(quaternion_xyzw(made.match_from_query), abs=1e-8)
    assert float(verified['cov_rz_rz']) == pytest.approx(made.covariance[5, 5])
    assert (refused['status'], refused['kind'], refused['camera']) == ('rejected', 'none', 'front')
    assert refused['reason'] == 'few_inliers: only 7, of 20'
    assert refused['x'] == refused['cov_x_x'] == ''
    assert (blank['reason'], blank['match_stamp']) == ('blank: dark', '')


def test_a_g2o_file_with_odometry(started, tmp_path):
    path = tmp_path / 'closures.g2o'
    robot, *_ = started(
        'closure_recorder', f'file:={tmp_path / "closures.csv"}', f'g2o_file:={path}', MOUNTED
    )
    robot.wait_until(robot.odom.get_subscription_count, 'the recorder')
    assert robot.ask('/closure_recorder/save_g2o').message.startswith('no odometry has come')
    for i in range(len(TRUTH)):
        robot.odom.publish(odometry_msg(TRUTH, i))
    robot.closures.publish(closure_msg(of_camera(closure(TRUTH, LAP, 0))))
    robot.closures.publish(closure_msg(closure(TRUTH, LAP, 1), status=LoopClosure.CANDIDATE))
    robot.closures.publish(closure_msg(of_camera(closure(TRUTH, LAP + 1, 1)), frame='map'))
    answer = robot.ask_until(
        '/closure_recorder/save_g2o',
        '1 closures in',
        "1 not used, of another map: 'map' is not 'odom', the odometry",
    )
    assert answer.success, answer.message
    rows = [line.split() for line in path.read_text().splitlines()]
    vertices = {int(r[1]): np.array(r[2:], float) for r in rows if r[0] == 'VERTEX_SE3:QUAT'}
    edges = [r for r in rows if r[0] == 'EDGE_SE3:QUAT']
    assert len(edges) == len(vertices)
    first, second = (transform(v[:3], v[3:]) for v in (vertices[int(i)] for i in edges[-1][1:3]))
    pose = np.array(edges[-1][3:10], float)
    assert first @ transform(pose[:3], pose[3:]) == pytest.approx(second, abs=1e-6)


def test_the_recorder_says_what_is_missing(tmp_path):
    assert 'start with -p file:=closures.csv' in refusal_of('closure_recorder')
    (tmp_path / 'other').write_text('mine')
    assert 'holds something else' in refusal_of('closure_recorder', f'file:={tmp_path / "other"}')
    assert "did you mean 'g2o_file'?" in refusal_of('closure_recorder', 'g2o_fil:=x')


def test_the_recorder_goes_on_and_ends_in_order_when_the_disk_fails(tmp_path, monkeypatch):
    from vpr_ros.adapters.recorder_node import ClosureRecorder

    path, domain = tmp_path / 'closures.csv', free_domain()
    arguments = ['-p', f'file:={path}', '-p', 'flush_period_s:=0.05']
    rclpy.init(args=['--ros-args', *arguments], domain_id=domain)
    node, robot = ClosureRecorder(), Robot(domain)
    try:
        own = rclpy.executors.SingleThreadedExecutor()
        own.add_node(node)
        failed = []

        def fsync(_):
            failed.append(True)
            raise OSError('Input/output error')

        monkeypatch.setattr(os, 'fsync', fsync)
        deadline = time.monotonic() + 20
        while len(failed) < 2 or not robot.closures.get_subscription_count():
            assert time.monotonic() < deadline
            own.spin_once(timeout_sec=0.1)
        robot.closures.publish(closure_msg(closure(TRUTH, LAP, 0)))
        while path.read_text().count('\n') < 2:
            assert time.monotonic() < deadline
            own.spin_once(timeout_sec=0.1)
        num_failed = len(failed)
    finally:
        robot.close()
        node.close()
        rclpy.try_shutdown()
    assert len(failed) == num_failed + 1


# --- initial_pose


def verified_pose(robot, base, stamp_ns):
    camera = base @ BASE_FROM_CAMERA
    header = Header(stamp=stamp_msg_from_ns(stamp_ns), frame_id='map')
    covariance = np.diag([1e-4] * 6).ravel()
    pose = PoseWithCovariance(pose=pose_msg(camera), covariance=covariance)
    robot.poses.publish(PoseWithCovarianceStamped(header=header, pose=pose))


def verdict(robot, stamp_ns, **changes):
    msg = closure_msg(closure(TRUTH, LAP, 0), **changes)
    msg.header.stamp = stamp_msg_from_ns(stamp_ns)
    msg.map_frame_id = 'map'
    robot.closures.publish(msg)


def test_the_newest_verified_pose_is_sent_when_asked(started):
    robot, *_ = started('initial_pose', MOUNTED, 'max_age_s:=5.0')
    robot.wait_until(robot.poses.get_subscription_count, 'the node')
    ask = '/initial_pose/send_initialpose'
    assert 'no picture was verified' in robot.ask(ask).message
    base = transform(np.array([4.0, 5.0, 0.25]), np.array([0, 0, np.sin(0.4), np.cos(0.4)]))
    now_ns = time.time_ns()
    later = transform(np.array([9.0, 9.0, 0.0]), np.array([0, 0, 0, 1.0]))
    verified_pose(robot, later, now_ns + 1000)
    verdict(robot, now_ns + 1000, status=LoopClosure.CONSISTENT)  # not verified: never sent
    verified_pose(robot, base, now_ns)
    verdict(robot, now_ns)  # behind it on both topics: once this is known, both have come
    robot.ask_until(ask, 'nobody listens to /initialpose')
    heard = robot.listen(PoseWithCovarianceStamped, '/initialpose')
    robot.wait_until(lambda: robot.node.count_publishers('/initialpose'), 'the publisher')
    answer = [robot.ask(ask)]

    def sent():
        if not answer[-1].success:
            answer.append(robot.ask(ask))
        return heard

    robot.wait_until(sent, 'initialpose', timeout_s=4)
    found = heard[0]
    assert answer[-1].message.startswith('sent x 4.000 y 5.000 z 0.250')
    assert found.header == Header(stamp=stamp_msg_from_ns(now_ns), frame_id='map')
    assert [found.pose.pose.position.x, found.pose.pose.position.y] == pytest.approx([4, 5])
    q = found.pose.pose.orientation
    assert [q.x, q.y, q.z, q.w] == pytest.approx([0, 0, np.sin(0.4), np.cos(0.4)], abs=1e-9)
    assert found.pose.covariance[35] == pytest.approx(1e-4)
    assert found.pose.covariance[0] > 1e-4  # the base stands off the camera


def test_an_old_pose_is_not_sent(started):
    robot, *_ = started('initial_pose', 'max_age_s:=0.5')
    robot.wait_until(robot.poses.get_subscription_count, 'the node')
    stamp_ns = time.time_ns() - 3 * S
    verified_pose(robot, np.eye(4), stamp_ns)
    verdict(robot, stamp_ns)
    heard = robot.listen(PoseWithCovarianceStamped, '/initialpose')
    answer = robot.ask_until('/initial_pose/send_initialpose', 'more than max_age_s 0.5')
    assert not answer.success
    robot.spin(0.3)
    assert not heard


# --- rtabmap_links


class RtabmapModel:
    """What RTAB-Map does with a link, as its sources say: empty answers, its graph tells."""

    def __init__(self, nodes, *, rejects=()):
        self.nodes, self.rejects = nodes, rejects
        self.ready, self.links = False, []
        self.calls = []  # what the next calls do, an exception or None: no answer
        self.srv_name = '/rtabmap/add_link'
        self.on_map = None

    def service_is_ready(self):
        return self.ready

    def call_async(self, request):
        assert isinstance(request, AddLink.Request)
        future = Future()
        if self.calls:
            error = self.calls.pop(0)
            if error:
                future.set_exception(error)
            return future
        if request.link.from_id not in self.rejects:
            self.links.append(request.link)
        future.set_result(AddLink.Response())
        return future

    def remove_pending_request(self, future):
        assert not future.done()

    def publish(self):
        links = [(link.from_id, link.to_id) for link in self.links]
        self.on_map(map_data(self.nodes, links=links))


@pytest.fixture
def rtabmap(monkeypatch):
    """The real node with a model of RTAB-Map in place of what DDS cannot carry here."""
    monkeypatch.setitem(sys.modules, 'rtabmap_msgs', rtabmap_stand_ins)
    monkeypatch.setitem(sys.modules, 'rtabmap_msgs.msg', rtabmap_stand_ins)
    monkeypatch.setitem(sys.modules, 'rtabmap_msgs.srv', rtabmap_stand_ins)
    from vpr_ros.adapters.rtabmap_node import RtabmapLinks

    model = RtabmapModel(
        [(i + 1, float(TRUTH.stamps_ns[i]) / S) for i in range(0, len(TRUTH), 2)], rejects={5}
    )

    class Linked(RtabmapLinks):
        def create_client(self, kind, name):
            assert (kind, name) == (AddLink, 'rtabmap/add_link')
            return model

        def create_subscription(self, kind, topic, callback, qos, **more):
            if kind is MapData:
                assert topic == 'rtabmap/mapData'
                model.on_map = callback
                return None
            return super().create_subscription(kind, topic, callback, qos, **more)

    domain = free_domain()
    arguments = ['-p', MOUNTED, '-p', 'diagnostics_period_s:=0.1', '-p', 'max_way_m:=0.6']
    rclpy.init(args=['--ros-args', *arguments], domain_id=domain)
    node, robot = Linked(), Robot(domain)
    own = rclpy.executors.SingleThreadedExecutor()
    own.add_node(node)
    spin = robot.executor.spin_once
    robot.executor.spin_once = lambda timeout_sec: (own.spin_once(timeout_sec=0), spin(0.01))
    statuses = robot.listen(DiagnosticArray, '/diagnostics')

    def status():
        return statuses[-1].status[0]

    def value(key):
        return {pair.key: pair.value for pair in status().values}.get(key)

    try:
        robot.wait_until(robot.odom.get_subscription_count, 'the node')
        robot.wait_until(robot.closures.get_subscription_count, 'the node')
        robot.wait_until(lambda: statuses, 'diagnostics')
        robot.spin(0.5)
        yield robot, model, status, value
    finally:
        robot.close()
        node.close()
        rclpy.try_shutdown()


def test_verified_closures_become_links_and_their_fate_is_seen(rtabmap):
    robot, model, status, value = rtabmap
    early = closure_msg(of_camera(closure(TRUTH, LAP + 5, 5)), frame='map')
    robot.closures.publish(early)
    robot.wait_until(lambda: value('waiting for nodes or odometry') == '1', 'the early closure')
    assert status().level == DiagnosticStatus.ERROR
    assert 'no service /rtabmap/add_link' in status().message
    for i in range(len(TRUTH)):
        robot.odom.publish(odometry_msg(TRUTH, i))
    robot.wait_until(lambda: value('odometry received') == str(len(TRUTH)), 'odometry')
    model.publish()
    right = closure(TRUTH, LAP + 9, 9)
    robot.closures.publish(closure_msg(of_camera(right)))
    robot.closures.publish(closure_msg(of_camera(closure(TRUTH, LAP + 4, 4))))  # rejected
    for unsafe in ({'status': LoopClosure.CONSISTENT}, {'relative': False}):
        robot.closures.publish(closure_msg(of_camera(right), **unsafe))
    direction = closure_msg(of_camera(right))
    direction.metric = False
    robot.closures.publish(direction)
    robot.wait_until(lambda: value('closures received') == '6', 'closures')
    assert value("not used, of another map: 'map' is not 'odom', the odometry") == '1'
    assert value('not used, not verified: consistent') == '1'
    assert value('not used, without a relative pose') == '1'
    assert value('not used, not metric: a direction without a length') == '1'
    robot.wait_until(lambda: value('waiting for the service') == '2', 'the queue')
    model.ready = True
    robot.wait_until(lambda: value('sent') == '2', 'both links')
    (link,) = model.links
    ends = [pose_of(TRUTH, node_id - 1) for node_id in (link.from_id, link.to_id)]
    t, q = link.transform.translation, link.transform.rotation
    found = transform(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))
    assert found == pytest.approx(inverse(ends[0]) @ ends[1], abs=1e-6)
    assert link.type == 4
    for _ in range(3):
        model.publish()
    robot.wait_until(lambda: value('linked') == '1', 'the linked one')
    assert value('not taken') == '1'
    assert 'RGBD/OptimizeMaxError' in value('last reason')
    assert status().message == '1 of 2 links are in the graph of RTAB-Map'


def test_a_link_without_an_answer_is_sent_again(rtabmap, monkeypatch):
    """RTAB-Map dies in the first call, and the second one fails."""
    from vpr_ros.adapters import rtabmap_node

    robot, model, _, value = rtabmap
    monkeypatch.setattr(rtabmap_node, '_ANSWER_S', 0.3)
    monkeypatch.setattr(rtabmap_node, '_AGAIN_S', 0.1)
    model.ready, model.calls = True, [None, RuntimeError('lost')]
    for i in range(len(TRUTH)):
        robot.odom.publish(odometry_msg(TRUTH, i))
    robot.wait_until(lambda: value('odometry received') == str(len(TRUTH)), 'odometry')
    model.publish()
    robot.closures.publish(closure_msg(of_camera(closure(TRUTH, LAP + 9, 9))))
    robot.wait_until(lambda: value('sent') == '1', 'the link')
    assert len(model.links) == 1
    assert value('calls that failed') == '2'
    assert value('waiting for the service') == '0'


def test_without_rtabmap_msgs_the_node_names_the_package():
    import importlib.util

    if importlib.util.find_spec('rtabmap_msgs'):
        pytest.skip('rtabmap_msgs is installed')
    assert 'apt install ros-$ROS_DISTRO-rtabmap-msgs' in refusal_of('rtabmap_links')


def test_an_unknown_adapter_is_named():
    done = subprocess.run(
        [sys.executable, '-m', 'vpr_ros.adapters', 'rtabmap'],
        env=environment(free_domain()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "'rtabmap' is no adapter; there are: closure_recorder" in done.stderr
