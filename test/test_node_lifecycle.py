# SPDX-License-Identifier: Apache-2.0
"""Start, stop, transitions, silence and simulated time; each needs a node process of its own."""

import contextlib
import re
import signal
import time

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')
pytest.importorskip('onnx')

from conftest import textured_pictures
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_process import FRAME, REPOSITORY, Client, NodeProcess, build_map, free_domain
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure
from vpr_msgs.srv import Recognize, SaveMap

from vpr_ros.conversions import image_from_rgb, stamp_msg_from_ns
from vpr_ros.keyframe_store import store_of_map
from vpr_ros.place_map import PlaceMap

pytestmark = pytest.mark.ros
QUICK = ('-p', 'diagnostics_period_s:=0.1', '-p', 'device:=cpu')


@pytest.fixture(scope='module')
def pictures():
    return textured_pictures(6)


@pytest.fixture(scope='module')
def town(tiny_model, tmp_path_factory, pictures):
    return build_map(tiny_model, tmp_path_factory.mktemp('map') / 'town', pictures)


@pytest.fixture
def start(tmp_path, tiny_model):
    """Start nodes on a domain of their own; they are stopped at the end."""
    with contextlib.ExitStack() as stack:
        domain = free_domain()

        def run(*arguments: str) -> NodeProcess:
            settings = (*QUICK, '-p', f'model:={tiny_model}', *arguments)  # the last one counts
            node = NodeProcess(tmp_path / 'node.log', *settings, domain=domain)
            stack.callback(node.stop)
            return node

        run.domain = domain
        yield run


@pytest.fixture
def client(start):
    client = Client(start.domain)
    yield client
    client.close()


def change_state(client, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return client.call(ChangeState, '/localizer/change_state', request).success


def state(client) -> str:
    return client.call(GetState, '/localizer/get_state', GetState.Request()).current_state.label


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_with_its_own_parameter_file_it_runs_until_a_signal(
    start, client, tiny_model, town, pictures, signal_number
):
    file = REPOSITORY / 'config' / 'localize.yaml'
    node = start('--params-file', str(file), '-p', f'model:={tiny_model}', '-p', f'map:={town}')
    node.wait_for_log('inactive -> active')
    client.connect()
    for _ in range(20):
        client.send(pictures[0])
    assert node.stop(signal_number) == 0, node.log()
    assert 'Traceback' not in node.log()


def test_ctrl_c_under_ros2_launch_comes_twice(start, tiny_model, town):
    """The terminal sends it to all processes, and launch passes it on."""
    node = start('-p', f'model:={tiny_model}', '-p', f'map:={town}')
    node.wait_for_log('inactive -> active')
    for pause_s in (0.02, 0.0):
        node.process.send_signal(signal.SIGINT)
        time.sleep(pause_s)
    assert node.wait() == 0, node.log()
    assert 'Traceback' not in node.log()


_SLOW_DISK = """
import time
from vpr_ros import keyframe_store as store
link_files = store._link_files
def slowly(*args):
    print('saving', flush=True)
    time.sleep(2.0)
    return link_files(*args)
store._link_files = slowly
"""


def test_ctrl_c_while_a_map_is_saved_saves_it(start, client, pictures, tmp_path, monkeypatch):
    (tmp_path / 'slow').mkdir()
    (tmp_path / 'slow' / 'sitecustomize.py').write_text(_SLOW_DISK)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path / 'slow'))
    node = start('-p', 'mode:=slam')
    node.wait_for_log('inactive -> active')
    client.connect()
    for n in range(3):
        client.ask(pictures[n], 10**9 * (100 + n))
    service = client.node.create_client(SaveMap, '/localizer/save_map')
    client.wait_until(service.service_is_ready, 'the service')
    service.call_async(SaveMap.Request(map_url=str(tmp_path / 'saved')))
    node.wait_for_log('saving')
    assert node.stop(signal.SIGINT) == 0, node.log()
    assert f'3 places written to {tmp_path / "saved"}' in node.log()
    assert 'Traceback' not in node.log()
    assert len(store_of_map(PlaceMap.load(tmp_path / 'saved'))) == 3


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['-p', 'model:=/no/such.onnx'], 'no model file at /no/such.onnx'),
        (['-p', 'map:=/no/such/map'], 'no map at /no/such/map'),
        (['-p', 'modell:=x'], "no parameter 'modell'; did you mean 'model'?"),
        (['-p', 'cameras:=front'], "cameras: 'front' (text) is not accepted; accepted: list"),
        (['-p', 'cameras:=[a, a]'], "cameras: 'a' stands there twice"),
        (['-p', 'body_from_camera:=[0, 0, 0, 1]'], 'body_from_camera: 4 numbers for 1 cameras'),
        (['-p', 'top_k:=five'], "top_k: 'five' (text) is not accepted; accepted: integer"),
        (['-p', 'device:=tensorrt'], 'device tensorrt'),
    ],
    ids=['model', 'map', 'unknown', 'mistyped', 'no list', 'twice', 'mounting', 'device'],
)
def test_what_cannot_start_says_why_and_exits_with_1(start, arguments, text):
    node = start(*arguments)
    assert node.wait() == 1
    assert text in node.log()
    assert 'Traceback' not in node.log()


