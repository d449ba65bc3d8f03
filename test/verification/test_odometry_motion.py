# SPDX-License-Identifier: Apache-2.0
"""Odometry between keyframes, mended by what they share."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vpr_ros.verification.odometry_motion import _Problem, _State, mended_motion

FOCAL_PX = 500.0


def a_motion(rotvec_deg=(1.0, 8.0, -2.0), translation=(0.12, 0.01, 0.03)) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.radians(rotvec_deg)).as_matrix()
    motion[:3, 3] = translation
    return motion


def correspondences(
    motion: np.ndarray, *, count: int = 150, wrong: int = 0, noise_px: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Rays (M, 3) at z = 1 of points one to four metres away, before and after a motion."""
    rng = np.random.default_rng(3)
    points = rng.uniform((-1.2, -0.9, 1.0), (1.2, 0.9, 4.0), (count, 3))
    moved = points @ motion[:3, :3].T + motion[:3, 3]
    rays, seen = points / points[:, 2:], moved / moved[:, 2:]
    seen[:, :2] += rng.normal(0, noise_px / FOCAL_PX, (count, 2))
    seen[:wrong, :2] = rng.uniform(-0.5, 0.5, (wrong, 2))
    return rays, seen


def off_by(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Degrees of rotation, degrees of direction, and the ratio of the lengths."""
    turned = Rotation.from_matrix(found[:3, :3].T @ truth[:3, :3]).magnitude()
    ways = np.linalg.norm(found[:3, 3]), np.linalg.norm(truth[:3, 3])
    cosine = np.clip(found[:3, 3] @ truth[:3, 3] / np.prod(ways), -1, 1)
    return np.degrees(turned), np.degrees(np.arccos(cosine)), ways[0] / ways[1]


def drifted(truth: np.ndarray) -> np.ndarray:
    drift = np.eye(4)
    drift[:3, :3] = Rotation.from_rotvec(np.radians([1.5, -2.5, 1.0])).as_matrix()
    said = drift @ truth
    said[:3, 3] += (0.004, -0.008, 0.006)
    return said


@pytest.mark.parametrize('wrong', [0, 30])
def test_degrees_of_drift_are_mended_and_the_length_stays(wrong):
    truth = a_motion()
    said = drifted(truth)
    assert off_by(said, truth)[0] > 3
    mended = mended_motion(said, *correspondences(truth, wrong=wrong), FOCAL_PX)
    degrees, direction, ratio = off_by(mended, truth)
    assert degrees < 0.3 and direction < 4
    assert ratio == pytest.approx(1, abs=0.1), 'pictures tell no lengths: odometry does'


def test_what_odometry_knows_better_stays():
    truth = a_motion()
    degrees, direction, ratio = off_by(
        mended_motion(truth, *correspondences(truth), FOCAL_PX), truth
    )
    assert degrees < 0.2 and direction < 3 and ratio == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize('count', [0, 11])
def test_too_little_in_common_changes_nothing(count):
    truth = a_motion()
    rays, seen = correspondences(truth, count=max(count, 1))
    mended = mended_motion(truth, rays[:count], seen[:count], FOCAL_PX)
    np.testing.assert_array_equal(mended, truth)


def test_nothing_that_agrees_changes_nothing():
    truth = a_motion()
    rays, seen = correspondences(truth, count=60, wrong=60)
    mended = mended_motion(truth, rays, seen, FOCAL_PX)
    assert off_by(mended, truth)[0] < 6  # whatever fits by chance stays near what odometry says


def test_a_camera_that_stood_has_no_direction_to_mend():
    stood = a_motion(translation=(0.0, 0.0, 0.0))
    np.testing.assert_array_equal(mended_motion(stood, *correspondences(stood), FOCAL_PX), stood)


def test_derivatives_are_those_of_the_distances():
    truth = a_motion()
    rays, seen = correspondences(truth)
    problem = _Problem(_State(truth[:3, :3], truth[:3, 3]), rays, seen, FOCAL_PX)
    state = _State(truth[:3, :3], truth[:3, 3]).moved(
        np.array([0.01, -0.006, 0.004, 0.01, 0.02, -0.01])
    )
    here = problem.linearise(state)
    gradient = 2 * here.jacobian.T @ here.residuals
    numeric = np.zeros(6)
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-6
        ahead, behind = (problem.linearise(state.moved(sign * step)).cost for sign in (1, -1))
        numeric[k] = (ahead - behind) / 2e-6
    np.testing.assert_allclose(gradient, numeric, rtol=2e-3, atol=1e-3 * np.abs(numeric).max())
