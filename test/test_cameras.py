# SPDX-License-Identifier: Apache-2.0
"""Cameras of a map: from files and messages, through map.json, to the pose of a picture."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from vpr_ros.bag_cameras import camera_info_topic, read_bag_calibration
from vpr_ros.bag_writer import BagWriter
from vpr_ros.bags import Bag
from vpr_ros.camera_files import read_calibration
from vpr_ros.cameras import Calibration, MapCamera, cameras_from_json
from vpr_ros.errors import MapError, SourceError
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap
from vpr_ros.verification.camera import Intrinsics

MATRIX = np.array([[500.0, 0, 310], [0, 490, 250], [0, 0, 1]])
DISTORTION = np.array([0.1, -0.2, 0.001, 0.002, 0.03])
CALIBRATION = Calibration(Intrinsics(MATRIX, DISTORTION), 640, 480)
AHEAD = (0.5, 0.0, 1.0, -0.5, 0.5, -0.5, 0.5)

OST = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [500., 0., 310., 0., 490., 250., 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0.001, 0.002, 0.03]
"""


def test_a_resized_picture_sees_the_same_rays() -> None:
    """A blob's centre, found in the picture and in the resized one, lies on one ray."""
    picture = np.zeros((480, 640), np.float32)
    cv2.circle(picture, (500, 120), 40, 1, -1)
    small = cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA)
    centres = [
        np.array([[np.average(axis, weights=image) for axis in np.indices(image.shape)[::-1]]])
        for image in (picture, small)
    ]
    first = CALIBRATION.intrinsics.rays(centres[0])
    second = CALIBRATION.at_size(320, 240).rays(centres[1])
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert CALIBRATION.at_size(640, 480).matrix == pytest.approx(MATRIX)


def test_a_crop_is_refused() -> None:
    with pytest.raises(ValueError, match='640x480 pixels, these have 640x360'):
        CALIBRATION.at_size(640, 360)
    CALIBRATION.at_size(319, 240)  # an odd side, halved


def test_the_pose_of_a_camera_ahead() -> None:
    camera = MapCamera(0, None, AHEAD)
    turned_left = np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    pose = camera.pose(np.array([10.0, 20, 0]), turned_left)
    np.testing.assert_allclose(pose[:3, 3], [10, 20.5, 1])
    np.testing.assert_allclose(pose[:3, 2], [0, 1, 0], atol=1e-12)  # it looks where the body goes
    assert camera.pose(np.array([10.0, 20, 0]), np.full(4, np.nan)) is None
    assert MapCamera(0).pose(np.zeros(3), turned_left) is None


def test_cameras_stay_with_the_map(tmp_path) -> None:
    place_map = PlaceMap(ModelRef('net', 'a' * 64, 4))
    place_map.cameras = (MapCamera(0, CALIBRATION, AHEAD), MapCamera(2))
    place_map.save(tmp_path / 'map')
    loaded = PlaceMap.load(tmp_path / 'map').cameras
    assert [c.to_json() for c in loaded] == [c.to_json() for c in place_map.cameras]
    np.testing.assert_array_equal(loaded[0].calibration.intrinsics.distortion, DISTORTION)
    assert loaded[1].calibration is None and loaded[1].body_from_camera is None


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        ({'cameras': {}}, 'cameras must be a list'),
        ({'cameras': ['front']}, 'an object with a number'),
        ({'cameras': [{'number': '0'}]}, 'an object with a number'),
        ({'cameras': [{'number': 0}, {'number': 0}]}, 'one number twice'),
        ({'cameras': [{'number': -1}]}, '0 or more'),
        ({'cameras': [{'number': 1, 'body_from_camera': [0, 0]}]}, '7 finite numbers'),
        ({'cameras': [{'number': 1, 'body_from_camera': 'x'}]}, 'camera 1: body_from_camera'),
        ({'cameras': [{'number': 1, 'body_from_camera': [0] * 7}]}, 'unit quaternion'),
        ({'cameras': [{'number': 1, 'intrinsics': 3}]}, 'intrinsics must be an object'),
        ({'cameras': [{'number': 1, 'intrinsics': {'width': 1.5}}]}, 'width must be a whole'),
        ({'matrix': [[0, 0, 0]] * 3}, 'focal lengths must be positive'),
        ({'matrix': None}, 'camera 0: matrix must be numbers'),
        ({'distortion': ['x']}, 'camera 0: distortion must be numbers'),
        ({'height': 0}, '640x0'),
    ],
)
def test_damaged_cameras_of_a_map_are_named(tmp_path, change, complaint) -> None:
    place_map = PlaceMap(ModelRef('net', 'a' * 64, 4))
    place_map.cameras = (MapCamera(0, CALIBRATION),)
    place_map.save(tmp_path / 'map')
    path = tmp_path / 'map' / 'map.json'
    manifest = json.loads(path.read_text())
    if 'cameras' in change:
        manifest |= change
    else:
        manifest['cameras'][0]['intrinsics'] |= change
    path.write_text(json.dumps(manifest))
    with pytest.raises(MapError, match=rf'map\.json: .*{complaint}'):
        PlaceMap.load(tmp_path / 'map')


