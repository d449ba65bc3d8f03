# SPDX-License-Identifier: Apache-2.0
"""Trajectories from real bags, of every accepted type."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.bag_messages import POSE_STAMPED, header, pose
from vpr_ros.bag_poses import BagPoses, read_bag_poses
from vpr_ros.bag_writer import BagWriter
from vpr_ros.bags import Bag
from vpr_ros.errors import SourceError

T0 = 1_700_000_000_000_000_000
S = 1_000_000_000
TURN = np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)])


def read(path, topic: str, **options) -> BagPoses:
    with Bag(path) as bag:
        return read_bag_poses(bag, bag.pose_topic(topic), **options)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_every_type_of_pose(tmp_path, storage) -> None:
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for i in range(3):
            pose = ([i, 2 * i, 3 * i], TURN, T0 + i * S)
            bag.add_odometry('/odom', *pose)
            bag.add_pose_stamped('/pose', *pose)
            bag.add_pose_with_covariance('/amcl_pose', *pose)
    for topic in ('/odom', '/pose', '/amcl_pose'):
        found = read(tmp_path / 'bag', topic)
        assert found.trajectory.stamps_ns.tolist() == [T0, T0 + S, T0 + 2 * S]
        np.testing.assert_allclose(found.trajectory.positions[2], [2, 4, 6])
        np.testing.assert_allclose(found.trajectory.orientations_xyzw, np.tile(TURN, (3, 1)))
        assert not found.skipped and found.origin is None


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_gnss_is_local_metres_and_bad_fixes_are_counted(tmp_path, storage) -> None:
    fixes = [
        (48.0, 11.0, 500.0, 0),
        (48.001, 11.0, 500.0, 0),
        (48.5, 11.5, 500.0, -1),
        (np.nan, 11.0, 500.0, 0),
        (48.0, 11.001, 510.0, 2),
    ]
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for i, (*geodetic, status) in enumerate(fixes):
            bag.add_navsatfix('/fix', geodetic, T0 + i * S, status=status)
    found = read(tmp_path / 'bag', '/fix')
    # 0.001 degree on the WGS 84 ellipsoid at 48 degrees north: 111.199 m north, 74.631 m east
    expected = [[0, 0, 0], [0, 111.199, 0], [74.631, 0, 10]]
    np.testing.assert_allclose(found.trajectory.positions, expected, atol=2e-3)
    assert np.isnan(found.trajectory.orientations_xyzw).all()
    assert found.skipped == {'without a fix': 1, 'not finite': 1}
    np.testing.assert_array_equal(found.origin, [48, 11, 500])
    moved = read(tmp_path / 'bag', '/fix', origin=[48.001, 11.0, 500.0])
    np.testing.assert_allclose(moved.trajectory.positions[1], [0, 0, 0], atol=1e-6)


def test_bad_poses_are_left_out_and_counted(tmp_path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_odometry('/odom', [0, 0, 0], [0, 0, 0, 1], T0)
        bag.add_odometry('/odom', [np.nan, 0, 0], [0, 0, 0, 1], T0 + S)
        bag.add_odometry('/odom', [1, 0, 0], [0, 0, 0, 2], T0 + 2 * S)
        bag.add_odometry('/odom', [2, 0, 0], [0, 0, 0, 0], T0 + 3 * S)
        bag.add_odometry('/odom', [3, 0, 0], [0, 0, 0, 1], T0 + 3 * S)
    found = read(tmp_path / 'bag', '/odom')
    np.testing.assert_array_equal(found.trajectory.positions[:, 0], [0, 2])
    assert np.isnan(found.trajectory.orientations_xyzw[1]).all(), 'all zero means: not set'
    assert found.skipped == {
        'not finite': 1,
        'without a unit quaternion': 1,
        'with a stamp seen before': 1,
    }


def test_overtaking_messages_are_sorted_and_a_jump_of_the_clock_is_refused(tmp_path) -> None:
    def add(bag: BagWriter, topic: str, recorded: int, stamp_ns: int, x: float) -> None:
        placed = pose([x, 0, 0], [0, 0, 0, 1])
        head = header(stamp_ns, 'map')
        bag.add_message(topic, POSE_STAMPED, T0 + recorded, header=head, pose=placed)

    with BagWriter(tmp_path / 'bag') as bag:
        for recorded, i in enumerate((0, 2, 1, 3)):
            add(bag, '/late', recorded, T0 + i * S // 10, i)
        for recorded, i in enumerate((0, 30, 0, 1)):
            add(bag, '/jump', recorded, T0 + i * S, i)
    np.testing.assert_array_equal(
        read(tmp_path / 'bag', '/late').trajectory.positions[:, 0], [0, 1, 2, 3]
    )
    with pytest.raises(SourceError, match=r'/jump jump back by 30\.0 s at message 2.*split'):
        read(tmp_path / 'bag', '/jump')


def test_whose_poses_they_are(tmp_path) -> None:
    where = ([0, 0, 0], TURN, T0)
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_odometry('/odom', *where)
        bag.add_odometry('/old', *where, frame_id='/world', child_frame_id='/robot')
        bag.add_pose_stamped('/pose', *where, frame_id='hall')
        bag.add_pose_with_covariance('/none', *where, frame_id='')
        bag.add_navsatfix('/fix', (48.0, 11.0, 500.0), T0)
    for topic, frame_id, body, said in (
        ('/odom', 'odom', 'base_link', '/odom has the poses of base_link in odom'),
        ('/old', 'world', 'robot', 'of robot in world'),
        ('/pose', 'hall', '', 'of a body that it does not name in hall'),
        ('/none', '', '', 'in a frame that it does not name'),
        ('/fix', '', 'gps', 'of gps in east, north, up'),
    ):
        found = read(tmp_path / 'bag', topic)
        assert (found.topic, found.frame_id, found.body_frame_id) == (topic, frame_id, body)
        assert said in found.describe()


def test_a_frame_that_changes_is_refused(tmp_path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for i in range(4):
            where = ([i, 0, 0], TURN, T0 + i * S)
            bag.add_odometry('/odom', *where, frame_id='odom' if i < 3 else 'map')
            bag.add_odometry('/two', *where, child_frame_id=f'robot_{i % 2}')
    with pytest.raises(
        SourceError, match=r"/odom mixes the frames 'odom' and 'map' .* 3 on.*split"
    ):
        read(tmp_path / 'bag', '/odom')
    with pytest.raises(SourceError, match=r"/two mixes the bodies 'robot_0' and 'robot_1'"):
        read(tmp_path / 'bag', '/two')


def test_no_usable_pose(tmp_path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_navsatfix('/fix', (48.0, 11.0, 500.0), T0, status=-1)
    with pytest.raises(SourceError, match=r'/fix has no usable pose.*1 without a fix'):
        read(tmp_path / 'bag', '/fix')


def test_bag_without_poses(tmp_path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_image('/image', np.zeros((4, 4, 3), np.uint8), T0, 'camera')
    with Bag(tmp_path / 'bag') as bag:
        assert bag.pose_topic() is None
