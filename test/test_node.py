# SPDX-License-Identifier: Apache-2.0
"""The running node over DDS: topics, services, parameters, diagnostics. One process serves all."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')
pytest.importorskip('onnx')

from node_process import FRAME, Client, NodeProcess, build_map, free_domain
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray
from vpr_msgs.msg import GlobalDescriptor, LoopClosure, MapInfo
from vpr_msgs.srv import LoadMap, Recognize

from vpr_ros.conversions import image_from_rgb, rgb_from_image, stamp_msg_from_ns
from vpr_ros.node.parameters import PARAMETERS
from vpr_ros.place_map import ModelRef, PlaceMap

pytestmark = pytest.mark.ros
PLACES = 12
STRANGER = 77  # seed of pictures that are in no map


@pytest.fixture(scope='module')
def pictures():
    from conftest import textured_pictures

    return textured_pictures(PLACES)


@pytest.fixture(scope='module')
def stranger():
    from conftest import textured_pictures

    return textured_pictures(1, seed=STRANGER)[0]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('node')


@pytest.fixture(scope='module')
def town(tiny_model, folder, pictures):
    return build_map(tiny_model, folder / 'town', pictures)


@pytest.fixture(scope='module')
def node(tiny_model, town, folder):
    domain = free_domain()
    process = NodeProcess(
        folder / 'node.log',
        *('-p', f'model:={tiny_model}', '-p', f'map:={town}', '-p', 'device:=cpu'),
        *('-p', 'diagnostics_period_s:=0.1', '-p', 'markers_period_s:=0.1'),
        *('-p', 'camera:=front', '-p', 'input_timeout_s:=3600'),
        domain=domain,
    )
    process.domain = domain
    process.wait_for_log('inactive -> active')
    yield process
    assert process.stop() == 0, process.log()
    assert 'Traceback' not in process.log()


@pytest.fixture(scope='module')
def client(node):
    client = Client(node.domain)
    client.connect()
    yield client
    client.close()


def set_parameters(client, **values):
    """Set parameters of the node; returns the results by name."""
    kinds = {bool: (1, 'bool_value'), int: (2, 'integer_value'), float: (3, 'double_value')}
    kinds[str] = (4, 'string_value')
    request = SetParameters.Request()
    for name, value in values.items():
        number, field = kinds[type(value)]
        parameter_value = ParameterValue(type=number, **{field: value})
        request.parameters.append(Parameter(name=name, value=parameter_value))
    response = client.call(SetParameters, '/localizer/set_parameters', request)
    return dict(zip(values, response.results, strict=True))


def test_a_known_place_is_a_candidate_with_stamp_frame_and_evidence(client, pictures):
    stamp_ns = time.time_ns()
    closure = client.ask(pictures[3], stamp_ns)
    assert closure.header.stamp == stamp_msg_from_ns(stamp_ns)
    assert closure.header.frame_id == FRAME
    assert (closure.map_frame_id, closure.camera) == ('town', 'front')
    assert closure.status == LoopClosure.CANDIDATE
    assert closure.reason == 'few_pictures: 1 of 3 pictures agree'
    best = closure.matches[0]
    assert (best.place_id, best.image) == (3, '000003.jpg')
    assert best.stamp == stamp_msg_from_ns(4 * 10**9)
    assert best.similarity == pytest.approx(1.0, abs=1e-3)
    assert 0.9 < best.probability <= 1.0
    assert (best.pose.position.x, best.pose.orientation.w) == (3.0, 1.0)
    assert [m.similarity for m in closure.matches] == sorted(
        (m.similarity for m in closure.matches), reverse=True
    )
    assert len(closure.matches) == PARAMETERS['top_k'].default
    assert 0.0 < closure.age_s < 5.0
    assert not closure.has_relative_pose


def test_the_pose_is_in_the_map_frame_with_an_honest_covariance(client, pictures):
    stamp_ns = time.time_ns()
    client.ask(pictures[5], stamp_ns)
    stamp = stamp_msg_from_ns(stamp_ns)
    client.wait_until(lambda: any(p.header.stamp == stamp for p in client.poses), '~/pose')
    pose = next(p for p in client.poses if p.header.stamp == stamp)
    assert pose.header.frame_id == 'town'
    assert pose.pose.pose.position.x == 5.0
    covariance = np.reshape(pose.pose.covariance, (6, 6))
    assert (np.diag(covariance) > 0).all()
    assert np.isfinite(covariance).all()
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_a_relative_pose_that_was_not_estimated_says_nothing(client, pictures):
    closure = client.ask(pictures[3])
    assert not closure.has_relative_pose
    covariance = np.reshape(closure.match_from_query.covariance, (6, 6))
    assert np.array_equal(covariance, 1e9 * np.eye(6))


@pytest.mark.parametrize(
    ('picture', 'code'),
    [
        ('stranger', 'below_threshold'),
        (np.zeros((120, 160, 3), np.uint8), 'dark'),
        (np.full((120, 160, 3), 128, np.uint8), 'blank'),
        (np.full((120, 160, 3), 255, np.uint8), 'saturated'),
    ],
    ids=['below_threshold', 'dark', 'blank', 'saturated'],
)
def test_the_rejected_are_published_with_their_reason_and_without_pose(
    client, picture, code, stranger
):
    closure = client.ask(stranger if isinstance(picture, str) else picture)
    assert closure.status == LoopClosure.REJECTED
    assert closure.reason.startswith(f'{code}: ')
    client.spin(0.2)
    assert closure.header.stamp not in [pose.header.stamp for pose in client.poses]
    status = client.status('localization', until=lambda s: s.message.startswith(code))
    assert status['last status'] == 'REJECTED'
    assert int(status[f'count {code}']) >= 1


def test_query_ids_count_up(client, pictures):
    first, second = client.ask(pictures[0]), client.ask(pictures[1])
    assert second.query_id == first.query_id + 1


def test_descriptor_on_demand(client, pictures, node):
    descriptors = client.listen(GlobalDescriptor, '/localizer/descriptor')
    client.wait_until(lambda: client.node.count_subscribers('/localizer/descriptor'), 'discovery')
    client.spin(0.3)
    client.ask(pictures[2])
    client.wait_until(lambda: descriptors, '~/descriptor')
    assert descriptors[0].header.frame_id == FRAME
    assert np.linalg.norm(descriptors[0].data) == pytest.approx(1.0, abs=1e-3)
    assert len(descriptors[0].model_sha256) == 64


def test_debug_image_on_demand(client, pictures):
    images = client.listen(Image, '/localizer/debug_image', reliable=False)

    def arrives() -> bool:
        client.ask(pictures[2])
        client.spin(0.1)
        return bool(images)

    client.wait_until(arrives, '~/debug_image')  # best effort: some may be lost
    rgb = rgb_from_image(images[0])
    assert images[0].header.frame_id == FRAME
    assert rgb.shape[1] == 2 * 320  # the 160x120 query at 240 lines, and the match beside it
    assert rgb[-10, 5, 1] > rgb[-10, 5, 0]  # green bar: recognised


def test_markers_show_places_and_edges(client, pictures, stranger):
    markers = client.listen(MarkerArray, '/localizer/markers')
    client.ask(pictures[2])
    client.ask(stranger)
    namespaces = {'places', 'candidates', 'rejected'}
    client.wait_until(
        lambda: any(namespaces <= {m.ns for m in array.markers} for array in markers), '~/markers'
    )
    last = {m.ns: m for m in markers[-1].markers}
    assert last['places'].header.frame_id == 'town'
    assert len(last['places'].points) == PLACES
    assert last['places'].scale.x > 0


def test_map_info_reaches_late_subscribers(client, town):
    infos = client.listen(MapInfo, '/localizer/map_info', latched=True)
    client.wait_until(lambda: infos, '~/map_info')
    info = infos[-1]
    assert (info.num_places, info.descriptor_size) == (PLACES, 192)
    assert (info.model_name, info.schema_version) == ('thumbnail-8x8', '1')
    assert (info.url, info.header.frame_id) == (town.as_uri(), 'town')


def test_diagnostics_tell_the_state(client, pictures):
    client.ask(pictures[1])
    status = client.status('input', until=lambda s: s.level == b'\x00')
    assert (status['topic'], status['encoding'], status['size']) == ('/image', 'rgb8', '160x120')
    assert int(status['received']) > 0
    status = client.status('inference')
    assert (status['provider'], status['model']) == ('CPUExecutionProvider', 'thumbnail-8x8')
    assert status['why'] == 'device cpu was asked for'
    assert 0 < float(status['ms per picture p50']) <= float(status['ms per picture p95'])
    status = client.status('map')
    assert (status['level'], status['places'], status['frame']) == (b'\x00', str(PLACES), 'town')
    status = client.status('localization', until=lambda s: s.level == b'\x00')
    assert status['last status'] in ('CANDIDATE', 'CONSISTENT')  # as other tests left it
    assert status['min_similarity'] == '0.8'
    assert float(status['age s']) < 5


def test_no_picture_goes_uncounted(client, pictures):
    """Received is processed plus dropped; the middleware keeps only the newest unread one."""
    before = int(client.status('input')['received'])
    for _ in range(30):
        client.send(pictures[0])

    def balanced() -> bool:
        counts = {**client.status('input'), **client.status('inference')}
        ends = ('processed', 'failed', 'refused', 'dropped, a newer one came', 'skipped, max_rate')
        received = int(counts['received'])
        return before < received == sum(int(counts[end]) for end in ends)

    client.wait_until(balanced, 'received to equal processed, dropped, refused and skipped')


def test_enable_lets_pictures_in_or_not(client, pictures):
    response = client.call(SetBool, '/localizer/enable', SetBool.Request(data=False))
    assert response.success
    try:
        stamp = client.send(pictures[0])
        status = client.status('input', until=lambda s: 'disabled' in s.message)
        assert 'localizer/enable' in status['message']
        client.spin(0.3)
        # Told by its stamp: answers to earlier pictures may still be on their way.
        assert stamp not in [closure.header.stamp for closure in client.closures]
        assert int(client.status('input')['ignored, disabled']) >= 1
    finally:  # the tests that follow use the same node
        client.call(SetBool, '/localizer/enable', SetBool.Request(data=True))
    assert client.ask(pictures[0]).status != LoopClosure.REJECTED


def test_reset_starts_the_numbers_anew(client, pictures):
    client.ask(pictures[0])
    response = client.call(Trigger, '/localizer/reset', Trigger.Request())
    assert response.success, response.message
    assert client.ask(pictures[0]).query_id == 0


def test_a_backward_jump_of_the_stamps_resets_and_says_so(client, pictures, node):
    now = time.time_ns()
    client.ask(pictures[0], now)
    assert client.ask(pictures[1], now + 10**9).query_id > 0
    closure = client.ask(pictures[2], now - 60 * 10**9)
    assert closure.query_id == 0
    assert closure.header.stamp == stamp_msg_from_ns(now - 60 * 10**9)
    node.wait_for_log(r'stamps jumped back by 61\.000 s')
    assert client.ask(pictures[2], now - 59 * 10**9).query_id == 1


def test_stamps_far_from_the_clock_are_reported(client, pictures):
    client.ask(pictures[2], 5 * 10**9)
    status = client.status('input', until=lambda s: 'behind the clock' in s.message)
    assert 'use_sim_time' in status['message']
    client.ask(pictures[2])


def test_recognize_answers_beside_the_stream(client, pictures, stranger):
    before = client.ask(pictures[0]).query_id
    header = Header(stamp=stamp_msg_from_ns(time.time_ns()), frame_id='hand')
    request = Recognize.Request(image=image_from_rgb(pictures[7], header))
    response = client.call(Recognize, '/localizer/recognize', request)
    assert response.success, response.message
    assert response.result.header == header
    assert response.result.matches[0].place_id == 7
    assert client.ask(pictures[0]).query_id == before + 1
    request = Recognize.Request(image=image_from_rgb(stranger, header))
    response = client.call(Recognize, '/localizer/recognize', request)
    assert response.success
    assert response.result.status == LoopClosure.REJECTED
    assert response.message.startswith('below_threshold')


def test_recognize_names_what_it_cannot_read(client):
    request = Recognize.Request(image=Image(encoding='64FC4', height=1, width=1))
    response = client.call(Recognize, '/localizer/recognize', request)
    assert not response.success
    assert "'64FC4' is not accepted" in response.message


@pytest.fixture
def bad_maps(folder, tiny_model, pictures):
    foreign = PlaceMap(ModelRef('other', 'f' * 64, 192))
    foreign.add(np.eye(192, dtype=np.float32)[:3], stamps_ns=np.arange(3))
    foreign.save(folder / 'foreign')
    broken = build_map(tiny_model, folder / 'broken', pictures[:3])
    (broken / 'descriptors.npy').write_bytes(b'nothing')
    return {
        str(folder / 'nowhere'): (LoadMap.Response.NOT_FOUND, 'no map at'),
        str(broken): (LoadMap.Response.INVALID, 'descriptors.npy'),
        str(folder / 'foreign'): (LoadMap.Response.MODEL_MISMATCH, 'was made by model other'),
        'https://example.org/map': (LoadMap.Response.INVALID, 'cannot be read'),
        '': (LoadMap.Response.INVALID, 'no map was named'),
    }


def test_load_map_refuses_with_a_code_and_keeps_the_map(client, bad_maps, pictures):
    infos = client.listen(MapInfo, '/localizer/map_info', latched=True)
    client.wait_until(lambda: infos, '~/map_info')
    for url, (code, text) in bad_maps.items():
        response = client.call(LoadMap, '/localizer/load_map', LoadMap.Request(map_url=url))
        assert (response.result, text in response.message) == (code, True), (url, response)
        assert response.info == infos[-1]
    assert len(infos) == 1
    assert client.ask(pictures[11]).matches[0].place_id == 11


def test_load_map_replaces_the_map_and_one_without_poses_gives_none(
    client, folder, tiny_model, pictures, town
):
    infos = client.listen(MapInfo, '/localizer/map_info', latched=True)
    bare = build_map(tiny_model, folder / 'bare', pictures[:4], poses=False)
    request = LoadMap.Request(map_url=bare.as_uri())
    response = client.call(LoadMap, '/localizer/load_map', request)
    assert response.result == LoadMap.Response.SUCCESS, response.message
    assert response.info.num_places == 4
    client.wait_until(lambda: infos and infos[-1].num_places == 4, '~/map_info of the new map')
    client.poses.clear()
    closure = client.ask(pictures[2])
    assert closure.status == LoopClosure.CANDIDATE
    assert np.isnan(closure.matches[0].pose.position.x)
    status = client.status('map', until=lambda s: 'without a position' in s.message)
    assert '~/pose is not published' in status['message']
    client.spin(0.2)
    # One of the map before may still have been on its way.
    assert [pose for pose in client.poses if pose.header.stamp == closure.header.stamp] == []
    request = LoadMap.Request(map_url=str(town))
    response = client.call(LoadMap, '/localizer/load_map', request)
    assert response.result == LoadMap.Response.SUCCESS, response.message


def test_an_empty_map_is_reported(client, folder, tiny_model, pictures, town):
    empty = build_map(tiny_model, folder / 'empty', pictures[:0].reshape(0, 120, 160, 3))
    client.call(LoadMap, '/localizer/load_map', LoadMap.Request(map_url=str(empty)))
    closure = client.ask(pictures[0])
    assert closure.status == LoopClosure.REJECTED
    assert closure.reason.startswith('map_empty: ')
    status = client.status('map', until=lambda s: 'empty' in s.message)
    assert status['level'] == b'\x02'
    client.call(LoadMap, '/localizer/load_map', LoadMap.Request(map_url=str(town)))


def test_an_unknown_encoding_is_named_once_and_the_node_lives(client, pictures, node):
    for encoding in ('32FC1', '32FC1', '32FC1'):
        client.image.publish(Image(encoding=encoding, height=2, width=2, step=8, data=bytes(16)))
        client.spin(0.05)
    status = client.status('input', until=lambda s: '32FC1' in s.message)
    assert 'accepted: rgb8, bgr8' in status['message']
    assert client.ask(pictures[0]).status == LoopClosure.CANDIDATE
    assert node.log().count("'32FC1' is not accepted") == 1


def test_a_truncated_picture_is_refused_and_the_node_lives(client, pictures):
    client.image.publish(Image(encoding='rgb8', height=9, width=9, step=27, data=bytes(5)))
    status = client.status('input', until=lambda s: 'truncated' in s.message)
    assert 'needs 243 bytes of data, not 5' in status['message']
    assert client.ask(pictures[0]).status == LoopClosure.CANDIDATE


def test_other_encodings_give_the_same_place(client, pictures):
    rgb = pictures[6]
    bgr = image_from_rgb(np.ascontiguousarray(rgb[:, :, ::-1]), Header(frame_id=FRAME))
    bgr.encoding = 'bgr8'
    bgr.header.stamp = stamp_msg_from_ns(time.time_ns())
    client.image.publish(bgr)
    stamp = bgr.header.stamp
    client.wait_until(lambda: any(c.header.stamp == stamp for c in client.closures), 'an answer')
    closure = next(c for c in client.closures if c.header.stamp == stamp)
    assert (closure.matches[0].place_id, closure.status) == (6, LoopClosure.CANDIDATE)


def test_thresholds_change_while_it_runs(client, pictures, stranger, node):
    assert client.ask(stranger).status == LoopClosure.REJECTED
    assert set_parameters(client, min_similarity=-0.9, top_k=2)['top_k'].successful
    node.wait_for_log('now RecognizerConfig.top_k=2, min_similarity=-0.9')
    closure = client.ask(stranger)
    assert (closure.status, len(closure.matches)) == (LoopClosure.CANDIDATE, 2)
    set_parameters(client, min_similarity=-1.0, top_k=5)
    assert client.ask(stranger).status == LoopClosure.REJECTED


def test_max_rate_skips_pictures(client, pictures):
    before = int(client.status('input')['skipped, max_rate'])
    set_parameters(client, max_rate=2.0)
    for _ in range(10):
        client.send(pictures[0])
        client.spin(0.03)
    set_parameters(client, max_rate=0.0)
    client.wait_until(
        lambda: int(client.status('input')['skipped, max_rate']) - before >= 5, 'skipped pictures'
    )


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'top_k': 0}, 'range'),
        ({'min_similarity': 2.0}, 'range'),
        ({'min_similarity': 'high'}, 'type'),
        ({'top_k': 3.0}, 'type'),
        ({'model': '/elsewhere.onnx'}, 'read-only'),
        ({'map': '/elsewhere'}, 'read-only'),
        ({'image_transport': 'compressed'}, 'read-only'),
        ({'no_such': 1}, 'undeclared'),
    ],
)
def test_parameters_that_cannot_be_set_say_why(client, change, text):
    (result,) = set_parameters(client, **change).values()
    assert not result.successful
    assert text in result.reason.lower()


def test_every_parameter_is_declared_and_described(client):
    request = DescribeParameters.Request(names=list(PARAMETERS))
    response = client.call(DescribeParameters, '/localizer/describe_parameters', request)
    for parameter, descriptor in zip(PARAMETERS.values(), response.descriptors, strict=True):
        assert descriptor.description == parameter.description
        assert descriptor.read_only == parameter.read_only
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert bool(ranges) == (parameter.limits is not None)
    request = GetParameters.Request(names=['top_k', 'min_contrast', 'autostart'])
    response = client.call(GetParameters, '/localizer/get_parameters', request)
    assert response.values[0].integer_value == PARAMETERS['top_k'].default
    assert response.values[1].double_value == PARAMETERS['min_contrast'].default


def test_the_effective_configuration_is_one_record(node, tiny_model):
    line = node.wait_for_log(r'configuration: \{.*\}')
    for name in PARAMETERS:
        assert f'"{name}":' in line
    assert str(tiny_model) in line
