# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from evaluation.made_runs import answer, dropped

from vpr_ros.evaluation.outcomes import DROPPED, Verdict, judge
from vpr_ros.evaluation.truth import Track, Truth
from vpr_ros.recognizer import Status

IDENTITY = np.array([0, 0, 0, 1.0])


def truth(*positives, track=None):
    return Truth(
        'a rule', tuple(None if p is None else np.array(p, int) for p in positives), track
    )


def test_each_kind_of_answer_has_its_verdict():
    answers = [
        answer(0, (3, 0.9), (4, 0.8)),
        answer(1, (9, 0.9), (4, 0.8)),
        answer(2, (3, 0.2), status=Status.REJECTED),
        answer(3, (3, 0.2), status=Status.REJECTED),
        answer(4, (3, 0.9)),
        dropped(5),
        answer(6, (3, 0.9)),
    ]
    outcomes = judge(answers, truth([3], [3, 4], [3], [], None, [3], []))
    assert outcomes.verdicts() == [
        Verdict.RIGHT,
        Verdict.WRONG,
        Verdict.MISSED,
        Verdict.UNMAPPED,
        Verdict.UNJUDGED,
        Verdict.DROPPED,
        Verdict.WRONG,  # accepted where the map has no such place
    ]
    assert outcomes.rank.tolist() == [1, 2, 1, 0, 0, 0, 0]
    assert outcomes.status[5] == DROPPED and np.isnan(outcomes.latency_s[5])
    assert outcomes.mapped.tolist() == [True, True, True, False, False, True, False]


def test_without_truth_nothing_is_judged():
    outcomes = judge([answer(0, (3, 0.9)), answer(1)], None)
    assert not outcomes.judged.any()
    assert outcomes.verdicts() == [Verdict.UNJUDGED] * 2
    assert np.isnan(outcomes.similarity[1])


def test_pose_errors_are_metres_and_degrees():
    half = np.radians(30) / 2
    turned = np.array([0, 0, np.sin(half), np.cos(half)])
    track = Track(np.array([[3.0, 4, 0], [np.nan] * 3]), np.array([turned, [np.nan] * 4]))
    answers = [answer(0, (1, 0.9), position=(0, 0, 0)), answer(1, (1, 0.9), position=(0, 0, 0))]
    outcomes = judge(answers, truth([1], None, track=track))
    assert outcomes.position_error_m[0] == pytest.approx(5)
    assert outcomes.angle_error_deg[0] == pytest.approx(30)
    assert np.isnan(outcomes.position_error_m[1]) and np.isnan(outcomes.angle_error_deg[1])


def test_errors_of_poses_agree_with_evo():
    from evo.core import metrics
    from evo.core.trajectory import PosePath3D

    rng = np.random.default_rng(3)
    poses = []
    for _ in range(2):
        quaternions = rng.normal(size=(50, 4))
        quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
        poses.append((rng.normal(size=(50, 3)) * 4, quaternions))
    (true_xyz, true_q), (xyz, q) = poses
    answers = []
    for i in range(50):
        made = answer(i, (0, 0.9), position=xyz[i])
        made.recognition.pose.orientation_xyzw[:] = q[i]
        answers.append(made)
    outcomes = judge(answers, truth(*[[0]] * 50, track=Track(true_xyz, true_q)))

    def path(positions, quaternions):
        return PosePath3D(positions, np.roll(quaternions, 1, axis=1))  # evo: w first

    for relation, errors in (
        (metrics.PoseRelation.translation_part, outcomes.position_error_m),
        (metrics.PoseRelation.rotation_angle_deg, outcomes.angle_error_deg),
    ):
        ape = metrics.APE(relation)
        ape.process_data((path(true_xyz, true_q), path(xyz, q)))
        np.testing.assert_allclose(errors, ape.error, atol=1e-6)
        from vpr_ros.evaluation.scores import error_numbers

        ours, theirs = error_numbers('e', errors), ape.get_all_statistics()
        for name in ('rmse', 'median', 'max'):
            assert ours[f'e.{name}'] == pytest.approx(theirs[name], abs=1e-6)


def test_answers_and_truth_must_be_of_one_run():
    with pytest.raises(ValueError, match='1 pictures were answered, truth is of 2'):
        judge([answer(0)], truth([1], [1]))
