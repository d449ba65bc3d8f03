# SPDX-License-Identifier: Apache-2.0
"""Odometry, camera_info and several cameras over DDS: what the operator sees when one fails."""

import contextlib
import re
import time
from collections import Counter

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')
pytest.importorskip('onnx')

from conftest import textured_pictures
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from nav_msgs.msg import Odometry
from node_process import Client, NodeProcess, build_map, free_domain
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure

from vpr_ros.conversions import image_from_rgb, stamp_msg_from_ns

pytestmark = pytest.mark.ros
OK, WARN, ERROR = b'\x00', b'\x01', b'\x02'
MOUNTED = ('-p', 'body_from_camera:=[0.5, 0.0, 1.0, -0.5, 0.5, -0.5, 0.5]')
QUICK = ('-p', 'diagnostics_period_s:=0.1', '-p', 'device:=cpu', '-p', 'input_timeout_s:=0.5')


@pytest.fixture(scope='module')
def pictures():
    return textured_pictures(6)


@pytest.fixture(scope='module')
def town(tiny_model, tmp_path_factory, pictures):
    return build_map(tiny_model, tmp_path_factory.mktemp('map') / 'town', pictures)


@pytest.fixture
def start(tmp_path, tiny_model, town):
    """Start a node on a domain of its own; it is stopped at the end and may not have failed."""
    with contextlib.ExitStack() as stack:
        domain = free_domain()

        def run(*arguments: str) -> NodeProcess:
            known = () if 'mode:=slam' in arguments else ('-p', f'map:={town}')
            settings = (*QUICK, '-p', f'model:={tiny_model}', *known, *arguments)
            node = NodeProcess(tmp_path / 'node.log', *settings, domain=domain)
            stack.callback(lambda: check(node))
            node.wait_for_log('inactive -> active')
            return node

        def check(node: NodeProcess) -> None:
            assert node.stop() == 0, node.log()
            assert 'Traceback' not in node.log()

        run.domain = domain
        yield run


@pytest.fixture
def client(start):
    client = Client(start.domain)
    yield client
    client.close()


def publisher(client, kind, topic, **qos):
    found = client.node.create_publisher(kind, topic, QoSProfile(depth=10, **qos))
    client.wait_until(found.get_subscription_count, f'the subscription to {topic}')
    client.spin(0.2)
    return found


def odometry(
    seconds: float, x: float = 0.0, *, qw: float = 1.0, frame_id: str = 'odom'
) -> Odometry:
    pose = Pose(position=Point(x=x), orientation=Quaternion(w=qw))
    return Odometry(
        header=Header(stamp=stamp_msg_from_ns(round(seconds * 1e9)), frame_id=frame_id),
        child_frame_id='base_link',
        pose=PoseWithCovariance(pose=pose),
    )


def drive(client, odom, begin_s: float, end_s: float, *, x: float = 0.0, **how) -> None:
    """Publish odometry at 20 Hz and 1 m/s, with the pictures' stamps."""
    for n in range(round((end_s - begin_s) * 20) + 1):
        odom.publish(odometry(begin_s + n / 20, x + n / 20, **how))
        client.spin(0.005)


def calibrated(**fields) -> CameraInfo:
    given = {
        'width': 160,
        'height': 120,
        'distortion_model': 'plumb_bob',
        'd': [0.0] * 5,
        'k': [150.0, 0.0, 80.0, 0.0, 150.0, 60.0, 0.0, 0.0, 1.0],
    }
    return CameraInfo(**(given | fields))


def ask(client, picture, seconds: float):
    return client.ask(picture, round(seconds * 1e9))


def test_odometry_places_pictures_and_is_reported(start, client, pictures):
    start('-p', 'mode:=both', *MOUNTED)
    client.connect()
    odom = publisher(client, Odometry, 'odom', reliability=ReliabilityPolicy.BEST_EFFORT)
    drive(client, odom, 100.0, 101.0)
    ask(client, pictures[0], 100.52)
    ask(client, pictures[1], 101.04)  # before its odometry came
    status = client.status('odometry', until=lambda s: s.level == OK)
    assert status['message'] == '20.0 poses per second, placed'
    assert (status['frame'], status['child frame']) == ('odom', 'base_link')
    assert (status['pictures placed'], status['interruptions']) == ('2', '0')
    assert float(status['behind the last picture s']) == pytest.approx(0.04)
    assert status['camera on the body'] == 'known'


