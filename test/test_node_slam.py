# SPDX-License-Identifier: Apache-2.0
"""Loops closed over DDS: the node in mode slam and the pose graph beside it, on real pictures.

A hand-held run (RedKitchen) with its true odometry and its camera_info; the map that was learnt is
saved, checked, loaded, extended and saved again.
"""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')
pytest.importorskip('gtsam', reason='pip install -r requirements/slam.txt')

from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from nav_msgs.msg import Odometry, Path
from node_process import (
    REPOSITORY,
    Client,
    NodeProcess,
    environment,
    free_domain,
    stop_process,
)
from real_drive import LENS, Kitchen
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure, MapInfo
from vpr_msgs.srv import LoadMap, SaveMap

from vpr_ros.conversions import stamp_msg_from_ns, stamp_ns_from_msg
from vpr_ros.keyframe_store import store_of_map
from vpr_ros.place_map import PlaceMap

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(600)]
FIRST = (*range(150, 340, 10), *range(340, 500, 20))
AGAIN = tuple(range(510, 550, 5))
NEW = tuple(range(560, 610, 10))
# Odometry places the camera's optical frame itself.
MOUNTED = ('-p', 'body_from_camera:=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]')
QUICK = ('-p', 'diagnostics_period_s:=0.2', '-p', 'device:=cpu')
WAIT_S = 60.0


class Robot:
    """Plays pictures with odometry and camera_info, and waits for every answer."""

    def __init__(self, kitchen, domain):
        self.kitchen = kitchen
        self.client = Client(domain)
        create = self.client.node.create_publisher
        self.odom = create(Odometry, 'odom', 1000)
        self.camera_info = create(CameraInfo, 'camera_info', 10)

    def connect(self, *, subscriptions=1):
        self.client.connect()
        self.client.wait_until(
            lambda: self.odom.get_subscription_count() == subscriptions,
            'the nodes',
            timeout_s=90.0,
        )
        self.client.wait_until(self.camera_info.get_subscription_count, 'the node')
        self.client.spin(0.5)

    def play(self, numbers, *, since):
        """Show pictures; odometry comes 30 times a second from `since` on."""
        answers = []
        for number in numbers:
            for between in range(since, number + 1):
                self.odom.publish(self.odometry(between))
            since = number + 1
            shot = self.kitchen[number]
            stamp = stamp_msg_from_ns(shot.stamp_ns)
            self.camera_info.publish(calibration(stamp))
            self.client.spin(0.15)
            before = len(self.client.closures)
            self.client.send(shot.rgb, shot.stamp_ns)
            self.client.wait_until(
                lambda n=before: len(self.client.closures) > n, 'an answer', timeout_s=WAIT_S
            )
            self.client.spin(0.05)
            answers.append(self.client.closures[before:])
        return answers

    def odometry(self, number):
        shot = self.kitchen[number]
        x, y, z = shot.odometry.position.tolist()
        qx, qy, qz, qw = shot.odometry.orientation_xyzw.tolist()
        pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
        return Odometry(
            header=Header(stamp=stamp_msg_from_ns(shot.stamp_ns), frame_id='odom'),
            child_frame_id='camera_optical',
            pose=PoseWithCovariance(pose=pose),
        )

    def save(self, url):
        request = SaveMap.Request(map_url=url)
        return self.client.call(SaveMap, '/localizer/save_map', request, timeout_s=WAIT_S)


def calibration(stamp):
    return CameraInfo(
        header=Header(stamp=stamp, frame_id='camera_optical'),
        width=480,
        height=360,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=LENS.matrix.ravel().tolist(),
    )


def pose_graph(log, domain):
    command = [sys.executable, '-m', 'vpr_ros.pose_graph_node', '--ros-args']
    command += ['-p', 'diagnostics_period_s:=0.2', '-p', 'update_period_s:=0.2']
    with log.open('wb') as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment(domain))


