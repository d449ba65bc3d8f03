# SPDX-License-Identifier: Apache-2.0
"""Depths of a keyframe's features over odometry that errs."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vpr_ros.verification.bundle import Sighting, _against, _Problem, adjust

FOCAL_PX = 500.0
WAYS_M = (-0.4, -0.2, 0.2, 0.4)  # from the keyframe to its neighbours


def points(count=150):
    """Return (N, 3) points one to four metres before the keyframe, and their rays."""
    found = np.random.default_rng(3).uniform((-1.2, -0.9, 1.0), (1.2, 0.9, 4.0), (count, 3))
    return found, found / found[:, 2:]


def a_drive(drift_deg_per_m=0.0, *, scale=1.0, noise_px=0.5, wrong=0, count=150):
    """Return rays, what neighbours at a sideways drive share, and the true inverse depths."""
    rng = np.random.default_rng(4)
    found, rays = points(count)
    sightings = []
    for way in WAYS_M:
        motion = np.eye(4)
        motion[:3, :3] = Rotation.from_rotvec([0.02, way / 3, -0.03]).as_matrix()
        motion[:3, 3] = -way * np.array([1.0, 0.1, 0.2])
        moved = found @ motion[:3, :3].T + motion[:3, 3]
        seen = moved[:, :2] / moved[:, 2:] + rng.normal(0, noise_px / FOCAL_PX, (count, 2))
        seen[:wrong] = rng.uniform(-0.5, 0.5, (wrong, 2))
        said = motion.copy()
        turn = np.radians(drift_deg_per_m * way) * np.array([0.3, 1.0, 0.2])
        said[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ motion[:3, :3]
        said[:3, 3] *= scale
        sightings.append(Sighting(said, np.arange(count), seen, FOCAL_PX))
    return rays, sightings, 1 / found[:, 2]


def ratio(depths, truth):
    """Return the median of found over true depths, and the median deviation from that."""
    found = truth[depths.rows] / depths.inverse
    return float(np.median(found)), float(np.median(abs(found - np.median(found))))


@pytest.mark.parametrize('wrong', [0, 40])
def test_exact_odometry_gives_exact_depths(wrong):
    rays, sightings, truth = a_drive(wrong=wrong)
    depths = adjust(rays, sightings, max_error_px=2.0)
    middle, spread = ratio(depths, truth)
    assert middle == pytest.approx(1, abs=0.01)
    assert spread < 0.01
    assert len(depths.rows) >= 150 - wrong


@pytest.mark.parametrize('drift', [-5.0, 5.0])
def test_degrees_of_drift_are_found_out(drift):
    """Turned by 5 degrees a metre, what is 2.5 m away seems a fifth nearer or farther."""
    rays, sightings, truth = a_drive(drift)
    alone = _Problem(rays, sightings).first().inverse
    assert abs(np.median(truth / alone) - 1) > 0.12
    middle, spread = ratio(adjust(rays, sightings, max_error_px=2.0), truth)
    assert middle == pytest.approx(1, abs=0.04)
    assert spread < 0.02


def test_the_length_of_the_way_is_that_of_the_odometry():
    rays, sightings, truth = a_drive(scale=1.1)
    depths = adjust(rays, sightings, max_error_px=2.0)
    assert ratio(depths, truth)[0] == pytest.approx(1.1, abs=0.02)
    assert 0.02 < depths.scale_error < 0.1


def test_depth_errors_are_as_large_as_stated():
    rays, sightings, truth = a_drive(noise_px=1.0)
    depths = adjust(rays, sightings, max_error_px=5.0)
    off = (depths.inverse - truth[depths.rows]) * np.sqrt(depths.information)
    assert 0.5 < np.median(abs(off)) / 0.67 < 1.5


def test_what_does_not_agree_has_no_depth():
    rays, sightings, _ = a_drive(wrong=40)
    kept = adjust(rays, sightings[:1], max_error_px=2.0).rows
    assert np.mean(np.isin(np.arange(40), kept)) < 0.3
    assert np.mean(np.isin(np.arange(40, 150), kept)) > 0.9


@pytest.mark.parametrize('sightings', [0, 1])
def test_too_little_in_common_gives_no_depths(sightings):
    rays, shared, _ = a_drive(count=11)
    assert not len(adjust(rays, shared[:sightings], max_error_px=2.0).rows)


def test_a_camera_that_stood_gives_no_depths():
    rays, (first, *_), _ = a_drive()
    stood = Sighting(np.eye(4), first.rows, rays[:, :2], FOCAL_PX)
    depths = adjust(rays, [stood], max_error_px=2.0)
    assert not np.any(2.0 / 2 / np.sqrt(depths.information) / depths.inverse < 0.15)


def test_slopes_are_those_of_the_cost():
    rays, sightings, _ = a_drive(5.0, wrong=20)
    problem = _Problem(rays, sightings)
    state = problem.first().moved(
        np.vstack([np.zeros(6), np.random.default_rng(0).normal(0, 0.01, (4, 6))]), np.zeros(150)
    )
    normal = problem._normal_equations(state, 4.0)

    def cost(step):
        cameras = np.vstack([np.zeros(6), step[:24].reshape(4, 6)])
        return problem._cost(state.moved(cameras, step[24:]), 4.0)

    slopes = 2 * np.concatenate([normal.by_cameras, normal.by_features])
    for k in (*range(24), 24, 94, 173):
        step = np.zeros(174)
        step[k] = 1e-6
        numeric = (cost(step) - cost(-step)) / 2e-6
        assert slopes[k] == pytest.approx(numeric, rel=1e-3, abs=0.5 if k < 24 else 1e-3)


def test_odometry_between_neighbours_is_that_between_the_nearest():
    rays, sightings, _ = a_drive()
    problem = _Problem(rays, sightings)
    state = problem.first()
    assert len(problem._links) == len(WAYS_M)
    assert max(link.way_m for link in problem._links) < 0.25
    for link in problem._links:
        np.testing.assert_allclose(_against(link, state)[0], 0, atol=1e-9)