def test_closures_are_in_the_odometrys_frame_from_the_first_on(start, client, pictures):
    start('-p', 'mode:=slam', '-p', 'diagnostics_period_s:=60.0', *MOUNTED)
    client.connect()
    odom = publisher(client, Odometry, 'odom')
    drive(client, odom, 100.0, 101.0, frame_id='wheels')
    assert ask(client, pictures[0], 100.52).map_frame_id == 'wheels'


def test_a_map_in_the_odometrys_frame_claims_nothing(start, client, pictures):
    node = start('-p', 'mode:=both', *MOUNTED)
    client.connect()
    odom = publisher(client, Odometry, 'odom')
    drive(client, odom, 100.0, 101.0, frame_id='town')
    ask(client, pictures[0], 100.52)
    client.wait_until(lambda: len(client.closures) == 2, 'a closure for each')
    assert [closure.map_frame_id for closure in client.closures] == ['town', 'town']
    assert client.closures[0].status == LoopClosure.REJECTED
    assert client.closures[0].reason.startswith("same_frame: frame 'town' is the frame of both")
    assert client.poses == []
    status = client.status('map', until=lambda s: s.level == ERROR)
    assert '-p map_frame_id:=NAME' in status['message']
    assert len(re.findall(r"\[ERROR\].*frame 'town' is the frame of both", node.log())) == 1


def test_missing_odometry_is_a_warning_where_places_are_learnt(start, client, pictures):
    other = client.node.create_publisher(Odometry, '/wheels/odom', 1)
    node = start('-p', 'mode:=slam', '-p', 'input_timeout_s:=3.0')  # until it has looked around
    client.connect()
    ask(client, pictures[0], 100.0)
    node.wait_for_log(
        r'odometry missing: no odometry on /odom: nobody publishes it; nav_msgs/msg/Odometry is '
        r'to be had with -r odom:=/wheels/odom \(launch: odom:=TOPIC\); without it keyframes'
    )
    status = client.status('odometry', until=lambda s: s.level == WARN)
    assert status['message'].startswith('missing: no odometry on /odom')
    assert status['pictures missing'] == '1'
    client.node.destroy_publisher(other)


def test_odometry_without_mounting_is_told_where_places_are_learnt(start, client):
    node = start('-p', 'mode:=slam')
    odom = publisher(client, Odometry, 'odom')
    drive(client, odom, 100.0, 100.5)
    node.wait_for_log('odometry unmounted: body_from_camera is not set: /odom serves for')
    status = client.status('odometry', until=lambda s: s.level == WARN)
    assert status['camera on the body'] == 'unknown'


def test_missing_odometry_is_no_fault_of_a_localizer(start, client, pictures):
    node = start()
    client.connect()
    ask(client, pictures[0], 100.0)
    client.spin(1.0)
    status = client.status('odometry')
    assert (status['level'], status['message']) == (
        OK,
        'none on /odom; mode localize works without',
    )
    assert 'odometry missing' not in node.log()


def test_lagging_odometry_is_told_with_how_much_and_recovers(start, client, pictures):
    node = start()
    client.connect()
    odom = publisher(client, Odometry, 'odom')
    drive(client, odom, 100.0, 101.0)
    for n in range(4):  # the answer does not wait for it
        ask(client, pictures[0], 101.84 + n / 100)
    node.wait_for_log(
        r'odometry lagging: the newest odometry is 0\.8\d0 s older than the picture, more than '
        r'0\.075 s; the last message on /odom came \d\.\d s ago: raise its rate, synchronise'
    )
    status = client.status('odometry', until=lambda s: s.level == WARN)
    assert status['message'].startswith('lagging: the newest odometry is 0.870 s older')
    assert status['pictures lagging'] == '4'
    assert node.log().count('odometry lagging') == 1
    drive(client, odom, 101.05, 102.0, x=1.05)
    ask(client, pictures[0], 101.95)
    status = client.status('odometry', until=lambda s: s.level == OK)
    assert (status['pictures placed'], status['interruptions']) == ('1', '0')


