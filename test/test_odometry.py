# SPDX-License-Identifier: Apache-2.0
"""Placing pictures on odometry: between poses, a little ahead of them, and when not."""

import threading

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vpr_ros.odometry import OdometryBuffer
from vpr_ros.poses import matrix_of_pose

S = 10**9
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
AHEAD = (-0.5, 0.5, -0.5, 0.5)  # z of the optical frame along x of the body


def heading(angle_rad: float) -> np.ndarray:
    return Rotation.from_euler('z', angle_rad).as_quat()


def driven(
    seconds: float = 2.0,
    *,
    rate: float = 10.0,
    speed: float = 1.0,
    start_s: float = 100.0,
    **limits,
) -> OdometryBuffer:
    """Odometry of a drive along x at 1 m/s that begins at 0 m and 100 s."""
    buffer = OdometryBuffer(**limits)
    for n in range(round(seconds * rate) + 1):
        stamp_ns = round((100 + n / rate) * S)
        assert buffer.add(stamp_ns, np.array([n / rate, 0, 0]), UPRIGHT) == ''
    return buffer


def at(buffer: OdometryBuffer, seconds: float, mounting: np.ndarray | None = None):
    return buffer.at(round(seconds * S), mounting)


def test_between_two_poses_it_interpolates_on_the_arc():
    buffer = OdometryBuffer()
    buffer.add(1 * S, np.array([1.0, 0, 0]), heading(0.0))
    buffer.add(1 * S + S // 10, np.array([2.0, 1, 0]), -heading(0.4))  # -q is the same rotation
    pose = at(buffer, 1.025).pose
    np.testing.assert_allclose(pose.position, [1.25, 0.25, 0])
    np.testing.assert_allclose(abs(pose.orientation_xyzw @ heading(0.1)), 1, atol=1e-12)
    assert (pose.of_camera, pose.drive) == (False, 0)
    np.testing.assert_array_equal(at(buffer, 1.0).pose.position, [1, 0, 0])


def test_nothing_has_come():
    placement = at(OdometryBuffer(), 1.0)
    assert (placement.pose, placement.code) == (None, 'missing')
    assert np.isnan(placement.lag_s)


@pytest.mark.parametrize(('seconds', 'rate', 'x'), [(102.05, 100.0, 2.05), (102.15, 10.0, 2.15)])
def test_a_little_lag_is_bridged_by_carrying_on_the_motion(seconds, rate, x):
    placement = at(driven(rate=rate), seconds)
    assert placement.pose.position[0] == pytest.approx(x)
    assert placement.lag_s == pytest.approx(seconds - 102)


@pytest.mark.parametrize(('seconds', 'rate'), [(102.06, 100.0), (102.16, 10.0)])
def test_more_lag_is_told(seconds, rate):
    placement = at(driven(rate=rate), seconds)
    assert placement.pose is None
    lag_s = seconds - 102
    assert placement.reason.startswith(f'lagging: the newest odometry is {lag_s:.3f} s older')
    assert placement.lag_s == pytest.approx(lag_s)


def test_a_braking_car_is_carried_on_a_few_centimetres_too_far():
    """The figures of the docstring of `at`."""
    buffer, t = OdometryBuffer(), np.arange(0, 1.01, 0.1)

    def x(seconds):
        return 15 * seconds - 4 * seconds**2

    for seconds in t:
        buffer.add(round((10 + seconds) * S), np.array([x(seconds), 0, 0]), UPRIGHT)
    found = at(buffer, 11.1).pose.position[0]
    assert abs(found - x(1.1)) == pytest.approx(0.08, abs=0.001)
    assert x(0.1) - x(0.0) == pytest.approx(1.46)  # what its last pose alone is off, braking begun


def test_carrying_on_does_not_multiply_the_noise_of_dense_poses():
    buffer, rng = OdometryBuffer(), np.random.default_rng(0)
    for n in range(200):
        noisy = np.array([n * 0.005, 0, 0]) + rng.normal(0, 0.002, 3)
        buffer.add(10 * S + n * S // 200, noisy, UPRIGHT)
    errors = [
        at(buffer, 10.995 + ahead).pose.position - [0.995 + ahead, 0, 0]
        for ahead in np.arange(0.001, 0.05, 0.001)
    ]
    assert np.abs(errors).max() < 5 * 0.002 * np.sqrt(5)  # weights 2 and -1


def test_turning_is_carried_on_too():
    buffer = OdometryBuffer()
    for n in range(11):
        buffer.add(10 * S + n * S // 10, np.zeros(3), heading(0.1 * n))
    pose = at(buffer, 11.1).pose
    np.testing.assert_allclose(abs(pose.orientation_xyzw @ heading(1.1)), 1, atol=1e-9)


def test_the_first_pose_alone_is_not_carried_on():
    buffer = OdometryBuffer()
    buffer.add(10 * S, np.array([3.0, 0, 0]), UPRIGHT)
    np.testing.assert_array_equal(at(buffer, 10.04).pose.position, [3, 0, 0])


def test_before_the_oldest_pose():
    placement = at(driven(), 99.5)
    assert placement.reason.startswith('before: the picture is 0.500 s older')


def test_a_pause_is_a_gap_of_one_drive():
    buffer = driven()
    buffer.add(103 * S, np.array([3.0, 0, 0]), UPRIGHT)
    placement = at(buffer, 102.5)
    assert placement.reason.startswith('gap: no odometry for 1.000 s around the picture')
    assert at(buffer, 103.0).pose.drive == at(buffer, 101.0).pose.drive == 0
    assert at(driven(rate=1.0, max_gap_s=1.5), 101.5).pose.position[0] == pytest.approx(1.5)


def test_a_jump_begins_a_drive():
    buffer = driven(max_speed=5.0)
    reason = buffer.add(102 * S + S // 10, np.array([2.9, 0, 0]), UPRIGHT)
    assert reason == 'it moved 0.90 m and turned 0.0° within 0.100 s'
    assert at(buffer, 102.05).reason.startswith('gap: 0.100 s around the picture, where odometry')
    assert at(buffer, 102.0).pose.drive == 0
    pose = at(buffer, 102.12).pose
    assert (pose.drive, pose.position[0]) == (1, 2.9)  # no motion across the jump is carried on
    state = buffer.state
    assert (state.drive, state.break_ns, state.break_reason) == (1, 102 * S + S // 10, reason)
    assert buffer.add(102 * S + S // 5, np.array([3.0, 0, 0]), UPRIGHT) == ''


def test_a_sudden_turn_is_a_jump():
    buffer = driven()
    reason = buffer.add(102 * S + S // 50, np.array([2.02, 0, 0]), heading(np.pi))
    assert 'turned 180.0° within 0.020 s' in reason


def test_a_clock_that_goes_back_begins_a_drive_and_forgets():
    buffer = driven()
    reason = buffer.add(50 * S, np.zeros(3), UPRIGHT)
    assert reason == 'its stamps went back by 52.000 s'
    assert at(buffer, 50.0).pose.drive == 1
    assert at(buffer, 101.0).code == 'lagging'


def test_swapped_and_repeated_messages_change_nothing():
    buffer = driven()
    for stamp_ns in (102 * S, 102 * S - S // 20):
        assert buffer.add(stamp_ns, np.array([99.0, 0, 0]), UPRIGHT) == ''
    assert at(buffer, 101.98).pose.position[0] == pytest.approx(1.98)
    assert buffer.state.drive == 0


def test_after_a_silence_in_which_it_could_restart_it_begins_a_drive():
    buffer = driven()
    assert buffer.add(105 * S, np.zeros(3), UPRIGHT) == 'it was silent for 3.000 s'
    assert at(buffer, 105.0).pose.drive == 1
    slow = driven(seconds=9.0, rate=1 / 3, max_gap_s=4.0)
    assert (slow.state.drive, slow.state.period_s) == (0, 3.0)


def test_other_frames_interrupt_it():
    buffer = driven()
    buffer.interrupt(102 * S + S // 10, 'its frames changed')
    assert at(buffer, 102.02).reason.startswith('gap: odometry was interrupted')
    buffer.add(102 * S + S // 10, np.array([500.0, 0, 0]), UPRIGHT)
    assert buffer.state.break_reason == 'its frames changed'
    assert at(buffer, 102.1).pose.drive == 1
    buffer.interrupt(103 * S, 'again')
    assert buffer.add(60 * S, np.zeros(3), UPRIGHT) == 'its stamps went back by 42.100 s'
    assert at(buffer, 60.0).pose.drive == 3


@pytest.mark.parametrize(
    ('position', 'orientation', 'text'),
    [
        ([0, 0, 0], [0, 0, 0, 0], 'its length is 0, not 1'),
        ([0, 0, 0], [0, 0, 0, 1.02], 'its length is 1.02'),
        ([0, np.nan, 0], [0, 0, 0, 1], 'not finite'),
        ([0, 0, 0], [0, 0, np.inf, 1], 'not finite'),
    ],
)
def test_what_is_no_pose_is_refused(position, orientation, text):
    buffer = driven()
    with pytest.raises(ValueError, match=text):
        buffer.add(103 * S, np.array(position), np.array(orientation))
    assert buffer.state.newest_ns == 102 * S


def test_a_rounded_quaternion_is_brought_to_length_1():
    buffer = OdometryBuffer()
    buffer.add(S, np.zeros(3), np.array([0, 0, 0.707, 0.707]))
    assert np.linalg.norm(at(buffer, 1.0).pose.orientation_xyzw) == pytest.approx(1, abs=1e-15)


def test_body_from_camera_gives_the_optical_frame():
    """A robot that looks along y with a camera 0.5 m ahead of and 1 m above its centre."""
    buffer = OdometryBuffer()
    buffer.add(S, np.array([10.0, 20.0, 0.0]), heading(np.pi / 2))
    pose = at(buffer, 1.0, matrix_of_pose([0.5, 0, 1.0, *AHEAD])).pose
    assert pose.of_camera
    np.testing.assert_allclose(pose.position, [10, 20.5, 1], atol=1e-12)
    axes = Rotation.from_quat(pose.orientation_xyzw).as_matrix().T
    np.testing.assert_allclose(axes, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)


def test_memory_is_bounded_at_any_rate():
    buffer = OdometryBuffer()
    for n in range(60_000):
        buffer.add(100 * S + n * 1_000_000, np.array([n * 1e-3, 0, 0]), UPRIGHT)
    assert len(buffer._stamps_ns) == len(buffer._rows) < 20_000
    assert buffer.state.newest_ns == 100 * S + 59_999 * 1_000_000
    assert at(buffer, 150.0005).pose.position[0] == pytest.approx(50.0005, abs=1e-6)
    assert at(buffer, 101.0).code == 'before'


def test_pictures_are_placed_while_odometry_comes():
    buffer, placements, done = driven(seconds=1.0, rate=50.0), [], threading.Event()

    def look():
        while not done.is_set():
            seconds = buffer.state.newest_ns / S - 0.05
            placements.append((seconds - 100, at(buffer, seconds).pose))

    thread = threading.Thread(target=look)
    thread.start()
    for n in range(51, 6000):
        buffer.add(100 * S + n * S // 50, np.array([n / 50, 0, 0]), UPRIGHT)
    done.set()
    thread.join(5)
    assert len(placements) > 10
    assert max(abs(pose.position[0] - seconds) for seconds, pose in placements) < 1e-6
