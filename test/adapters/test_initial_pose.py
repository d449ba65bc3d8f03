# SPDX-License-Identifier: Apache-2.0
"""The newest verified pose: which one, of what, and why there is none."""

import re

import numpy as np
import pytest

from vpr_ros.adapters.initial_pose import MapPose, VerifiedPoses, of_base
from vpr_ros.pose_graph.transforms import inverse, small_motion, transform

S = 10**9
TURNED = np.array([-0.5, 0.5, -0.5, 0.5])
BASE_FROM_CAMERA = transform(np.array([0.3, 0.1, 0.5]), TURNED)


def pose(stamp_ns, x=0.0):
    return MapPose(stamp_ns, 'map', transform(np.array([x, 0, 0]), TURNED), 1e-4 * np.eye(6))


def verified(*stamps, cameras=('',)):
    found = VerifiedPoses()
    for stamp in stamps:
        found.add_pose(pose(stamp, x=stamp / S))
        for camera in cameras:
            found.add_verified(stamp, 'map', camera)
    return found


def test_the_newest_that_was_verified_counts():
    found = verified(S, 2 * S)
    found.add_pose(pose(3 * S, x=9.0))  # of retrieval alone
    (best, camera), why = found.newest(3 * S, max_age_s=2)
    assert (best.stamp_ns, best.map_from_body[0, 3], camera, why) == (2 * S, 2.0, '', '')


def test_what_was_verified_against_another_map_says_nothing_of_this_one():
    """Mode both: of a picture that its own past verifies, the map's pose may be a mere guess."""
    found = verified(S, cameras=('left',))
    found.add_pose(pose(2 * S))
    found.add_verified(2 * S, 'odom', 'left')
    assert found.newest(2 * S, max_age_s=2)[0][0].stamp_ns == S


def test_pose_and_verdict_meet_in_either_order():
    found = VerifiedPoses()
    found.add_verified(S, 'map', '')
    assert 'their poses do not come' in found.newest(S, 2)[1]
    found.add_pose(pose(S))
    assert found.newest(S, 2)[0][0].stamp_ns == S


@pytest.mark.parametrize(
    ('found', 'now_ns', 'why'),
    [
        (VerifiedPoses(), S, 'no picture was verified'),
        (verified(S), 4 * S, '3.0 s old, more than max_age_s 2'),
        (verified(4 * S), S, '3.0 s ahead of the clock'),
        (verified(S, cameras=('left', 'right')), S, 'several cameras'),
    ],
)
def test_why_there_is_none(found, now_ns, why):
    best, said = found.newest(now_ns, max_age_s=2)
    assert best is None
    assert re.search(why, said), said


def test_two_poses_of_one_stamp_are_not_told_apart():
    found = verified(S)
    found.add_pose(pose(S, x=5.0))
    assert 'several cameras' in found.newest(S, 2)[1]


def test_a_pose_that_is_not_finite_is_not_sent():
    found = VerifiedPoses()
    found.add_verified(S, 'map', '')
    found.add_pose(MapPose(S, 'map', np.eye(4), np.full((6, 6), np.nan)))
    assert found.newest(S, 2) == (None, 'the newest verified pose is not finite')


def test_memory_is_bounded_and_can_be_cleared():
    found = verified(*(i * S for i in range(1, 1000)))
    assert len(found._poses) == len(found._cameras) == 200
    found.clear()
    assert found.newest(S, 2)[0] is None


def test_the_base_is_where_the_mounting_says():
    base = transform(np.array([4.0, 5.0, 0.0]), np.array([0, 0, np.sin(0.4), np.cos(0.4)]))
    seen = MapPose(S, 'map', base @ BASE_FROM_CAMERA, np.eye(6))
    moved = of_base(seen, BASE_FROM_CAMERA)
    assert moved.map_from_body == pytest.approx(base, abs=1e-12)
    assert (moved.stamp_ns, moved.frame_id) == (S, 'map')


def test_errors_of_rotation_move_the_base():
    """Drawn errors of the camera's pose spread the base as the covariance says."""
    rng = np.random.default_rng(0)
    root = rng.normal(0, 0.01, (6, 6))
    covariance = root @ root.T
    camera = pose(S).map_from_body
    moved = of_base(MapPose(S, 'map', camera, covariance), BASE_FROM_CAMERA)
    errors = []
    for _ in range(20000):
        error = root @ rng.normal(0, 1, 6)
        turn = small_motion(np.concatenate([error[3:], np.zeros(3)]))
        found = camera.copy()
        found[:3, :3] = turn[:3, :3] @ camera[:3, :3]
        found[:3, 3] += error[:3]
        base = found @ inverse(BASE_FROM_CAMERA)
        errors.append(np.concatenate([base[:3, 3] - moved.map_from_body[:3, 3], error[3:]]))
    assert np.cov(np.array(errors).T) == pytest.approx(moved.covariance, abs=2e-5)
    assert np.abs(moved.covariance - covariance).max() > 1e-4