def test_jumping_odometry_is_told_when_and_how_often(start, client, pictures):
    node = start('-p', 'max_odom_speed:=3.0')
    client.connect()
    odom = publisher(client, Odometry, 'odom')
    drive(client, odom, 100.0, 101.0)
    ask(client, pictures[0], 100.9)
    drive(client, odom, 101.05, 102.0, x=9.05)
    ask(client, pictures[0], 101.9)
    node.wait_for_log(
        r'odometry jumped: it moved 8\.05 m and turned 0\.0° within 0\.050 s; 1 interruptions of '
        r'/odom so far'
    )
    status = client.status('odometry', until=lambda s: s.level == WARN)
    assert status['message'].startswith('jumped: it moved 8.05 m')
    assert status['interruptions'] == '1'
    assert status['last interruption, stamp s'] == '101.050'
    drive(client, odom, 50.0, 50.5)  # the bag loops
    status = client.status('odometry', until=lambda s: 'went back' in s.message)
    assert status['interruptions'] == '2'
    assert ask(client, pictures[0], 50.3).query_id == 0


def test_two_odometries_on_one_topic_are_told(start, client):
    start()
    odom = publisher(client, Odometry, 'odom')
    second = client.node.create_publisher(Odometry, 'odom', 10)
    client.spin(0.3)
    for n in range(4):
        odom.publish(odometry(100.0 + n / 10))
        client.spin(0.05)
        second.publish(odometry(100.05 + n / 10, 70.0))
        client.spin(0.05)
    status = client.status('odometry', until=lambda s: s.level == WARN)
    assert '2 publishers take turns on /odom: leave one' in status['message']
    assert int(status['interruptions']) >= 6


def test_odometry_without_a_rotation_is_refused(start, client):
    node = start()
    odom = publisher(client, Odometry, 'odom')
    odom.publish(odometry(100.0, qw=0.0))
    node.wait_for_log(r'odometry refused: a message on /odom: the quaternion .* is 0, not 1')
    status = client.status('odometry', until=lambda s: s.level == WARN)
    assert (status['refused'], status['received']) == ('1', '1')


def test_an_uncalibrated_camera_is_told_until_it_is_calibrated(start, client, pictures):
    node = start()
    client.connect()
    ask(client, pictures[0], 100.0)
    status = client.status('camera_info', until=lambda s: s.level == WARN)
    assert status['message'].startswith('missing: no camera_info on /camera_info: nobody')
    camera_info = publisher(client, CameraInfo, 'camera_info')

    def after(msg: CameraInfo, seconds: float, text: str, level: bytes) -> str:
        received = int(client.status('camera_info')['received']) + 1
        camera_info.publish(msg)
        client.status('camera_info', until=lambda s: values(s)['received'] == str(received))
        ask(client, pictures[0], seconds)
        found = client.status('camera_info', until=lambda s: text in s.message)
        assert found['level'] == level
        return found['message']

    zeros = calibrated(k=[0.0] * 9)
    assert 'calibrate the camera' in after(zeros, 101.0, 'uncalibrated: /camera_info:', WARN)
    node.wait_for_log('camera_info uncalibrated: /camera_info: the matrix K')
    fisheye = calibrated(distortion_model='equidistant', d=[0.1] * 4)
    assert 'rectify the pictures' in after(fisheye, 102.0, 'unsupported', WARN)
    cropped = calibrated(width=160, height=80)
    assert 'these have 160x120' in after(cropped, 103.0, 'size', WARN)
    resized = calibrated(width=640, height=480)
    assert after(resized, 104.0, '1 of 1 cameras', OK)
    assert node.log().count('camera_info uncalibrated') == 1


def values(status) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_a_camera_info_that_was_published_once_is_heard(start, client, pictures):
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    latched = client.node.create_publisher(CameraInfo, 'camera_info', qos)
    latched.publish(calibrated())
    start()
    client.connect()
    ask(client, pictures[0], 100.0)
    status = client.status('camera_info', until=lambda s: s.level == OK and '1 of 1' in s.message)
    assert status['size'] == '160x120'


TWO = ('-p', 'cameras:=[front, left]')


@pytest.fixture
def front_and_left(client):
    """Publishers of both cameras' pictures; a picture gets its camera's own frame."""
    publishers = {
        name: client.node.create_publisher(Image, f'{name}/image', 10)
        for name in ('front', 'left')
    }

    def send(name: str, rgb: np.ndarray, seconds: float):
        stamp = stamp_msg_from_ns(round(seconds * 1e9))
        header = Header(stamp=stamp, frame_id=f'{name}_optical')
        publishers[name].publish(image_from_rgb(rgb, header))
        return header

    def connect() -> None:
        for found in publishers.values():
            client.wait_until(found.get_subscription_count, 'the subscriptions')
        client.wait_until(
            lambda: client.node.count_publishers('/localizer/loop_closures'), 'the node'
        )
        client.spin(0.2)

    send.connect = connect
    return send


