# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from PIL import Image

from vpr_ros.preprocess import Preprocess


def test_resizes_as_pillow_bilinear_does():
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    expected = Image.fromarray(rgb).resize((20, 10), Image.Resampling.BILINEAR)
    result = Preprocess(height=10, width=20)(rgb)
    assert result.shape == (10, 20, 3) and result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.asarray(expected))


def test_is_antialiased():
    # A one-pixel chequerboard, shrunk fourfold, is grey; without antialiasing it is not.
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    rgb = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert np.ptp(Preprocess(16, 16)(rgb)[2:-2, 2:-2]) <= 2


def test_leaves_a_picture_of_the_right_size_alone():
    rgb = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Preprocess(8, 9)(rgb), rgb)


def test_accepts_views_that_are_not_contiguous():
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    flipped = rgb[:, ::-1]
    np.testing.assert_array_equal(Preprocess(8, 8)(flipped), Preprocess(8, 8)(flipped.copy()))


@pytest.mark.parametrize(
    'rgb',
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        [[1]],
    ],
)
def test_refuses_what_is_not_an_rgb_picture(rgb):
    with pytest.raises(ValueError, match='a picture must'):
        Preprocess(2, 2)(rgb)


def test_record_survives_the_round_trip():
    preprocess = Preprocess(256, 320)
    assert Preprocess.from_json(preprocess.to_json()) == preprocess


@pytest.mark.parametrize(
    'record',
    [
        {'height': 2, 'width': 2},
        {'height': 2, 'width': 2, 'resize': 'pillow-bilinear', 'crop': 1},
        {'height': 2, 'width': 2, 'resize': 'nearest'},
        {'height': 0, 'width': 2, 'resize': 'pillow-bilinear'},
        {'height': 2.0, 'width': 2, 'resize': 'pillow-bilinear'},
        [1, 2],
    ],
)
def test_refuses_a_record_it_does_not_fully_understand(record):
    with pytest.raises(ValueError):
        Preprocess.from_json(json.dumps(record))