def values_of(client, name):
    """The newest values of a diagnostics status."""
    for array in reversed(client.diagnostics):
        for status in array.status:
            if status.name == name:
                return {pair.key: pair.value for pair in status.values}
    return {}


def verify(map_directory):
    return subprocess.run(
        [sys.executable, '-m', 'vpr_ros.cli', 'map', 'verify', str(map_directory)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )


@pytest.fixture(scope='module')
def kitchen(vpr_data):
    return Kitchen(vpr_data)


@pytest.fixture(scope='module')
def run(kitchen, tmp_path_factory):
    """The drive in mode slam with the pose graph; what was published, and the saved map."""
    folder, domain = tmp_path_factory.mktemp('slam'), free_domain()
    node = NodeProcess(folder / 'node.log', *QUICK, *MOUNTED, '-p', 'mode:=slam', domain=domain)
    graph = pose_graph(folder / 'graph.log', domain)
    robot = Robot(kitchen, domain)
    try:
        node.wait_for_log('inactive -> active', timeout_s=WAIT_S)
        paths = robot.client.listen(Path, '/pose_graph/path')
        infos = robot.client.listen(MapInfo, '/localizer/map_info', latched=True)
        robot.connect(subscriptions=2)
        refused = robot.client.call(
            LoadMap, '/localizer/load_map', LoadMap.Request(map_url='/maps/town')
        )
        empty = robot.save(str(folder / 'early'))
        first = robot.play(FIRST, since=FIRST[0] - 15)
        again = robot.play(AGAIN, since=FIRST[-1] + 1)
        for number in range(AGAIN[-1] + 1, AGAIN[-1] + 4):  # odometry behind the last picture
            robot.odom.publish(robot.odometry(number))
        robot.client.wait_until(
            lambda: int(values_of(robot.client, 'pose_graph: graph').get('accepted', 0)) > 0,
            'closures that the pose graph accepts',
            timeout_s=90.0,
        )
        robot.client.wait_until(lambda: paths and infos, 'path and map_info', timeout_s=90.0)
        robot.client.spin(1.0)
        saved = robot.save((folder / 'kitchen').as_uri())
        yield SimpleNamespace(
            refused=refused,
            empty=empty,
            first=first,
            again=again,
            saved=saved,
            paths=paths,
            infos=infos,
            graph=values_of(robot.client, 'pose_graph: graph'),
            map_status=values_of(robot.client, 'localizer: map'),
            directory=folder / 'kitchen',
            log=node.log(),
        )
    finally:
        robot.client.close()
        code = node.stop()
        stop_process(graph, folder / 'graph.log')
    assert code == 0, node.log()
    assert 'Traceback' not in node.log()
    assert 'Traceback' not in (folder / 'graph.log').read_text()


def test_loops_are_closed_in_metres(run, kitchen):
    assert all(len(answers) == 1 for answers in (*run.first, *run.again))
    closures = [answers[0] for answers in run.again]
    verified = [closure for closure in closures if closure.status == LoopClosure.VERIFIED]
    assert len(verified) >= len(AGAIN) - 2
    for closure in verified:
        assert closure.reason == ''
        assert closure.has_relative_pose
        assert closure.metric
        assert closure.map_frame_id == 'odom'
        query, match = (
            kitchen[kitchen.number_of(stamp_ns_from_msg(stamp))].odometry.matrix
            for stamp in (closure.header.stamp, closure.matches[0].stamp)
        )
        true = np.linalg.inv(match) @ query
        at = closure.match_from_query.pose
        moved = np.array([at.position.x, at.position.y, at.position.z])
        assert np.linalg.norm(moved - true[:3, 3]) < 0.15
        turn = Rotation.from_quat(
            [at.orientation.x, at.orientation.y, at.orientation.z, at.orientation.w]
        )
        wrong = turn.inv() * Rotation.from_matrix(true[:3, :3])
        assert np.degrees(wrong.magnitude()) < 6.0
        variances = np.diag(np.reshape(closure.match_from_query.covariance, (6, 6)))
        assert (variances > 0).all()
        assert (variances < 1).all()


def test_the_operator_sees_why_nothing_is_recognised_at_first(run):
    reasons = [answers[0].reason.partition(':')[0] for answers in run.first]
    assert reasons[0] == 'too_recent'
    assert 'below_threshold' in reasons
    assert 'too_recent: whatever was seen so far is too recent or too near' in run.log
    assert int(run.map_status['places learnt']) > 10
    assert run.infos[-1].num_places > 5


def test_the_pose_graph_takes_the_closures_and_publishes_a_path(run):
    assert int(run.graph['accepted']) >= len(AGAIN) // 2
    assert run.graph.get('rejected against_odometry', '0') == '0'
    path = run.paths[-1]
    assert path.header.frame_id == 'map'
    assert len(path.poses) > 10


def test_load_and_save_say_what_cannot_be(run):
    assert run.refused.result == LoadMap.Response.INVALID
    assert 'mode slam knows no map but its own past, and /maps/town was' in run.refused.message
    assert run.empty.result == SaveMap.Response.INVALID
    assert run.empty.message == 'nothing was learnt yet: there is no map to write'


def test_the_saved_map_is_sound(run):
    assert run.saved.result == SaveMap.Response.SUCCESS, run.saved.message
    said = f'{run.saved.info.num_places} places written to {run.directory}'
    assert run.saved.message.startswith(said)
    assert run.saved.info.header.frame_id == 'map'
    done = verify(run.directory)
    assert done.returncode == 0, done.stderr
    loaded = PlaceMap.load(run.directory)
    assert len(loaded) == run.saved.info.num_places
    known = np.isfinite(loaded.places['position']).all(axis=1)
    assert known.sum() >= len(loaded) - 2, 'odometry can come after its picture'
    assert ('places have no pose' in run.saved.message) == (not known.all())
    assert store_of_map(loaded).kind == 'sift'


def test_the_saved_map_is_loaded_extended_and_saved_again(run, kitchen, tmp_path):
    before = run.saved.info.num_places
    domain = free_domain()
    node = NodeProcess(
        tmp_path / 'node.log',
        *(*QUICK, *MOUNTED, '-p', 'mode:=both', '-p', f'map:={run.directory}'),
        domain=domain,
    )
    robot = Robot(kitchen, domain)
    try:
        node.wait_for_log('inactive -> active', timeout_s=WAIT_S)
        robot.connect()
        answers = robot.play((*AGAIN[:3], *NEW), since=AGAIN[0] - 10)
        assert all(len(found) == 2 for found in answers), 'one of the map, one of the past'
        of_map = [found[0] for found in answers]
        assert [closure.map_frame_id for closure in answers[0]] == ['map', 'odom']
        assert LoopClosure.VERIFIED in [closure.status for closure in of_map[:3]]
        saved = robot.save('')  # where it was loaded from
        assert saved.result == SaveMap.Response.SUCCESS, saved.message
        assert saved.info.num_places > before
        twice = robot.save((tmp_path / 'copy').as_uri())
        assert twice.info.num_places == saved.info.num_places
    finally:
        robot.client.close()
        code = node.stop()
    assert code == 0, node.log()
    assert 'Traceback' not in node.log()
    for directory in (run.directory, tmp_path / 'copy'):
        done = verify(directory)
        assert done.returncode == 0, done.stderr
    extended = PlaceMap.load(run.directory)
    new = extended.places[before:]
    placed = new[np.isfinite(new['position']).all(axis=1)]
    assert len(placed) >= len(new) - 2, 'placed through VERIFIED pictures'
    for place in placed:
        true = kitchen[kitchen.number_of(int(place['stamp_ns']))].odometry.position
        # The saved map has the frame of the first drive, whose odometry was true.
        assert np.linalg.norm(place['position'] - true) < 0.2