def test_two_cameras_are_told_apart(start, client, front_and_left, pictures):
    node = start(*TWO)
    node.wait_for_log(r'listening to /front/image \(reliable\), /left/image \(reliable\)')
    front_and_left.connect()
    for number, name in ((2, 'front'), (4, 'left'), (1, 'front')):
        header = front_and_left(name, pictures[number], 100 + number / 100)  # not in order
        client.wait_until(lambda: client.closures, 'an answer')
        closure = client.closures.pop()
        assert (closure.camera, closure.header) == (name, header)
        assert closure.matches[0].place_id == number
    status = client.status('input', until=lambda s: values(s)['received'] == '3')
    assert (status['front received'], status['left received']) == ('2', '1')
    assert (status['front processed'], status['left processed']) == ('2', '1')
    assert status['left topic'] == '/left/image'
    assert 'jumped back' not in node.log()


def test_a_match_names_the_camera_that_saw_the_place(start, client, front_and_left, pictures):
    start(
        *TWO, '-p', 'mode:=slam', '-p', 'mapping.min_age_s:=0.0', '-p', 'mapping.min_keyframes:=1'
    )
    front_and_left.connect()
    for number in range(4):
        front_and_left('front', pictures[number], 100 + number)
        client.wait_until(lambda: client.closures, 'an answer')
        client.closures.clear()
    front_and_left('left', pictures[0], 110)
    client.wait_until(lambda: client.closures, 'an answer')
    (closure,) = client.closures
    assert (closure.camera, closure.matches[0].camera) == ('left', 'front')
    assert closure.matches[0].stamp.sec == 100


def test_a_fast_camera_does_not_starve_a_slow_one(start, client, front_and_left, pictures):
    start(*TWO, '-p', 'max_rate:=10.0')
    front_and_left.connect()
    begin_s = time.monotonic()
    for n in range(60):
        front_and_left('front', pictures[0], 100 + n / 30)
        if n % 6 == 0:
            front_and_left('left', pictures[1], 100 + n / 30)
        client.spin(1 / 30)
    client.spin(0.5)
    elapsed_s = time.monotonic() - begin_s  # longer than two seconds on a busy machine
    answered = answers_by_camera(client)
    assert answered['front'] >= 4
    assert answered['left'] >= answered['front'] / 3, 'starved, it would get a tenth'
    assert answered.total() <= 10.0 * elapsed_s + 2
    # A busy node loses some that the middleware keeps no longer; of the others none is uncounted.
    client.status('input', until=lambda s: all_accounted(values(s), answers_by_camera(client)))


def answers_by_camera(client) -> Counter[str]:
    return Counter(closure.camera for closure in client.closures)


def all_accounted(counts: dict[str, str], answered: Counter[str]) -> bool:
    return all(
        int(counts[f'{name} processed']) == number
        and int(counts[f'{name} received'])
        == number
        + int(counts[f'{name} skipped, max_rate'])
        + int(counts[f'{name} dropped, a newer one came'])
        for name, number in answered.items()
    )


def test_one_silent_camera_of_two_is_named(start, client, front_and_left, pictures):
    node = start(*TWO, '-p', 'input_timeout_s:=3.0')  # longer than a busy machine stands still
    front_and_left.connect()
    front_and_left('front', pictures[0], 100)
    client.wait_until(lambda: client.closures, 'an answer')
    before = len(node.log())  # while nobody published, both cameras were missed
    named = re.compile(r'no picture on /left/image for \d\.\d s: connected to /test_client')
    for n in range(1, 300):
        if named.search(node.log(), before):
            break
        front_and_left('front', pictures[0], 100 + n / 10)
        client.spin(0.1)
    else:
        pytest.fail(f'the silent camera is not named:\n{node.log()}')
    status = client.status('input', until=lambda s: s.level == WARN)
    assert status['message'].startswith('left: no picture: connected to /test_client')
    assert float(status['left seconds since the last']) > 1.0
    assert 'no picture on /front/image' not in node.log()[before:]
    assert {closure.camera for closure in client.closures} == {'front'}
    status = client.status('input', until=lambda s: s.level == ERROR)
    assert re.match(r'front: no picture: .*; left: no picture: ', status['message'])


