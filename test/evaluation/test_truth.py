# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from evaluation.made_runs import answer

from vpr_ros.errors import SourceError
from vpr_ros.evaluation.pairs import read_pairs
from vpr_ros.evaluation.truth import (
    PositivesByPose,
    Track,
    positives_by_order,
    track_of,
    truth_by_order,
    truth_by_pose,
    truth_by_references,
)
from vpr_ros.pose_lookup import PosesByTime
from vpr_ros.poses import Trajectory

NS = 1_000_000_000
UPRIGHT = np.tile([0, 0, 0, 1.0], (2, 1))


def yaw_quaternion(degrees):
    half = np.radians(degrees) / 2
    return np.array([0.0, 0.0, np.sin(half), np.cos(half)])


def track(xs, yaws=None):
    positions = np.zeros((len(xs), 3))
    positions[:, 0] = xs
    yaws = [0.0] * len(xs) if yaws is None else yaws
    return Track(positions, np.array([yaw_quaternion(yaw) for yaw in yaws]))


def test_positives_by_order():
    positives = positives_by_order(3, 5, 1)
    assert [list(rows) for rows in positives] == [[0, 1], [0, 1, 2], [1, 2, 3]]
    assert list(positives_by_order(8, 5, 1)[7]) == []
    with pytest.raises(ValueError, match='tolerance'):
        positives_by_order(1, 1, -1)


def test_positives_by_pose_agree_with_measuring_each():
    rng = np.random.default_rng(0)
    tracks = []
    for num in (40, 60):
        quaternions = rng.normal(size=(num, 4))
        quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
        tracks.append(Track(rng.uniform(0, 10, (num, 3)), quaternions))
    found = PositivesByPose(*tracks, within_m=5.0, within_deg=90.0)
    assert sum(map(len, found)) > 50
    for query, rows in enumerate(found):
        expected = []
        for row in range(60):
            apart = np.linalg.norm(tracks[0].positions[query] - tracks[1].positions[row])
            dot = abs(tracks[0].orientations_xyzw[query] @ tracks[1].orientations_xyzw[row])
            if apart <= 5.0 and np.degrees(2 * np.arccos(min(dot, 1))) <= 90.0:
                expected.append(row)
        assert rows.tolist() == expected


def test_positives_need_both_distance_and_angle():
    places = Track(
        np.array([[0.0, 0, 0], [7.9, 0, 0], [8.1, 0, 0], [1.0, 0, 0]]),
        np.array([yaw_quaternion(d) for d in (0, 29, 0, 31)]),
    )
    query = Track(np.zeros((1, 3)), yaw_quaternion(0)[None])
    (rows,) = PositivesByPose(query, places, within_m=8.0, within_deg=30.0)
    assert rows.tolist() == [0, 1]


def test_a_quaternion_and_its_negative_are_one_orientation():
    places = Track(np.zeros((1, 3)), -yaw_quaternion(10)[None])
    query = Track(np.zeros((1, 3)), yaw_quaternion(10)[None])
    (rows,) = PositivesByPose(query, places, within_m=1.0, within_deg=5.0)
    assert rows.tolist() == [0]


def test_an_unknown_orientation_is_not_compared_but_an_unknown_position_matches_nothing():
    places = Track(np.array([[0.0, 0, 0], [np.nan] * 3]), np.full((2, 4), np.nan))
    query = Track(np.zeros((1, 3)), yaw_quaternion(0)[None])
    (rows,) = PositivesByPose(query, places, within_m=1.0, within_deg=5.0)
    assert rows.tolist() == [0]


def test_a_picture_taken_nobody_knows_where_has_no_truth():
    places = Track(np.zeros((1, 3)), yaw_quaternion(0)[None])
    query = Track(np.array([[np.nan] * 3, [0.0, 0, 0]]), np.full((2, 4), np.nan))
    unknown, known = PositivesByPose(query, places, within_m=1.0, within_deg=5.0)
    assert unknown is None
    assert known.tolist() == [0]


