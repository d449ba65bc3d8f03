# SPDX-License-Identifier: Apache-2.0
"""The node `pose_graph` over DDS: messages in, path, rejections, diagnostics and files out."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')
pytest.importorskip('gtsam', reason='pip install -r requirements/slam.txt')

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from node_process import REPOSITORY, environment, free_domain, stop_process
from pose_graph.drive_messages import closure_msg, odometry_msg
from pose_graph.drives import closure, rms_m, seen_by, square
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import RosClient
from std_srvs.srv import Trigger
from vpr_msgs.msg import LoopClosure

from vpr_ros.conversions import stamp_ns_from_msg
from vpr_ros.pose_files import read_poses
from vpr_ros.pose_graph.closure import Kind
from vpr_ros.pose_graph.transforms import quaternion_xyzw, transform
from vpr_ros.poses import Trajectory

pytestmark = pytest.mark.ros
TRUTH, DRIFTED = square(), square(turn_error=0.02)
LAP = len(TRUTH) // 2
AHEAD = (0.5, 0.0, 1.0, -0.5, 0.5, -0.5, 0.5)
LEFT = (0.0, 0.3, 1.0, 0.7071067811865476, 0.0, 0.0, -0.7071067811865476)
COMMAND = [sys.executable, '-m', 'vpr_ros.pose_graph_node', '--ros-args']


class Robot(RosClient):
    """Publishes odometry and closures, and keeps what the node answers."""

    def __init__(self, domain, reliability):
        super().__init__(domain, 'robot')
        self.odom = self.node.create_publisher(
            Odometry, 'odom', QoSProfile(depth=1000, reliability=reliability)
        )
        self.closures = self.node.create_publisher(LoopClosure, 'localizer/loop_closures', 100)
        self.paths = self.listen(Path, '/pose_graph/path')
        self.rejected = self.listen(LoopClosure, '/pose_graph/rejected')
        self.late, self.statuses = [], {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._look, 10)
        if reliability is ReliabilityPolicy.RELIABLE:
            self.wait_until(self.odom.get_subscription_count, 'the node')
        self.wait_until(self.closures.get_subscription_count, 'the node')
        self.wait_until(lambda: self.node.count_publishers('/pose_graph/rejected'), 'the node')
        for what in ('odometry', 'closure'):
            seen = f'{what} publishers'
            self.wait_until(lambda seen=seen: self.value(seen, 'input') == '1', f'{seen}')
        self.spin(0.3)

    def _look(self, msg):
        for status in msg.status:
            values = {pair.key: pair.value for pair in status.values}
            self.statuses[status.name] = (status.level, status.message, values)

    def value(self, key, task='graph'):
        found = self.statuses.get(f'pose_graph: {task}')
        return found and found[2].get(key)

    def drive(self, run):
        for i in range(len(run)):
            self.odom.publish(odometry_msg(run, i))

    def save(self):
        return self.call(Trigger, '/pose_graph/save', Trigger.Request())


@pytest.fixture
def started(tmp_path):
    """Start the node with parameters; returns a robot and where the log is."""
    processes, robots = [], []

    def start(*parameters, reliability=ReliabilityPolicy.RELIABLE):
        domain, log = free_domain(), tmp_path / 'node.log'
        given = ['diagnostics_period_s:=0.1', 'update_period_s:=0.1', *parameters]
        arguments = [word for text in given for word in ('-p', text)]
        with log.open('wb') as file:
            processes.append(
                subprocess.Popen(
                    [*COMMAND, *arguments], stdout=file, stderr=file, env=environment(domain)
                )
            )
        robots.append(Robot(domain, reliability))
        return robots[-1], log

    yield start
    for robot in robots:
        robot.close()
    for process in processes:
        assert stop_process(process, tmp_path / 'node.log') == 0
    assert 'Traceback' not in (tmp_path / 'node.log').read_text()


def last_path(robot):
    robot.wait_until(lambda: robot.paths, 'the path')
    poses = robot.paths[-1].poses
    matrices = [
        transform(
            np.array([p.pose.position.x, p.pose.position.y, p.pose.position.z]),
            np.array(
                [
                    *(p.pose.orientation.x, p.pose.orientation.y),
                    *(p.pose.orientation.z, p.pose.orientation.w),
                ]
            ),
        )
        for p in poses
    ]
    stamps = np.array([stamp_ns_from_msg(p.header.stamp) for p in poses])
    found = np.array(matrices)
    return Trajectory(stamps, found[:, :3, 3], quaternion_xyzw(found))


def test_drift_goes_away_and_wrong_closures_come_back_with_a_reason(started, tmp_path):
    # The run may come in pieces: the first closure must wait for all of its 32 seconds.
    robot, log = started(f'save_folder:={tmp_path / "parent" / "run"}', 'closure_wait_s:=60.0')
    assert 'no odometry on /odom: nothing has come yet' in robot.statuses['pose_graph: input'][1]
    early = closure(TRUTH, LAP, 0)  # before any odometry
    robot.closures.publish(closure_msg(early, frame='map'))
    robot.closures.publish(closure_msg(early))
    robot.wait_until(lambda: robot.value('waiting for odometry') == '2', 'the early closures')
    robot.drive(DRIFTED)
    robot.wait_until(lambda: robot.value('accepted') == '1', 'the first closure')
    other_map = "not used, of another map: 'map' is not 'odom', the odometry"
    assert robot.value(other_map) == '1'
    for i in range(4, LAP, 4):
        robot.closures.publish(closure_msg(closure(TRUTH, LAP + i, i)))
    off = transform(np.array([4.0, 3.0, 0.0]), np.array([0, 0, 0, 1.0]))
    wrong = closure_msg(closure(TRUTH, LAP + 6, 6, wrong=off))
    robot.closures.publish(wrong)
    robot.closures.publish(closure_msg(closure(TRUTH, LAP + 5, 5), status=LoopClosure.CANDIDATE))
    robot.closures.publish(closure_msg(closure(TRUTH, LAP + 5, 5), status=LoopClosure.REJECTED))
    # A place of a loaded map whose stamp, under simulated time, lies within this run.
    robot.closures.publish(closure_msg(closure(TRUTH, LAP + 7, 7), frame='map'))
    robot.wait_until(lambda: robot.value('accepted') == '8', 'all right closures')
    robot.wait_until(lambda: robot.rejected, 'the rejection')
    (answer,) = robot.rejected
    assert answer.status == LoopClosure.REJECTED
    assert answer.reason.startswith('against_odometry: chi-square ')
    assert answer.header == wrong.header
    assert answer.match_from_query == wrong.match_from_query
    robot.wait_until(lambda: robot.value('not used, below verified') == '1', 'the candidate')
    robot.wait_until(
        lambda: robot.value('not used, rejected by the localizer') == '1', 'the other'
    )
    robot.wait_until(lambda: robot.value(other_map) == '2', 'the closure of another map')
    assert robot.value('rejected against_odometry') == '1'
    assert robot.statuses['pose_graph: input'][2]['odometry received'] == str(len(DRIFTED))

    found = last_path(robot)
    assert robot.paths[-1].header.frame_id == 'map'
    assert robot.paths[-1].header.stamp == robot.paths[-1].poses[-1].header.stamp
    assert rms_m(TRUTH, found) < 0.3 * rms_m(TRUTH, DRIFTED)

    (tmp_path / 'parent').write_text('in the way')
    assert 'not saved in' in robot.save().message
    (tmp_path / 'parent').unlink()
    done = robot.save()
    assert done.success, done.message
    saved = read_poses(tmp_path / 'parent' / 'run' / 'trajectory.tum', 'tum').trajectory
    assert np.array_equal(saved.stamps_ns, found.stamps_ns)
    assert saved.positions == pytest.approx(found.positions, abs=1e-3)
    assert (tmp_path / 'parent' / 'run' / 'pose_graph.g2o').read_text().count('EDGE') == len(
        found
    ) - 1 + 8
    assert "pictures are in frame 'camera_optical', the body is 'base_link'" in log.read_text()


def test_a_bag_that_loops_begins_a_new_run(started):
    robot, log = started()
    robot.drive(TRUTH)
    robot.wait_until(lambda: robot.value('nodes') not in (None, '0'), 'nodes')
    robot.drive(TRUTH)
    robot.wait_until(lambda: robot.value('resets') == '1', 'the reset')
    assert 'odometry stamps jumped back by' in log.read_text()
    robot.closures.publish(closure_msg(closure(TRUTH, LAP, 0)))
    robot.wait_until(lambda: robot.value('accepted') == '1', 'a closure of the new run')
    refused = robot.save()
    assert not refused.success
    assert 'start with -p save_folder:=DIRECTORY' in refused.message


def test_who_begins_to_listen_late_gets_a_path(started):
    robot, _ = started()
    robot.drive(TRUTH)
    robot.wait_until(lambda: robot.paths, 'the path')
    for _ in range(2):
        listener = robot.node.create_subscription(Path, '/pose_graph/path', robot.late.append, 10)
        robot.wait_until(lambda: robot.late, 'a path for who came late')
        robot.node.destroy_subscription(listener)
        robot.spin(0.5)  # the node has seen that nobody is there but the first
        robot.late.clear()


def test_places_without_a_pose_are_used_when_asked(started):
    robot, _ = started('min_status:=candidate')
    robot.drive(TRUTH)
    made = closure(TRUTH, LAP, 0)
    robot.closures.publish(closure_msg(made, status=LoopClosure.CANDIDATE, relative=False))
    robot.wait_until(lambda: robot.value('accepted') == '1', 'the place')


def test_what_one_camera_recognises_of_another_counts_by_both_mountings(started):
    numbers = [*AHEAD, *LEFT]
    robot, log = started('cameras:=[front, left]', f'body_from_camera:={numbers}')
    front, left = (transform(np.array(m[:3]), np.array(m[3:])) for m in (AHEAD, LEFT))
    robot.drive(DRIFTED)
    for i in range(0, LAP, 4):
        seen = seen_by(closure(TRUTH, LAP + i, i), front, left)
        robot.closures.publish(closure_msg(seen, cameras=('front', 'left')))
    robot.closures.publish(closure_msg(closure(TRUTH, LAP, 0), cameras=('front', 'rear')))
    robot.wait_until(lambda: robot.value('accepted') == str(LAP // 4), 'the closures')
    robot.wait_until(lambda: robot.value('not used, unknown camera') == '1', 'the unknown camera')
    assert "where camera 'rear' sits is not known, only 'front', 'left'" in log.read_text()
    assert rms_m(TRUTH, last_path(robot)) < 0.3 * rms_m(TRUTH, DRIFTED)


def test_a_direction_without_a_length_is_one_in_the_graph_too(started):
    """Taken for metres, a direction of a closure that is 2.8 m long would be refused."""
    robot, _ = started('odom_translation_noise:=0.01', 'odom_rotation_noise:=0.01')
    robot.drive(TRUTH)
    robot.closures.publish(closure_msg(closure(TRUTH, LAP + 12, 4, kind=Kind.DIRECTION)))
    robot.wait_until(lambda: robot.value('accepted') == '1', 'the direction')


def test_odometry_of_another_reliability_is_named(started):
    _, log = started(reliability=ReliabilityPolicy.BEST_EFFORT)
    deadline = time.monotonic() + 10
    while 'odom_reliability:=best_effort' not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def refusal_of(*arguments, **variables):
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(free_domain()) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    return done.stderr


def test_a_parameter_that_is_none_is_named():
    assert "did you mean 'save_folder'?" in refusal_of('-p', 'save_foldr:=x')


def test_a_camera_that_is_turned_by_no_rotation_is_refused():
    given = 'body_from_camera:=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]'
    assert 'body_from_camera: ' in refusal_of('-p', given)


def test_without_gtsam_the_node_names_the_command(tmp_path):
    (tmp_path / 'gtsam.py').write_text('raise ImportError("not here")')
    path = os.pathsep.join([str(REPOSITORY), str(tmp_path), os.environ.get('PYTHONPATH', '')])
    assert 'pip install -r requirements/slam.txt' in refusal_of(PYTHONPATH=path)


def test_tf_without_tf2_is_refused():
    import importlib.util

    if importlib.util.find_spec('tf2_ros') or importlib.util.find_spec('tf2_msgs'):
        pytest.skip('a ROS distribution has tf2_ros')
    assert 'publish_tf: needs tf2_ros or tf2_msgs' in refusal_of('-p', 'publish_tf:=true')
