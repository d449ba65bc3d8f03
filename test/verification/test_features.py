# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from vpr_ros.verification.features import create_feature_extractor
from vpr_ros.verification.local_features import LocalFeatures
from vpr_ros.verification.matching import match_features

CLASSICAL = ('sift', 'orb')  # what needs no network


@pytest.fixture(scope='module')
def picture():
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize('kind', CLASSICAL)
def test_finds_no_more_than_asked(kind, picture):
    features = create_feature_extractor(kind, 150).extract(picture)
    assert 100 < len(features) <= 150
    assert (features.kind, features.width, features.height) == (kind, 640, 480)
    assert (features.keypoints >= 0).all()
    assert (features.keypoints < (640, 480)).all()


@pytest.mark.parametrize('kind', CLASSICAL)
def test_a_shifted_picture_matches_at_the_shift(kind, picture):
    extractor = create_feature_extractor(kind, 500)
    shifted = np.roll(picture, (5, 12), axis=(0, 1))
    first, second = extractor.extract(picture), extractor.extract(shifted)
    pairs = match_features(first, second, max_ratio=0.8, min_cosine=0.82)
    assert len(pairs) > 100
    shifts = second.keypoints[pairs[:, 1]] - first.keypoints[pairs[:, 0]]
    assert np.allclose(np.median(shifts, axis=0), (12, 5), atol=0.2)
    assert len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == len(pairs)


@pytest.mark.parametrize('kind', CLASSICAL)
def test_a_blank_picture_has_none_and_matches_nothing(kind, picture):
    extractor = create_feature_extractor(kind)
    blank = extractor.extract(np.full((480, 640, 3), 90, np.uint8))
    assert len(blank) == 0
    assert match_features(
        blank, extractor.extract(picture), max_ratio=0.8, min_cosine=0.82
    ).shape == (0, 2)


def test_two_features_alike_are_not_told_apart():
    descriptors = np.eye(4, dtype=np.float32)
    points = np.zeros((4, 2), np.float32)
    one = LocalFeatures('made', points, descriptors, 10, 10)
    twins = LocalFeatures('made', points, descriptors[[0, 0, 2, 3]], 10, 10)
    pairs = match_features(one, twins, max_ratio=0.8, min_cosine=0.82)
    assert [tuple(pair) for pair in pairs] == [(2, 2), (3, 3)]


def test_of_twins_one_is_paired():
    descriptors = np.eye(4, dtype=np.float32)
    points = np.zeros((4, 2), np.float32)
    twins = LocalFeatures('made', points, descriptors[[0, 0, 2, 3]], 10, 10)
    other = LocalFeatures('made', points, descriptors, 10, 10)
    pairs = match_features(twins, other, max_ratio=0.8, min_cosine=0.82)
    assert [tuple(pair) for pair in pairs] == [(0, 0), (2, 2), (3, 3)]


def test_bits_are_compared_by_hamming_distance():
    bits = np.array([[0b11110000], [0b00001111], [0b10101010]], np.uint8)
    points = np.zeros((3, 2), np.float32)
    one = LocalFeatures('made', points, bits, 10, 10)
    other = LocalFeatures('made', points, bits[::-1] ^ np.uint8(1), 10, 10)
    pairs = match_features(one, other, max_ratio=0.5, min_cosine=0.82)
    assert [tuple(pair) for pair in pairs] == [(0, 2), (1, 1), (2, 0)]


@pytest.mark.parametrize('kind', CLASSICAL)
def test_a_smaller_picture_gives_keypoints_of_the_larger(kind, picture):
    large = cv2.resize(picture, (1280, 960), interpolation=cv2.INTER_CUBIC)
    of_small = create_feature_extractor(kind, 500, 480).extract(picture)
    of_large = create_feature_extractor(kind, 500, 480).extract(large)
    assert (of_large.width, of_large.height) == (1280, 960)
    pairs = match_features(of_small, of_large, max_ratio=0.8, min_cosine=0.82)
    assert len(pairs) > 100
    there = 2 * (of_small.keypoints[pairs[:, 0]] + 0.5) - 0.5
    assert np.median(np.abs(there - of_large.keypoints[pairs[:, 1]])) < 0.3


def test_learned_features_are_compared_by_their_cosine():
    looks = np.eye(4, dtype=np.float32)
    turned = np.radians([0, 30, 40, 0])[:, np.newaxis]
    # Two of the second picture look the same: a ratio would drop both, the cosine keeps one.
    others = np.cos(turned) * looks + np.sin(turned) * np.roll(looks, 1, axis=1)
    others = np.concatenate([others, others[:1]]).astype(np.float32)
    points = np.zeros((5, 2), np.float32)
    one = LocalFeatures('xfeat', points[:4], looks, 10, 10)
    other = LocalFeatures('xfeat', points, others, 10, 10)
    pairs = match_features(one, other, max_ratio=0.8, min_cosine=0.82)
    assert [tuple(pair) for pair in pairs] == [(0, 0), (1, 1), (3, 3)]  # cos 40 is 0.77


def test_mistakes_are_named(picture):
    with pytest.raises(ValueError, match='sift, orb'):
        create_feature_extractor('surf')
    with pytest.raises(ValueError, match='1 or more'):
        create_feature_extractor('sift', 0)
    with pytest.raises(ValueError, match='0 or more'):
        create_feature_extractor('sift', 100, -1)
    with pytest.raises(ValueError, match='uint8 RGB'):
        create_feature_extractor('sift').extract(picture[:, :, 0])
    sift, orb = (create_feature_extractor(kind).extract(picture) for kind in ('sift', 'orb'))
    with pytest.raises(ValueError, match='cannot be compared'):
        match_features(sift, orb, max_ratio=0.8, min_cosine=0.82)
    with pytest.raises(ValueError, match=r'\(K, 2\) and \(K, D\)'):
        LocalFeatures('made', np.zeros((3, 2), np.float32), np.zeros((2, 8), np.uint8), 9, 9)