def test_places_without_a_position_are_never_right():
    places = track([0.0, 0.0])
    places.positions[0] = np.nan
    (rows,) = PositivesByPose(track([0.0]), places, within_m=1, within_deg=30)
    assert rows.tolist() == [1]


def test_heights_of_gnss_are_not_compared():
    high = track([0.0])
    high.positions[0, 2] = 40.0
    truth = truth_by_pose(high, track([0.0]), within_m=5, within_deg=30, horizontal=True)
    assert truth.positives[0].tolist() == [0] and 'on the horizontal' in truth.rule
    with pytest.raises(SourceError):
        truth_by_pose(high, track([0.0]), within_m=5, within_deg=30)


def test_a_growing_map_has_only_what_it_had():
    truth = truth_by_pose(
        track([0, 5, 0, 5]), track([0, 5]), within_m=1, within_deg=30,
        searched=np.array([0, 0, 1, 1]),
    )  # fmt: skip
    assert [rows.tolist() for rows in truth.positives] == [[], [], [0], []]
    assert truth.asks_only_mapped


def test_nothing_near_names_both_extents():
    with pytest.raises(SourceError, match=r'x 0\.0 to 1\.0 m.*x 50\.0 to 60\.0 m.*one frame'):
        truth_by_pose(track([0, 1]), track([50, 60]), within_m=5, within_deg=30)


def test_poses_of_another_time_name_both_spans():
    poses = PosesByTime(
        Trajectory(
            np.array([100, 101]) * NS, np.zeros((2, 3)), np.tile(yaw_quaternion(0), (2, 1))
        ),
        max_gap_s=1.5,
    )
    pictures = [answer(i) for i in range(3)]
    with pytest.raises(
        SourceError,
        match=r'none of the 3 .*from 100\.000 s to 101\.000 s, the '
        r'pictures from 0\.000 s to 2\.000 s.*--time-offset',
    ):
        track_of(pictures, poses)


def test_a_time_offset_shifts_the_poses():
    trajectory = Trajectory(
        np.array([100, 102]) * NS, np.array([[0, 0, 0], [4.0, 0, 0]]),
        np.tile(yaw_quaternion(0), (2, 1)),
    )  # fmt: skip
    poses = PosesByTime(trajectory, max_gap_s=5, time_offset_s=100)
    found = track_of([answer(i) for i in range(4)], poses)
    np.testing.assert_allclose(found.positions[:3, 0], [0, 2, 4])
    assert np.isnan(found.positions[3]).all()


def test_references_that_became_no_place_are_not_right():
    truth = truth_by_order([0, 1, 2], np.array([0, -1, 1]), tolerance=1)
    assert [rows.tolist() for rows in truth.positives] == [[0], [0, 1], [1]]
    begun_later = truth_by_order([2], np.array([0, -1, 1]), tolerance=0)
    assert begun_later.positives[0].tolist() == [1]
    truth = truth_by_references([np.array([2, 0]), None], np.array([0, -1, 1]), 'a rule')
    assert truth.positives[0].tolist() == [0, 1] and truth.positives[1] is None


def test_pairs_of_pictures(tmp_path):
    path = tmp_path / 'pairs.csv'
    path.write_text('query,reference\nq1,r2\nq1,r0\nq2,\n')
    found = read_pairs(path, ['q0', 'q1', 'q2'], ['r0', 'r1', 'r2', 'r3'], tolerance=1)
    assert found[0] is None
    assert found[1].tolist() == [0, 1, 2, 3] and found[2].tolist() == []


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a,b\n', 'columns query, reference; it has a, b'),
        ('', 'it has nothing'),
        ('query,reference\n', 'names no pair'),
        ('query,reference\nq0\n', 'line 2: 1 values, not 2'),
        ('query,reference\nq0,r9\n', r"line 2: no picture is called 'r9' \(such as r0\)"),
        ('query,reference\nq0,r0\nq7,r0\n', "line 3: no picture is called 'q7'"),
    ],
)
def test_pairs_that_do_not_fit(tmp_path, text, message):
    path = tmp_path / 'pairs.csv'
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_pairs(path, ['q0'], ['r0'], tolerance=0)