def test_a_map_that_tells_of_no_camera_loads(tmp_path) -> None:
    PlaceMap(ModelRef('net', 'a' * 64, 4)).save(tmp_path / 'map')
    assert 'cameras' not in json.loads((tmp_path / 'map' / 'map.json').read_text())
    assert PlaceMap.load(tmp_path / 'map').cameras == ()
    assert cameras_from_json([]) == ()


def test_a_calibration_file(tmp_path) -> None:
    path = tmp_path / 'ost.yaml'
    path.write_text(OST)
    found = read_calibration(path)
    assert (found.width, found.height) == (640, 480)
    np.testing.assert_array_equal(found.intrinsics.matrix, MATRIX)
    np.testing.assert_array_equal(found.intrinsics.distortion, DISTORTION)


@pytest.mark.parametrize(
    ('old', 'new', 'complaint'),
    [
        (OST, '%YAML:1.0\n---\n', 'is not YAML'),
        (OST, '- 1\n', 'holds no keys'),
        ('camera_matrix:', 'K:', 'has no camera_matrix'),
        ('image_width: 640', 'image_width: wide', "has no image_width .*: 'wide'"),
        ('plumb_bob', 'equidistant', "unsupported: distortion model 'equidistant'; rectify"),
        ('500., 0.,', '500.,', 'has 8 values, not 9'),
        ('[500.,', '[0.,', 'focal lengths must be positive'),
        ('[500.,', '[wide,', 'are not numbers'),
        ('0.002, 0.03', '0.002, 0.03, 1', 'plumb_bob with 6 coefficients; it has 4 or 5'),
        ('640', '0', 'not of 0x480'),
    ],
)
def test_other_files_are_refused(tmp_path, old, new, complaint) -> None:
    path = tmp_path / 'ost.yaml'
    path.write_text(OST.replace(old, new))
    with pytest.raises(SourceError, match=rf'ost\.yaml.*{complaint}'):
        read_calibration(path)


def test_where_drivers_publish_camera_info() -> None:
    assert camera_info_topic('/camera/image_raw') == '/camera/camera_info'
    assert camera_info_topic('/camera/image_raw/compressed') == '/camera/camera_info'
    assert camera_info_topic('/image') == '/camera_info'


@pytest.mark.parametrize(('topic', 'coefficients'), [('/a/image_raw', 5), ('/a/image_rect', 0)])
def test_a_calibration_of_a_bag(tmp_path, topic, coefficients, textured_pictures) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_image(topic, textured_pictures(1, height=480, width=640)[0], 1, 'camera')
        writer.add_camera_info('/a/camera_info', MATRIX, (480, 640), 1, 'camera', DISTORTION)
        writer.add_camera_info('/zero', np.zeros((3, 3)), (480, 640), 1, 'camera')
    with Bag(tmp_path / 'bag') as bag:
        found = read_bag_calibration(bag, bag.topics[topic])
        assert (found.width, found.height) == (640, 480)
        np.testing.assert_array_equal(found.intrinsics.matrix, MATRIX)
        assert len(found.intrinsics.distortion) == coefficients
        with pytest.raises(SourceError, match=r'/zero: uncalibrated: the matrix . of'):
            read_bag_calibration(bag, bag.topics[topic], '/zero')
        with pytest.raises(SourceError, match='is a sensor_msgs/msg/Image'):
            read_bag_calibration(bag, bag.topics[topic], topic)


def test_a_calibration_of_a_bag_is_of_its_pictures(tmp_path, textured_pictures) -> None:
    """A region of the sensor is of the size that it says; resized pictures have others."""
    small, cropped = textured_pictures(1, height=120, width=160)[0], np.zeros((90, 160, 3), 'u1')
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_image('/a/image', small, 1, 'camera')
        writer.add_image('/b/image', cropped, 1, 'camera')
        for camera in 'ab':
            writer.add_camera_info(f'/{camera}/camera_info', MATRIX, (480, 640), 1, 'camera')
    with Bag(tmp_path / 'bag') as bag:
        found = read_bag_calibration(bag, bag.topics['/a/image'])
        assert (found.width, found.height) == (160, 120)
        np.testing.assert_allclose(found.intrinsics.matrix[0], [125, 0, (310 + 0.5) / 4 - 0.5])
        with pytest.raises(SourceError, match=r'/b/camera_info: size: .*these have 160x90'):
            read_bag_calibration(bag, bag.topics['/b/image'])