def test_silence_says_how_to_remap_one_of_several(start, client):
    node = start(*TWO, '-r', 'front/image:=/cam0/image_raw')
    client.node.create_publisher(Image, '/cam1/image_raw', 1)
    node.wait_for_log('no picture on /left/image .* -r left/image:=/cam1/image_raw -p')
    node.wait_for_log('no picture on /cam0/image_raw .* -r front/image:=')


def test_nested_parameters_are_set_while_running(start, client, pictures):
    node = start('-p', 'mode:=slam')
    client.connect()
    ask(client, pictures[0], 100.0)

    def set_to(name: str, **value):
        kinds = {'double_value': 3, 'string_value': 4, 'integer_value': 2}
        given = ParameterValue(type=kinds[next(iter(value))], **value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=given)])
        (result,) = client.call(SetParameters, '/localizer/set_parameters', request).results
        return result.successful, result.reason

    assert set_to('mapping.min_age_s', double_value=0.5) == (True, '')
    node.wait_for_log(r'now RecognizerConfig\(.*, MappingConfig\(.*min_age_s=0\.5')
    assert set_to('sequence_filter.mode', string_value='off') == (True, '')
    node.wait_for_log(r"SequenceFilterConfig\(mode='off'")
    assert set_to('verification.min_inliers', integer_value=30) == (True, '')
    node.wait_for_log(r'VerifierConfig\(.*min_inliers=30')
    for name, value in (
        ('verification.min_inliers', {'integer_value': 3}),
        ('sequence_filter.mode', {'string_value': 'markov'}),
        ('mode', {'string_value': 'both'}),
    ):
        assert not set_to(name, **value)[0]
    assert ask(client, pictures[0], 101.0).reason.startswith('too_recent')


def test_a_looped_bag_begins_a_new_map_in_slam(start, client, pictures):
    node = start('-p', 'mode:=slam')
    client.connect()
    for n, rgb in enumerate(pictures):
        ask(client, rgb, 100.0 + n)
    status = client.status('map', until=lambda s: values(s)['places learnt'] == '6')
    assert (status['level'], status['message']) == (
        OK,
        '6 places learnt, 0 to be recognised',
    )
    closure = ask(client, pictures[0], 100.0)
    node.wait_for_log(
        r'stamps jumped back by 5\.000 s \(a bag that loops\?\): forgetting earlier pictures and '
        '6 places learnt'
    )
    assert (closure.query_id, closure.status) == (0, LoopClosure.REJECTED)
    status = client.status('map', until=lambda s: values(s)['places learnt'] == '1')
    status = client.status('localization', until=lambda s: 'too_recent' in s.message)
    assert status['level'] == OK, 'usual where one was never before'


def test_what_cannot_be_learnt_is_told_and_answered(
    start, client, pictures, tmp_path, monkeypatch
):
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'tmp'))
    node = start('-p', 'mode:=slam')
    client.connect()
    ask(client, pictures[0], 100.0)
    (folder,) = (tmp_path / 'tmp').glob('vpr_ros_keyframes_*')
    (folder / '000001.jpg').mkdir()  # where the next picture would be written
    for n in (1, 2, 3):
        assert ask(client, pictures[n], 100.0 + n).reason.startswith('too_recent')
    status = client.status('map', until=lambda s: s.level == ERROR)
    assert status['message'].startswith(f'pictures are not learnt: {folder} cannot be written')
    assert status['places learnt'] == '1'
    assert node.log().count('pictures are not learnt') == 1
    (folder / '000001.jpg').rmdir()
    ask(client, pictures[4], 104.0)
    client.status('map', until=lambda s: s.level == OK and '2 places learnt' in s.message)


def test_list_parameters_have_their_type_also_when_empty(start, client):
    node = start(*TWO)
    names = ['cameras', 'body_from_camera']
    request = GetParameters.Request(names=names)
    got = client.call(GetParameters, '/localizer/get_parameters', request)
    assert [value.type for value in got.values] == [9, 8]  # string array, double array
    assert list(got.values[0].string_array_value) == ['front', 'left']
    described = client.call(
        DescribeParameters,
        '/localizer/describe_parameters',
        DescribeParameters.Request(names=names),
    )
    assert [(d.type, d.read_only) for d in described.descriptors] == [(9, True), (8, True)]
    line = node.wait_for_log(r'configuration: \{.*\}')
    assert '"cameras": ["front", "left"], "body_from_camera": []' in line
