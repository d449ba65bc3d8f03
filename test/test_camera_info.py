# SPDX-License-Identifier: Apache-2.0
"""camera_info as the pictures' intrinsics: what serves, what is scaled, what is refused."""

import cv2
import numpy as np
import pytest

pytest.importorskip('sensor_msgs.msg')

from sensor_msgs.msg import CameraInfo, RegionOfInterest

from vpr_ros.camera_info import CalibrationError, intrinsics_from_msg, is_of_rectified

PLUMB_BOB = [-0.3, 0.1, 0.001, -0.002, 0.0]


def of_raw(msg: CameraInfo, width: int, height: int):
    return intrinsics_from_msg(msg, width, height, is_rectified=False)


def info(**fields) -> CameraInfo:
    given = {
        'width': 640,
        'height': 480,
        'distortion_model': 'plumb_bob',
        'd': PLUMB_BOB,
        'k': [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0],
    }
    return CameraInfo(**(given | fields))


def test_a_calibration_of_the_pictures_size_is_taken_as_it_is():
    intrinsics = of_raw(info(), 640, 480)
    assert intrinsics.matrix.tolist() == [[500, 0, 320], [0, 510, 240], [0, 0, 1]]
    assert intrinsics.distortion.tolist() == PLUMB_BOB


@pytest.mark.parametrize(
    ('model', 'number'),
    [('plumb_bob', 4), ('rational_polynomial', 8), ('rational_polynomial', 14)],
)
def test_lens_models_that_opencv_has_are_accepted(model, number):
    distortion = [0.01 / (n + 1) for n in range(number)]
    intrinsics = of_raw(info(distortion_model=model, d=distortion), 640, 480)
    assert intrinsics.distortion.tolist() == distortion
    assert intrinsics.rays(np.array([[320.0, 240.0]])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(('model', 'd'), [('', []), ('equidistant', [0.0] * 4), ('odd', [])])
def test_without_distortion_the_lens_model_does_not_matter(model, d):
    intrinsics = of_raw(info(distortion_model=model, d=d), 640, 480)
    assert len(intrinsics.distortion) == 0


@pytest.mark.parametrize('scale', [0.5, 1.5])
def test_resized_pictures_see_the_same_rays(scale):
    """A point in the scene lies where OpenCV's resize puts it, half a pixel included."""
    whole = of_raw(info(), 640, 480)
    resized = of_raw(info(), round(640 * scale), round(480 * scale))
    keypoints = np.array([[0.0, 0.0], [100.0, 50.0], [639.0, 479.0]])
    moved = (keypoints + 0.5) * scale - 0.5
    np.testing.assert_allclose(whole.rays(keypoints), resized.rays(moved), atol=1e-9)
    spot = np.zeros((480, 640), np.float32)
    spot[100:104, 200:204] = 1
    small = cv2.resize(spot, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    y, x = (np.array(np.nonzero(small)) * small[np.nonzero(small)]).sum(1) / small.sum()
    assert (x, y) == pytest.approx(((201.5 + 0.5) * scale - 0.5, (101.5 + 0.5) * scale - 0.5))


def test_binning_and_region_are_applied():
    msg = info(
        binning_x=2,
        binning_y=2,
        roi=RegionOfInterest(x_offset=100, y_offset=40, width=400, height=400),
    )
    intrinsics = of_raw(msg, 200, 200)
    expected = [[250, 0, 109.75], [0, 255, 99.75], [0, 0, 1]]
    np.testing.assert_allclose(intrinsics.matrix, expected)
    whole = of_raw(msg, 640, 480)  # the driver sent the whole picture
    assert whole.matrix[0].tolist() == [500, 0, 320]


@pytest.mark.parametrize(
    ('fields', 'text'),
    [
        ({'k': [0.0] * 9}, 'uncalibrated: the matrix K of camera_info is zero; calibrate'),
        ({'k': [-1.0, 0, 1, 0, 1, 1, 0, 0, 1]}, 'uncalibrated: focal lengths must be positive'),
        ({'k': [float('nan')] * 9}, 'uncalibrated: intrinsics need a finite'),
        ({'d': [float('nan')] * 5}, 'uncalibrated: the distortion is not finite'),
        (
            {'distortion_model': 'equidistant'},
            "unsupported: .*'equidistant'; rectify",
        ),
        ({'distortion_model': 'polar'}, "unsupported: .*'polar'; accepted: plumb_bob, rational"),
        ({'d': [0.1] * 3}, 'unsupported: plumb_bob with 3 coefficients; it has 4 or 5'),
        ({'width': 0, 'height': 0}, 'size: camera_info says 0x0 pixels'),
        ({'height': 360}, 'size: the calibration is of pictures of 640x360 .*these have 640x480'),
    ],
)
def test_what_does_not_describe_the_pictures_is_refused(fields, text):
    with pytest.raises(CalibrationError, match=text):
        of_raw(info(**fields), 640, 480)


def test_rectified_pictures_are_what_the_projection_matrix_describes():
    p = [450.0, 0.0, 310.0, -45.0, 0.0, 450.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    region = RegionOfInterest(x_offset=10, y_offset=20, width=320, height=240)
    for msg in (info(p=p), info(p=p, distortion_model='equidistant')):
        intrinsics = intrinsics_from_msg(msg, 640, 480, is_rectified=True)
        assert intrinsics.matrix.tolist() == [[450, 0, 310], [0, 450, 230], [0, 0, 1]]
        assert len(intrinsics.distortion) == 0
    part = intrinsics_from_msg(info(p=p, roi=region), 320, 240, is_rectified=True)
    assert part.matrix[:2, 2].tolist() == [300, 210]
    with pytest.raises(CalibrationError, match=r'uncalibrated: the matrix P of .* is zero'):
        intrinsics_from_msg(info(), 640, 480, is_rectified=True)


@pytest.mark.parametrize(
    ('topic', 'is_rectified'),
    [
        ('/a/image_rect', True),
        ('/image_rect_color/compressed', True),
        ('/rect/image_raw', False),
        ('/a/image_correct', False),
    ],
)
def test_rectified_pictures_are_known_by_their_topic(topic, is_rectified):
    assert is_of_rectified(topic) is is_rectified