def test_a_parameter_file_is_checked_and_whole_numbers_serve(start, tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('/**:\n  ros__parameters: {min_similarity: 1, input_timeout: 3.0}\n')
    node = start('--params-file', str(file))
    assert node.wait() == 1
    assert "'input_timeout'; did you mean 'input_timeout_s'?" in node.log()
    file.write_text('/**:\n  ros__parameters: {min_similarity: 1, input_timeout_s: 3}\n')
    node = start('--params-file', str(file))
    line = node.wait_for_log(r'configuration: \{.*\}')
    assert '"min_similarity": 1.0' in line
    node.wait_for_log('no map: every picture will be rejected')


def test_a_lifecycle_manager_takes_it_through_all_states(start, client, town, pictures):
    node = start('-p', f'map:={town}', '-p', 'autostart:=false')
    assert state(client) == 'unconfigured'
    node.wait_for_log('unconfigured: no picture is processed; run `ros2 lifecycle set /localizer')
    status = client.status('localization')
    assert 'ros2 lifecycle set /localizer configure' in status['message']
    header = Header(frame_id=FRAME)
    request = Recognize.Request(image=image_from_rgb(pictures[0], header))
    response = client.call(Recognize, '/localizer/recognize', request)
    assert (response.success, 'not configured' in response.message) == (False, True)

    assert change_state(client, Transition.TRANSITION_CONFIGURE)
    assert state(client) == 'inactive'
    assert not client.image.get_subscription_count()
    assert 'set /localizer activate' in client.status('input')['message']
    assert client.call(Recognize, '/localizer/recognize', request).success

    for _ in range(2):
        assert change_state(client, Transition.TRANSITION_ACTIVATE)
        client.connect()
        assert client.ask(pictures[4]).matches[0].place_id == 4
        assert change_state(client, Transition.TRANSITION_DEACTIVATE)
        client.wait_until(lambda: not client.image.get_subscription_count(), 'no subscription')
    assert change_state(client, Transition.TRANSITION_CLEANUP)
    assert state(client) == 'unconfigured'
    assert change_state(client, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert state(client) == 'finalized'


def test_a_failed_transition_is_logged_and_leaves_the_state(start, client, tmp_path, town):
    later = tmp_path / 'later'
    node = start('-p', f'map:={later}', '-p', 'autostart:=false')
    assert not change_state(client, Transition.TRANSITION_CONFIGURE)
    node.wait_for_log(f'stays unconfigured, cannot become inactive: no map at {later}')
    assert state(client) == 'unconfigured'
    town.rename(later)
    try:
        assert change_state(client, Transition.TRANSITION_CONFIGURE)
        assert state(client) == 'inactive'
    finally:
        later.rename(town)


def test_silence_is_explained_once_a_period(start, client):
    client.node.create_publisher(Image, '/camera/image_raw', 1)
    client.node.destroy_publisher(client.image)
    node = start('-p', 'input_timeout_s:=0.5')
    node.wait_for_log('no picture on /image for .* -r image:=/camera/image_raw')
    status = client.status('input', until=lambda s: s.level == b'\x02')
    assert 'nobody publishes it' in status['message']
    time.sleep(1.2)
    silences = re.findall(r'no picture on /image for (\d+\.\d) s', node.log())
    assert 2 <= len(silences) <= float(silences[-1]) / 0.5 + 1, 'more than one warning a period'


def best_effort_publisher(client, topic):
    client.node.destroy_publisher(client.image)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    client.image = client.node.create_publisher(Image, topic, qos)


def test_a_qos_mismatch_is_named(start, client, pictures):
    best_effort_publisher(client, 'image')
    node = start('-p', 'input_timeout_s:=0.5', '-p', 'image_reliability:=reliable')
    node.wait_for_log('QoS mismatch: /test_client .* set image_reliability to auto')
    status = client.status('input', until=lambda s: s.level == b'\x02')
    assert status['publishers with incompatible QoS'] == '1'


def test_auto_follows_what_is_published(start, client, town, pictures):
    node = start('-p', f'map:={town}', '-r', 'image:=/camera/image_raw')
    node.wait_for_log(r'listening to /camera/image_raw \(reliable\)')
    best_effort_publisher(client, '/camera/image_raw')
    node.wait_for_log('now subscribed best effort')
    client.connect()
    assert client.ask(pictures[1]).matches[0].place_id == 1


def test_compressed_pictures_on_the_remapped_base_topic(start, client, town, pictures):
    publisher = client.node.create_publisher(CompressedImage, '/cam/image_raw/compressed', 1)
    node = start(
        *('-p', f'map:={town}', '-p', 'image_transport:=compressed'),
        *('-r', 'image:=/cam/image_raw', '-r', '__ns:=/robot1'),
    )
    node.wait_for_log('listening to /cam/image_raw/compressed')
    closures = client.listen(LoopClosure, '/robot1/localizer/loop_closures')
    client.wait_until(publisher.get_subscription_count, 'the subscription')
    client.wait_until(lambda: client.node.count_publishers('/robot1/localizer/pose'), 'the node')
    client.spin(0.2)
    bgr = np.ascontiguousarray(pictures[3][:, :, ::-1])
    good = cv2.imencode('.jpg', bgr)[1].tobytes()

    def publish(data: bytes) -> Header:
        header = Header(stamp=stamp_msg_from_ns(time.time_ns()), frame_id=FRAME)
        text = 'rgb8; jpeg compressed bgr8'
        publisher.publish(CompressedImage(header=header, format=text, data=data))
        return header

    publish(good[:40])
    node.wait_for_log('compressed picture of 40 bytes .* does not decode')
    header = publish(good)
    client.wait_until(lambda: closures, 'a loop closure')
    assert closures[0].matches[0].place_id == 3
    assert closures[0].header == header


def test_simulated_time(start, client, town, pictures):
    clock = client.node.create_publisher(Clock, '/clock', 1)
    node = start('-p', f'map:={town}', '-p', 'use_sim_time:=true')
    client.connect()
    client.wait_until(clock.get_subscription_count, 'the subscription to /clock')
    node.wait_for_log('use_sim_time is set and nothing comes on /clock')
    assert 'play the bag with --clock' in client.status('input')['message']

    def tick(seconds: float) -> None:
        clock.publish(Clock(clock=stamp_msg_from_ns(int(seconds * 1e9))))
        client.spin(0.2)

    tick(100.0)
    tick(100.5)
    closure = client.ask(pictures[2], 100 * 10**9)
    assert closure.header.stamp == stamp_msg_from_ns(100 * 10**9)
    assert closure.age_s == pytest.approx(0.5, abs=1e-3)
    assert client.ask(pictures[2], 101 * 10**9).query_id == 1
    tick(10.0)
    node.wait_for_log(r'forgetting earlier pictures: the clock jumped back by 90\.500 s')
    closure = client.ask(pictures[3], 10 * 10**9)
    assert (closure.query_id, closure.matches[0].place_id) == (0, 3)
    # A stopped clock (a paused bag) does not stop the diagnostics.
    client.diagnostics.clear()
    client.wait_until(lambda: client.diagnostics, 'diagnostics while the clock stands')
