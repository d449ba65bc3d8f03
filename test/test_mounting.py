# SPDX-License-Identifier: Apache-2.0
"""Where the cameras sit that closures name."""

import numpy as np
import pytest

pytest.importorskip('rcl_interfaces')

from vpr_ros.node_common.declared import ParameterError
from vpr_ros.node_common.mounting import MountedCameras, Mountings, UnknownCameraError

AHEAD = (0.5, 0.0, 1.0, -0.5, 0.5, -0.5, 0.5)
LEFT = (0.0, 0.3, 1.0, 0.7071067811865476, 0.0, 0.0, -0.7071067811865476)


def test_of_several_each_has_its_own():
    mountings = Mountings(MountedCameras(('front', 'left'), (*AHEAD, *LEFT)))
    assert mountings.of('front')[:3, 3].tolist() == [0.5, 0.0, 1.0]
    assert mountings.of('front')[:3, 2] == pytest.approx([1, 0, 0])  # looks ahead
    assert mountings.of('left')[:3, 2] == pytest.approx([0, 1, 0])
    with pytest.raises(UnknownCameraError, match=r"camera 'rear' .* only 'front', 'left': give"):
        mountings.of('rear')


@pytest.mark.parametrize('name', ['', 'front'])
def test_a_single_one_may_have_any_name_but_one(name):
    mountings = Mountings(MountedCameras(body_from_camera=AHEAD))
    assert mountings.of(name)[0, 3] == mountings.of(name)[0, 3] == 0.5
    with pytest.raises(UnknownCameraError, match='give cameras and body_from_camera'):
        mountings.of('left')


def test_without_numbers_camera_and_body_are_the_same():
    assert np.array_equal(Mountings(MountedCameras()).of(''), np.eye(4))
    assert np.array_equal(Mountings(MountedCameras(('front',))).of('front'), np.eye(4))


@pytest.mark.parametrize(
    ('cameras', 'numbers', 'message'),
    [
        (('front', 'left'), AHEAD, '7 numbers for 2 cameras; it has 7 for each'),
        (('front', 'left'), (), r'empty, which cannot be right for 2 cameras \(front, left\)'),
        ((), (*AHEAD, *LEFT), '14 numbers for 1 cameras'),
        ((), (0.0,) * 7, 'body_from_camera: '),
    ],
)
def test_numbers_that_cannot_be_are_refused(cameras, numbers, message):
    with pytest.raises(ParameterError, match=message):
        MountedCameras(cameras, numbers)
