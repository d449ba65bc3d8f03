# SPDX-License-Identifier: Apache-2.0
"""The pose of the body from verified geometry of its camera, and how its error follows."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vpr_ros.place_map import Match
from vpr_ros.verification.verifier import Verification
from vpr_ros.verified_pose import verified_pose

BODY_FROM_CAMERA = np.eye(4)
BODY_FROM_CAMERA[:3, :3] = Rotation.from_euler('xyz', [-100, 5, -80], degrees=True).as_matrix()
BODY_FROM_CAMERA[:3, 3] = [1.2, -0.4, 0.9]


def rigid(rotation_vector, translation) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    matrix[:3, 3] = translation
    return matrix


MAP_FROM_BODY = rigid([0.3, -0.2, 1.9], [40.0, -7.0, 2.0])  # of the place
MAP_FROM_MATCH = MAP_FROM_BODY @ BODY_FROM_CAMERA
MATCH_FROM_QUERY = rigid([0.05, 0.2, -0.1], [0.3, -0.1, 0.4])


def covariance() -> np.ndarray:
    root = np.random.default_rng(3).normal(size=(6, 6)) * ([0.01] * 3 + [0.004] * 3)
    return root.T @ root + np.diag([1e-5] * 3 + [1e-6] * 3)


@pytest.fixture
def match():
    return Match(
        row=0,
        place_id=5,
        similarity=0.9,
        stamp_ns=1,
        image='',
        position=MAP_FROM_BODY[:3, 3].copy(),
        orientation_xyzw=Rotation.from_matrix(MAP_FROM_BODY[:3, :3]).as_quat(),
    )


@pytest.fixture
def found():
    return Verification(
        place=0,
        reason='',
        rotation=MATCH_FROM_QUERY[:3, :3],
        translation=MATCH_FROM_QUERY[:3, 3],
        covariance=covariance(),
        metric=True,
        map_from_match=MAP_FROM_MATCH,
    )


def body_of(match_from_query: np.ndarray) -> np.ndarray:
    return MAP_FROM_MATCH @ match_from_query @ np.linalg.inv(BODY_FROM_CAMERA)


def test_the_pose_is_of_the_body(match, found):
    pose = verified_pose(match, found, camera=0)
    true = body_of(MATCH_FROM_QUERY)
    np.testing.assert_allclose(pose.position, true[:3, 3], atol=1e-9)
    turned = Rotation.from_quat(pose.orientation_xyzw).as_matrix()
    np.testing.assert_allclose(turned, true[:3, :3], atol=1e-9)


def test_the_covariance_is_that_of_sampled_errors(match, found):
    """Errors of the relative pose as stated (in the match's frame), carried to the body."""
    pose = verified_pose(match, found, camera=0)
    rng = np.random.default_rng(0)
    errors = rng.multivariate_normal(np.zeros(6), found.covariance, 40_000)
    turns = Rotation.from_rotvec(errors[:, 3:]).as_matrix()
    sampled = np.tile(np.eye(4), (len(errors), 1, 1))
    sampled[:, :3, :3] = turns @ MATCH_FROM_QUERY[:3, :3]
    sampled[:, :3, 3] = MATCH_FROM_QUERY[:3, 3] + errors[:, :3]
    bodies = MAP_FROM_MATCH @ sampled @ np.linalg.inv(BODY_FROM_CAMERA)
    moved = bodies[:, :3, 3] - pose.position
    turned = (
        Rotation.from_matrix(bodies[:, :3, :3]) * Rotation.from_quat(pose.orientation_xyzw).inv()
    ).as_rotvec()
    seen = np.cov(np.hstack([moved, turned]).T)
    scale = np.sqrt(np.outer(np.diag(seen), np.diag(seen)))
    np.testing.assert_allclose(pose.covariance / scale, seen / scale, atol=0.03)
    np.testing.assert_allclose(pose.covariance, pose.covariance.T, atol=1e-15)
    assert np.linalg.eigvalsh(pose.covariance).min() > 0


def test_a_long_lever_widens_the_position(match, found):
    """A wheelbase away from the camera, a small turn is a long way."""
    near = verified_pose(match, found, camera=0).covariance
    far = MAP_FROM_MATCH @ np.linalg.inv(rigid([0, 0, 0], [0.0, 0.0, 20.0]))
    match = dataclasses.replace(match, position=far[:3, 3])
    wide = verified_pose(match, found, camera=0).covariance
    assert np.trace(wide[:3, :3]) > 10 * np.trace(near[:3, :3])
    np.testing.assert_allclose(wide[3:, 3:], near[3:, 3:])


@pytest.mark.parametrize(
    'change',
    [
        {'position': np.full(3, np.nan)},
        {'orientation_xyzw': np.full(4, np.nan)},
        {'camera': 1},
    ],
)
def test_nothing_is_known_of_an_unknown_mounting(match, found, change):
    assert verified_pose(dataclasses.replace(match, **change), found, camera=0) is None


def test_a_direction_is_no_pose(match, found):
    direction = dataclasses.replace(found, metric=False, map_from_match=None)
    assert verified_pose(match, direction, camera=0) is None
