# SPDX-License-Identifier: Apache-2.0
"""A described picture: what is found in it does not depend on how many pixels the camera has."""

import cv2
import numpy as np
import pytest

pytest.importorskip('onnx')

from conftest import textured_pictures

from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.picture import Describer
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import create_feature_extractor
from vpr_ros.verification.picture import working_picture

LENS = Intrinsics(np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]]), np.array([0.1, -0.05]))


@pytest.fixture(scope='module')
def describer(tiny_model):
    return Describer(DescriptorExtractor(tiny_model), create_feature_extractor())


@pytest.fixture(scope='module')
def small():
    (found,) = textured_pictures(1, height=240, width=320)
    return found


def described(describer, rgb, intrinsics=None):
    return describer.describe(rgb, 1, min_contrast=4.0, with_features=True, intrinsics=intrinsics)


@pytest.mark.parametrize('times', [3, 6])
def test_a_large_picture_is_looked_at_as_maps_are_made(describer, small, times):
    large = cv2.resize(small, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    focal = times * LENS.matrix[0, 0]
    centre = times * np.array([160.5, 120.5]) - 0.5
    lens = Intrinsics(
        np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), LENS.distortion
    )
    found = described(describer, large, lens)
    assert found.rgb.shape == large.shape
    assert (found.features.height, found.features.width) == (480, 640)
    kept = describer.local.extract(working_picture(large, 480).rgb)  # as `vpr map build` does
    assert np.array_equal(found.features.keypoints, kept.keypoints)
    assert np.array_equal(found.features.descriptors, kept.descriptors)
    assert found.intrinsics.matrix == pytest.approx(
        np.array([[600.0, 0, 320.5], [0, 600.0, 240.5], [0, 0, 1]])
    )
    assert np.array_equal(found.intrinsics.distortion, LENS.distortion)


def test_a_small_one_is_taken_as_it_is(describer, small):
    found = described(describer, small, LENS)
    assert (found.features.height, found.features.width) == (240, 320)
    assert np.array_equal(found.intrinsics.matrix, LENS.matrix)
    assert described(describer, small).intrinsics is None
