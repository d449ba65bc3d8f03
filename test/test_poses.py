# SPDX-License-Identifier: Apache-2.0
"""Interpolation of poses against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.poses import Trajectory, quaternions_from_matrices, rotation_angle, slerp

S = 1_000_000_000
IDENTITY = [0.0, 0.0, 0.0, 1.0]


def about_z(degrees: float) -> np.ndarray:
    half = np.radians(degrees) / 2
    return np.array([0.0, 0.0, np.sin(half), np.cos(half)])


@pytest.fixture
def turning_drive() -> Trajectory:
    """One metre and ninety degrees a second, with a gap of five seconds at the end."""
    seconds = np.array([10, 11, 12, 17])
    return Trajectory(
        seconds * S,
        np.stack([seconds - 10.0, np.zeros(4), np.ones(4)], axis=1),
        np.stack([about_z(90 * (s - 10)) for s in seconds]),
    )


def test_halfway_is_half_the_way_and_half_the_turn(turning_drive: Trajectory) -> None:
    positions, orientations = turning_drive.at([10 * S + S // 2, 11 * S + S // 4], max_gap_s=1.0)
    np.testing.assert_allclose(positions, [[0.5, 0, 1], [1.25, 0, 1]])
    assert rotation_angle(orientations[0], about_z(45)) < 1e-9
    assert rotation_angle(orientations[1], about_z(112.5)) < 1e-9


def test_exact_stamps_are_the_poses_themselves_even_beside_a_gap(
    turning_drive: Trajectory,
) -> None:
    positions, orientations = turning_drive.at(turning_drive.stamps_ns, max_gap_s=0.01)
    np.testing.assert_array_equal(positions, turning_drive.positions)
    np.testing.assert_allclose(np.abs(orientations), np.abs(turning_drive.orientations_xyzw))


def test_nothing_is_known_outside_and_in_gaps(turning_drive: Trajectory) -> None:
    asked = [10 * S - 1, 14 * S, 17 * S + 1]
    positions, orientations = turning_drive.at(asked, max_gap_s=2.0)
    assert np.isnan(positions).all() and np.isnan(orientations).all()
    assert np.isfinite(turning_drive.at([14 * S], max_gap_s=5.0)[0]).all()


def test_empty_trajectory_knows_nothing() -> None:
    empty = Trajectory(np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 4)))
    positions, orientations = empty.at([1, 2], max_gap_s=1.0)
    assert positions.shape == (2, 3) and orientations.shape == (2, 4)
    assert np.isnan(positions).all()


def test_unknown_orientation_stays_unknown_and_leaves_the_position() -> None:
    track = Trajectory(
        np.array([0, S]), np.array([[0.0, 0, 0], [2, 0, 0]]), np.full((2, 4), np.nan)
    )
    positions, orientations = track.at([S // 2], max_gap_s=1.0)
    np.testing.assert_allclose(positions, [[1, 0, 0]])
    assert np.isnan(orientations).all()


def test_slerp_takes_the_shorter_arc_for_either_sign_of_a_quaternion() -> None:
    share = np.array([0.5])
    expected = about_z(20)
    for sign in (1, -1):
        mixed = slerp(about_z(0)[None], sign * about_z(40)[None], share)[0]
        assert rotation_angle(mixed, expected) < 1e-9


@pytest.mark.parametrize('degrees', [0.0, 1e-6, 0.5, 1.0, 5.0, 179.0])
def test_slerp_has_unit_norm_and_constant_speed(degrees: float) -> None:
    share = np.linspace(0, 1, 11)
    begin = np.tile(about_z(0), (11, 1))
    end = np.tile(about_z(degrees), (11, 1))
    mixed = slerp(begin, end, share)
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-12)
    angles = [np.degrees(rotation_angle(mixed[0], q)) for q in mixed]
    np.testing.assert_allclose(angles, degrees * share, atol=1e-6)


def test_rotation_angle_of_known_turns() -> None:
    assert rotation_angle(about_z(0), about_z(90)) == pytest.approx(np.pi / 2)
    assert rotation_angle(about_z(10), -about_z(10)) == pytest.approx(0)
    assert rotation_angle(about_z(0), about_z(180)) == pytest.approx(np.pi)
    assert np.isnan(rotation_angle(about_z(0), np.full(4, np.nan)))


def test_quaternions_from_matrices_of_known_rotations() -> None:
    quarter_about_z = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    half_about_x = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    third_about_111 = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    found = quaternions_from_matrices([np.eye(3), quarter_about_z, half_about_x, third_about_111])
    root = np.sqrt(0.5)
    expected = np.array([IDENTITY, [0, 0, root, root], [1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]])
    for one, two in zip(found, expected, strict=True):
        assert rotation_angle(one, two) < 1e-9


@pytest.mark.parametrize(
    ('stamps', 'positions', 'complaint'),
    [
        ([0, 0], [[0, 0, 0], [1, 0, 0]], 'increase'),
        ([0, 1], [[0, 0, 0], [np.nan, 0, 0]], 'not finite'),
        ([0, 1], [[0, 0, 0]], 'shapes'),
    ],
)
def test_what_is_no_trajectory_is_refused(stamps, positions, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        Trajectory(np.array(stamps), np.array(positions, float), np.tile(IDENTITY, (2, 1)))
