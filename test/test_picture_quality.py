# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from vpr_ros.picture_quality import thumbnail, unusable_reason

RNG = np.random.default_rng(0)


def noisy(mean, sigma, shape=(480, 640, 3)):
    return np.clip(RNG.normal(mean, sigma, shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ('rgb', 'code'),
    [
        (np.zeros((480, 640, 3), np.uint8), 'dark'),
        (noisy(4, 3), 'dark'),
        (np.full((480, 640, 3), 255, np.uint8), 'saturated'),
        (np.full((480, 640, 3), 128, np.uint8), 'blank'),
        (noisy(128, 20), 'blank'),
        (np.full((1, 1, 3), 128, np.uint8), 'blank'),
    ],
)
def test_pictures_that_show_nothing_are_refused(rgb, code):
    assert unusable_reason(rgb).startswith(f'{code}: ')


def test_a_lamp_in_the_dark_is_a_picture():
    rgb = noisy(3, 2)
    rgb[100:260, 200:360] = 180
    assert unusable_reason(rgb) is None


def test_limit_can_be_set_and_switched_off():
    faint = np.full((64, 64, 3), 100, np.uint8)
    faint[:, 32:] = 112  # standard deviation 6
    assert unusable_reason(faint) is None
    assert unusable_reason(faint, min_contrast=7.0).startswith('blank: contrast 6.0 is below 7.0')
    assert unusable_reason(np.zeros((64, 64, 3), np.uint8), min_contrast=0.0) is None


def test_thumbnail_averages_away_noise():
    assert thumbnail(noisy(128, 20)).std() < 4
    assert thumbnail(np.full((30, 40, 3), 7, np.uint8)).shape == (32, 32)


def test_no_real_picture_is_refused(vpr_data):
    paths = sorted(vpr_data.glob('gardens_point/*/*.jpg'))[::25]
    paths += sorted(vpr_data.glob('webcams_day_night/*/*/*.jpg'))[::40]
    paths += sorted(vpr_data.glob('ie_tower/*/*.jpg'))[::60]
    assert len(paths) > 40
    refused = {p: unusable_reason(cv2.imread(str(p))[..., ::-1]) for p in paths}
    assert {p: reason for p, reason in refused.items() if reason} == {}
