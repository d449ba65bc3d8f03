# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from vpr_ros.verification.least_squares import Linearised, minimise
from vpr_ros.verification.metric import _Pose, _Reprojection
from vpr_ros.verification.rotations import (
    aligning_rotation,
    angle_of,
    cross_matrix,
    rotation_of,
    rotvec_of,
)
from vpr_ros.verification.two_view import _Motion, sampson_distance

STEP = 1e-6


def slopes_of(residuals, state, size):
    """Derivatives by differences, (M, size)."""
    steps = STEP * np.eye(size)
    columns = [
        (residuals(state.moved(step)) - residuals(state.moved(-step))).ravel() / (2 * STEP)
        for step in steps
    ]
    return np.stack(columns, axis=1)


@pytest.fixture
def scene():
    """Points, and the rays that a moved camera sees them along, with errors."""
    rng = np.random.default_rng(0)
    points = rng.uniform((-1, -1, 1), (1, 1, 4), (40, 3))
    pose = _Pose(rotation_of([0.1, 0.2, -0.1]), np.array([0.2, 0.1, -0.3]))
    seen = (points - pose.translation) @ pose.rotation
    rays = seen[:, :2] / seen[:, 2:] + rng.normal(scale=0.004, size=(40, 2))
    return points, pose, rays, rng


def test_derivatives_of_the_reprojection_are_right(scene):
    points, pose, rays, rng = scene
    problem = _Reprojection(points, rng.uniform(0, 0.15, 40), rays, 0.002)
    expected = slopes_of(lambda at: problem._whitened(at)[0], pose, 6)
    actual = problem._whitened(pose)[1].reshape(-1, 6)
    assert np.allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


def test_whitening_is_the_inverse_root_of_the_covariance(scene):
    points, pose, rays, rng = scene
    depth_error = rng.uniform(0.05, 0.15, 40)
    problem = _Reprojection(points, depth_error, rays, 0.002)
    errors, _ = problem._whitened(pose)

    def projected(moved):
        seen = (moved - pose.translation) @ pose.rotation
        return seen[:, :2] / seen[:, 2:]

    along = (projected(points * 1.0001) - projected(points)) / 0.0001 * depth_error[:, None]
    plain = rays - projected(points)
    for error, off, v in zip(errors, plain, along, strict=True):
        covariance = 0.002**2 * np.eye(2) + np.outer(v, v)
        assert error @ error == pytest.approx(off @ np.linalg.solve(covariance, off), rel=5e-3)


def test_robust_cost_and_its_approximation_have_one_derivative(scene):
    points, pose, rays, rng = scene
    rays = rays.copy()
    rays[::4] += 0.05
    problem = _Reprojection(points, rng.uniform(0, 0.1, 40), rays, 0.002)
    at = problem.linearise(pose)
    expected = slopes_of(lambda state: np.array([problem.linearise(state).cost]), pose, 6)
    gradient = 2 * at.jacobian.T @ at.residuals
    assert np.allclose(gradient, expected[0], rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert at.cost > at.residuals @ at.residuals  # beyond its limit, Huber's loss is larger


def test_derivatives_of_the_sampson_distance_are_right(scene):
    points, pose, rays, _ = scene
    direction = pose.translation / np.linalg.norm(pose.translation)
    motion = _Motion(rotation_of([0.12, 0.18, -0.1]), direction)
    match = points[:, :2] / points[:, 2:]

    def distances(at):
        return sampson_distance(cross_matrix(at.direction) @ at.rotation, rays, match)

    homogeneous = (np.column_stack([part, np.ones(40)]) for part in (rays, match))
    found = motion.linearise(*homogeneous)
    assert np.allclose(found.residuals, distances(motion), atol=1e-12)
    assert np.allclose(found.jacobian, slopes_of(distances, motion, 5), atol=1e-7)


def test_a_minimum_is_found_where_scipy_finds_it():
    def residuals(x):  # Rosenbrock's valley
        return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    def linearise(x):
        found = residuals(x)
        return Linearised(found @ found, found, np.array([[-20 * x[0], 10.0], [-1.0, 0.0]]))

    start = np.array([0.6, 0.5])
    found = minimise(linearise, np.add, start)
    expected = least_squares(residuals, start).x
    assert np.allclose(found.state, expected, atol=1e-3)
    assert found.residuals @ found.residuals < 1e-6


def test_what_moves_nothing_stays():
    def linearise(x):
        found = np.array([x[0] - 3.0])
        return Linearised(found @ found, found, np.array([[1.0, 0.0]]))

    assert np.allclose(minimise(linearise, np.add, np.array([0.0, 7.0])).state, [3, 7])


def test_rotations_agree_with_scipy():
    rng = np.random.default_rng(1)
    for rotvec in (*rng.normal(size=(20, 3)), np.zeros(3), np.array([1e-9, 0, 0])):
        matrix = Rotation.from_rotvec(rotvec).as_matrix()
        assert np.allclose(rotation_of(rotvec), matrix, atol=1e-12)
        assert np.allclose(rotvec_of(matrix), Rotation.from_matrix(matrix).as_rotvec(), atol=1e-8)
        assert angle_of(matrix) == pytest.approx(
            Rotation.from_matrix(matrix).magnitude(), abs=1e-8
        )
    a, b = rng.normal(size=(2, 5, 3))
    assert np.allclose(np.einsum('nij,nj->ni', cross_matrix(a), b), np.cross(a, b))


def test_unit_vectors_are_aligned_as_scipy_does():
    rng = np.random.default_rng(2)
    sources = rng.normal(size=(30, 3))
    sources /= np.linalg.norm(sources, axis=1, keepdims=True)
    turned = Rotation.from_rotvec([0.3, -0.2, 0.5])
    targets = turned.apply(sources) + rng.normal(scale=0.02, size=(30, 3))
    expected = Rotation.align_vectors(targets, sources)[0].as_matrix()
    assert np.allclose(aligning_rotation(targets, sources), expected, atol=1e-9)
    flat = sources * [1, 1, 0]  # also where a reflection would fit as well
    assert np.linalg.det(aligning_rotation(flat, flat)) == pytest.approx(1)
