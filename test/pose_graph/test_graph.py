# SPDX-License-Identifier: Apache-2.0
"""The pose graph: what is optimised, what is believed, and what it says when it is not."""

import logging
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pose_graph.drives import UPRIGHT, S, closure, drive, pose_of, rms_m, seen_by, square

from vpr_ros.pose_graph.closure import Closure, Kind, Outcome
from vpr_ros.pose_graph.graph import PoseGraph, PoseGraphConfig
from vpr_ros.pose_graph.odometry import OdometryNoise
from vpr_ros.pose_graph.optimizer import ClosureNoise
from vpr_ros.pose_graph.transforms import inverse, small_motion, transform

gtsam = pytest.importorskip('gtsam', reason='pip install -r requirements/slam.txt')

TURN_ERROR = 0.02  # rad at every corner: after two laps the run ends 0.6 m off
TRUTH = square()
DRIFTED = square(turn_error=TURN_ERROR)
LAP = len(TRUTH) // 2
# Where cameras sit on the body.
AHEAD = transform(np.array([0.0, 0.0, 0.5]), np.array([-0.5, 0.5, -0.5, 0.5]))
LEFT = transform(np.array([1.0, 0.2, 0.5]), np.array([1.0, 0.0, 0.0, -1.0]) / np.sqrt(2))


def outcomes(graph):
    return {i: d.outcome for i, d in graph.decisions.items()}


def line(length=5, *, y=0.0):
    stamps = (1 + np.arange(length)) * S
    return [(int(s), np.array([float(i), y, 0.0]), UPRIGHT) for i, s in enumerate(stamps)]


# --- what is optimised


def test_one_closure_on_a_line_moves_the_end_as_the_closed_form_says():
    noise = OdometryNoise(0.05, 0.02, 0, 0, 0)
    graph = PoseGraph(PoseGraphConfig(odometry=noise, closure=ClosureNoise(translation=1e-4)))
    for pose in line():
        graph.add_odometry(*pose)
    said = transform(np.array([4.2, 0, 0]), UPRIGHT)
    graph.add_closure(Closure(5 * S, S, Kind.METRIC, said, np.diag([0.08**2] * 3 + [1e-4] * 3)))
    graph.update()
    odometry, closing = 4 * 0.05**2, 0.08**2 + 1e-8
    expected = 4 + 0.2 * odometry / (odometry + closing)
    x = graph.trajectory().positions[:, 0]
    assert x == pytest.approx(np.linspace(0, expected, 5), abs=1e-6)
    assert graph.decisions[0].chi2 == pytest.approx(0.2**2 / (odometry + closing), rel=1e-4)


def test_incremental_result_is_the_batch_optimum():
    graph = PoseGraph()
    edges = [(LAP + i, i) for i in range(0, LAP, 5)]
    rng = np.random.default_rng(0)
    for i in range(len(DRIFTED)):
        graph.add_odometry(
            int(DRIFTED.stamps_ns[i]), DRIFTED.positions[i], DRIFTED.orientations_xyzw[i]
        )
        for query, match in edges:
            if query == i:
                off = small_motion(rng.normal(0, 0.01, 6))
                graph.add_closure(closure(TRUTH, query, match, wrong=off))
        graph.update()
    assert set(outcomes(graph).values()) == {Outcome.ACCEPTED}
    factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    factors.add(
        gtsam.PriorFactorPose3(0, gtsam.Pose3(), gtsam.noiseModel.Isotropic.Sigma(6, 1e-4))
    )
    odometry = graph.odometry()
    for i in range(len(odometry)):
        values.insert(i, gtsam.Pose3(pose_of(odometry, i)))
    for first, second, measured, covariance in [*graph.links(), *graph.closures()]:
        noise = gtsam.noiseModel.Gaussian.Covariance(covariance)
        factors.add(gtsam.BetweenFactorPose3(first, second, gtsam.Pose3(measured), noise))
    params = gtsam.LevenbergMarquardtParams()
    params.setRelativeErrorTol(1e-12)
    best = gtsam.LevenbergMarquardtOptimizer(factors, values, params).optimize()
    batch = np.array([best.atPose3(i).translation() for i in range(len(graph.nodes))])
    assert graph.trajectory().positions == pytest.approx(batch, abs=2e-3)


def test_drift_is_taken_away():
    graph = PoseGraph()
    drive(graph, DRIFTED)
    for i in range(0, LAP, 4):
        graph.add_closure(closure(TRUTH, LAP + i, i))
    graph.update()
    before, after = rms_m(TRUTH, graph.odometry()), rms_m(TRUTH, graph.trajectory())
    assert before > 0.2
    assert after < 0.3 * before


def test_map_from_odom_takes_the_newest_pose_to_the_corrected_one():
    graph = PoseGraph()
    assert np.array_equal(graph.map_from_odom, np.eye(4))
    drive(graph, DRIFTED)
    graph.update()
    assert graph.map_from_odom == pytest.approx(np.eye(4), abs=1e-6)
    graph.add_closure(closure(TRUTH, len(TRUTH) - 1, 0))
    graph.update()
    odom_from_base = pose_of(graph.odometry(), -1)
    found = graph.map_from_odom @ odom_from_base
    assert found == pytest.approx(pose_of(graph.trajectory(), -1), abs=1e-9)
    assert np.linalg.norm(found[:3, 3] - TRUTH.positions[-1]) < 0.05


def test_the_first_odometry_pose_need_not_be_zero():
    graph = PoseGraph()
    for stamp, position, quaternion in line():
        graph.add_odometry(stamp, position + np.array([4e5, 5e6, 80]), quaternion)
    graph.add_closure(
        Closure(5 * S, S, Kind.METRIC, transform(np.array([4.1, 0, 0]), UPRIGHT), np.eye(6) * 1e-4)
    )
    graph.update()
    (x, y, z) = graph.trajectory().positions[-1]
    assert (y, z) == pytest.approx((5_000_000, 80), abs=1e-6)
    assert x == pytest.approx(400_004.1, abs=0.02)


def test_the_camera_may_sit_anywhere_on_the_body():
    """Camera closures of a camera looking left, one metre ahead, correct the body's path."""
    graph = PoseGraph()
    drive(graph, DRIFTED)
    for i in range(0, LAP, 4):
        graph.add_closure(seen_by(closure(TRUTH, LAP + i, i), LEFT))
    graph.update()
    assert set(outcomes(graph).values()) == {Outcome.ACCEPTED}
    assert rms_m(TRUTH, graph.trajectory()) < 0.3 * rms_m(TRUTH, graph.odometry())


@pytest.mark.parametrize('kind', [Kind.METRIC, Kind.DIRECTION])
def test_one_camera_may_recognise_what_another_saw(kind):
    """The one looks ahead, the other, a metre off, to the left."""
    graphs = []
    for mounted in ((AHEAD, LEFT), (AHEAD, AHEAD)):  # as it is, and as if one camera saw both
        graph = PoseGraph()
        drive(graph, DRIFTED)
        for i in range(0, LAP, 4):
            made = seen_by(closure(TRUTH, LAP + i, i), AHEAD, LEFT)
            if kind is Kind.DIRECTION:
                made.match_from_query[:3, 3] /= np.linalg.norm(made.match_from_query[:3, 3])
            by_match, by_query = mounted
            said = replace(made, kind=kind, base_from_match=by_match, base_from_query=by_query)
            graph.add_closure(said)
        graph.update()
        graphs.append(graph)
    right, wrong = graphs
    assert set(outcomes(right).values()) == {Outcome.ACCEPTED}
    share = 0.3 if kind is Kind.METRIC else 0.6
    assert rms_m(TRUTH, right.trajectory()) < share * rms_m(TRUTH, right.odometry())
    assert rms_m(TRUTH, wrong.trajectory()) > 2 * rms_m(TRUTH, right.trajectory())


# --- what is believed


def test_the_nth_closure_to_one_picture_counts_an_nth():
    """They err together: pictures of a robot that stands must not outvote the rest."""
    noise = OdometryNoise(0.05, 0.02, 0, 0, 0)
    closing = 0.08**2
    said = transform(np.array([4.2, 0, 0]), UPRIGHT)
    ends = []
    for count in (1, 15):
        graph = PoseGraph(PoseGraphConfig(odometry=noise, closure=ClosureNoise(translation=1e-4)))
        for pose in line():
            graph.add_odometry(*pose)
        for n in (1, 2, 3, 4):  # it stands from second 5 on
            graph.add_odometry(5 * S + n * S // 4, np.array([4.0, 0, 0]), UPRIGHT)
        covariance = np.diag([closing] * 3 + [1e-4] * 3)
        for n in range(count):
            stamp_ns = 5 * S + n * S // 40
            graph.add_closure(Closure(stamp_ns, S, Kind.METRIC, said, covariance))
        graph.update()
        assert set(outcomes(graph).values()) == {Outcome.ACCEPTED}
        ends.append(graph.trajectory().positions[-1, 0])
    odometry = 4 * 0.05**2
    together = closing / sum(1 / n for n in range(1, 16))
    assert ends[0] == pytest.approx(4 + 0.2 * odometry / (odometry + closing), abs=1e-3)
    assert ends[1] == pytest.approx(4 + 0.2 * odometry / (odometry + together), abs=5e-3)


def test_a_robot_that_stands_adds_no_closures_without_end():
    graph = PoseGraph()
    drive(graph, TRUTH)
    end = len(TRUTH) - 1
    stamp_ns = int(TRUTH.stamps_ns[end])
    back = closure(TRUTH, end, 0)
    for n in range(1, 101):
        graph.add_odometry(
            stamp_ns + n * S // 10, TRUTH.positions[end], TRUTH.orientations_xyzw[end]
        )
        graph.add_closure(replace(back, query_stamp_ns=stamp_ns + n * S // 10))
        if n > 50:
            graph.update()
    counts = Counter(outcomes(graph).values())
    assert counts == {Outcome.ACCEPTED: 20, Outcome.REDUNDANT: 80}
    assert len(graph.nodes) == len(TRUTH) + 20
    assert {d.code for d in graph.decisions.values()} == {'', 'redundant'}
    off = transform(np.array([0.5, 0, 0]), UPRIGHT)
    wrong = replace(closure(TRUTH, end, 0, wrong=off), query_stamp_ns=stamp_ns + 10 * S)
    other = closure(TRUTH, end - 2, 6)
    ids = [graph.add_closure(wrong), graph.add_closure(other)]
    graph.update()
    found = [graph.decisions[i].outcome for i in ids]
    assert found == [Outcome.REJECTED, Outcome.ACCEPTED]


def test_wrong_closures_are_rejected_with_a_reason():
    graph = PoseGraph()
    drive(graph, DRIFTED)
    right = [graph.add_closure(closure(TRUTH, LAP + i, i)) for i in range(0, LAP, 3)]
    gross = graph.add_closure(
        closure(TRUTH, LAP + 2, 2, wrong=transform(np.array([4.0, 3, 0]), UPRIGHT))
    )
    subtle = graph.add_closure(
        closure(TRUTH, LAP + 4, 4, wrong=transform(np.array([0.3, 0, 0]), UPRIGHT))
    )
    graph.settle()
    assert {i: outcomes(graph)[i] for i in right} == dict.fromkeys(right, Outcome.ACCEPTED)
    assert graph.decisions[gross].outcome is Outcome.REJECTED
    assert graph.decisions[gross].code == 'against_odometry'
    assert graph.decisions[gross].chi2 > 30
    assert graph.decisions[subtle].outcome is Outcome.REJECTED
    assert graph.decisions[subtle].code == 'against_closures'
    assert 'weight 0.00' in graph.decisions[subtle].reason
    assert graph.decisions[subtle].chi2 > 22
    assert rms_m(TRUTH, graph.trajectory()) < 0.3 * rms_m(TRUTH, graph.odometry())


def test_a_wrong_closure_that_came_first_is_taken_back():
    graph = PoseGraph()
    drive(graph, DRIFTED)
    wrong = graph.add_closure(
        closure(TRUTH, LAP + 4, 4, wrong=transform(np.array([0.5, 0, 0]), UPRIGHT))
    )
    assert [d.outcome for d in graph.update()] == [Outcome.ACCEPTED]
    right = [graph.add_closure(closure(TRUTH, LAP + i, i)) for i in range(0, LAP, 4)]
    changed = {d.closure_id for d in graph.update()}
    assert changed == {wrong, *right}
    assert graph.decisions[wrong].outcome is Outcome.REJECTED
    assert 'later closures agree with each other' in graph.decisions[wrong].reason
    assert all(outcomes(graph)[i] is Outcome.ACCEPTED for i in right)


def test_a_closure_that_was_taken_back_no_longer_lowers_the_weight_of_others():
    graph = PoseGraph()
    drive(graph, DRIFTED)
    off = transform(np.array([0.5, 0, 0]), UPRIGHT)
    graph.add_closure(closure(TRUTH, LAP + 5, 4, wrong=off))
    graph.update()
    for i in range(0, LAP, 3):
        graph.add_closure(closure(TRUTH, LAP + i, i))
    graph.update()
    assert graph.decisions[0].outcome is Outcome.REJECTED
    last = graph.add_closure(closure(TRUTH, LAP + 4, 4))
    graph.update()
    assert outcomes(graph)[last] is Outcome.ACCEPTED
    *_, covariance = graph.closures()[-1]
    noise = graph.config.closure
    expected = np.repeat([1e-4 + noise.rotation**2, 1e-4 + noise.translation**2], 3)
    assert np.diag(covariance) == pytest.approx(expected)


def test_decisions_do_not_depend_on_the_order_of_closures():
    rng = np.random.default_rng(3)
    made = [closure(TRUTH, LAP + i, i) for i in range(0, LAP, 3)]
    made += [
        closure(TRUTH, LAP + i, i, wrong=small_motion(np.r_[rng.normal(0, 0.3, 3), [0.4, 0, 0]]))
        for i in range(1, LAP, 9)
    ]
    found = []
    for order in (range(len(made)), rng.permutation(len(made)).tolist()):
        graph = PoseGraph()
        drive(graph, DRIFTED)
        ids = {}
        for number in order:
            ids[graph.add_closure(made[number])] = number
            graph.update()
        graph.settle()
        found.append({ids[i] for i, o in outcomes(graph).items() if o is Outcome.ACCEPTED})
    assert found[0] == found[1] == set(range(len(range(0, LAP, 3))))


def test_directions_correct_the_path_without_a_scale():
    """A camera a little to the side of its own first lap, so that there is a baseline."""
    aside = transform(np.array([0.0, 0.5, 0.0]), UPRIGHT)
    shifted = [pose_of(TRUTH, i) @ aside for i in range(LAP, len(TRUTH))]
    graph = PoseGraph()
    drive(graph, DRIFTED)
    # the second lap drives beside the first: only rotation and direction say so
    for i in range(0, LAP, 2):
        there = inverse(pose_of(TRUTH, i)) @ shifted[i]
        there[:3, 3] /= np.linalg.norm(there[:3, 3])
        stamps = int(TRUTH.stamps_ns[LAP + i]), int(TRUTH.stamps_ns[i])
        graph.add_closure(Closure(*stamps, Kind.DIRECTION, there, np.eye(6) * 1e-4))
    graph.update()
    headings = [
        np.arctan2(2 * q[3] * q[2], 1 - 2 * q[2] ** 2)
        for q in (graph.trajectory().orientations_xyzw[-1], TRUTH.orientations_xyzw[-1])
    ]
    drift = DRIFTED.orientations_xyzw[-1]
    before = abs(np.arctan2(2 * drift[3] * drift[2], 1 - 2 * drift[2] ** 2) - headings[1])
    assert before > 0.1
    assert abs(headings[0] - headings[1]) < 0.03
    assert sum(o is Outcome.ACCEPTED for o in outcomes(graph).values()) >= LAP // 2 - 1


@pytest.mark.parametrize('length', [0.01, 0.5, 50.0])
def test_a_direction_says_nothing_of_the_length(length):
    """Two cameras of which one is `length` ahead: the direction fits, however far it is."""
    graph = PoseGraph(PoseGraphConfig(keyframe_distance_m=0.001))
    graph.add_odometry(S, np.zeros(3), UPRIGHT)
    graph.add_odometry(2 * S, np.array([length, 0, 0]), UPRIGHT)
    said = transform(np.array([1.0, 0, 0]), UPRIGHT)
    graph.add_closure(Closure(2 * S, S, Kind.DIRECTION, said, np.eye(6) * 1e-4))
    (decision,) = graph.update()
    assert decision.outcome is Outcome.ACCEPTED
    assert decision.chi2 == pytest.approx(0, abs=0.01)
    assert graph.trajectory().positions[-1] == pytest.approx([length, 0, 0], abs=1e-4)


def test_a_direction_without_a_baseline_is_a_rotation():
    graph = PoseGraph()
    drive(graph, TRUTH)
    back = closure(TRUTH, len(TRUTH) - 1, 0)
    said = back.match_from_query.copy()
    said[:3, 3] = [1, 0, 0]
    graph.add_closure(replace(back, kind=Kind.DIRECTION, match_from_query=said))
    (decision,) = graph.update()
    assert decision.outcome is Outcome.ACCEPTED
    assert np.isfinite(graph.trajectory().positions).all()


def test_a_place_pulls_softly():
    graph = PoseGraph(PoseGraphConfig(odometry=OdometryNoise(translation=1.0)))
    for pose in line(10):
        graph.add_odometry(*pose)
    graph.add_closure(Closure(10 * S, S, Kind.PLACE, np.eye(4), np.eye(6)))
    (decision,) = graph.update()
    assert decision.outcome is Outcome.ACCEPTED
    x = graph.trajectory().positions[-1, 0]
    assert x == pytest.approx(9 * (1 - 9 / (9 + 2.0**2)), abs=0.01)


# --- stamps


def test_a_stamp_between_keyframes_gets_a_node_of_its_own():
    graph = PoseGraph(PoseGraphConfig(keyframe_distance_m=1.9, max_odom_gap_s=2.0))
    for pose in line(9):
        graph.add_odometry(*pose)
    graph.update()
    assert len(graph.nodes) == 5
    said = transform(np.array([6.0, 0, 0]), UPRIGHT)
    at = 7 * S + S // 4, S + S // 4
    graph.add_closure(Closure(*at, Kind.METRIC, said, np.eye(6) * 1e-4))
    graph.add_closure(Closure(*at, Kind.METRIC, said, np.eye(6) * 1e-4))
    graph.update()
    assert len(graph.nodes) == 7  # one for each stamp, not for each closure
    run = graph.trajectory()
    positions = run.positions[np.isin(run.stamps_ns, at), 0]
    assert positions == pytest.approx([0.25, 6.25], abs=1e-6)
    assert len(graph.links()) == 6
    assert all(np.linalg.eigvalsh(c)[0] > 0 for *_, c in graph.links())


def test_a_parted_link_is_as_uncertain_as_the_whole():
    graph = PoseGraph(PoseGraphConfig(keyframe_distance_m=1.9))
    for pose in line(3):
        graph.add_odometry(*pose)
    ((*_, whole),) = graph.links()
    graph.add_closure(Closure(2 * S, S, Kind.METRIC, pose_of_x(1.0), np.eye(6) * 1e-4))
    graph.update()
    first, second = (c for *_, c in graph.links())
    assert first[3, 3] + second[3, 3] == pytest.approx(whole[3, 3], rel=1e-6)


def pose_of_x(x):
    return transform(np.array([x, 0, 0]), UPRIGHT)


def test_a_closure_before_odometry_waits_for_it():
    graph = PoseGraph()
    graph.add_closure(closure(TRUTH, len(TRUTH) - 1, 0))
    (decision,) = graph.update()
    assert (decision.outcome, decision.code) == (Outcome.WAITING, 'no_odometry')
    drive(graph, TRUTH)
    (decision,) = graph.update()
    assert decision.outcome is Outcome.ACCEPTED


def test_closures_and_odometry_out_of_order():
    graph = PoseGraph()
    drive(graph, TRUTH)
    late = int(TRUTH.stamps_ns[-1]) - S // 2 - 1
    graph.add_odometry(late, np.array([90.0, 0, 0]), UPRIGHT)
    assert graph.num_late == 1
    for i in (8, 0, 4):
        graph.add_closure(closure(TRUTH, LAP + i, i))
        graph.add_closure(closure(TRUTH, i, LAP + i))  # the match may be the later picture
    graph.update()
    assert set(outcomes(graph).values()) == {Outcome.ACCEPTED}
    assert graph.num_resets == 0


@pytest.mark.parametrize(
    ('query_s', 'match_s', 'code'),
    [
        (3.0, -50.0, 'before_odometry'),
        (3.0, 0.9, 'before_odometry'),
        (500.0, 1.0, 'ahead_of_odometry'),
        (3.0, 500.0, 'ahead_of_odometry'),
        (3.0, 3.0, 'same_picture'),
        (7.5, 1.0, 'odometry_gap'),
    ],
)
def test_stamps_that_odometry_does_not_know_are_rejected(query_s, match_s, code):
    graph = PoseGraph()
    for i in range(60):
        graph.add_odometry(S + i * S // 10, np.array([0.1 * i, 0, 0]), UPRIGHT)
    graph.add_odometry(8 * S, np.array([7.0, 0, 0]), UPRIGHT)
    graph.add_closure(
        Closure(int(query_s * S), int(match_s * S), Kind.METRIC, np.eye(4), np.eye(6) * 0.01)
    )
    (decision,) = graph.update()
    assert (decision.outcome, decision.code) == (Outcome.REJECTED, code), decision.reason


def test_a_stamp_within_the_tolerance_is_taken_for_the_first_pose():
    graph = PoseGraph()
    for pose in line():
        graph.add_odometry(*pose)
    early = S - S // 25
    graph.add_closure(Closure(5 * S, early, Kind.METRIC, pose_of_x(4.0), np.eye(6) * 1e-4))
    (decision,) = graph.update()
    assert decision.outcome is Outcome.ACCEPTED
    assert graph.nodes[0].stamp_ns == S


def test_a_clock_that_jumps_back_begins_a_new_run(caplog):
    graph = PoseGraph()
    drive(graph, TRUTH)
    graph.add_closure(closure(TRUTH, LAP, 0))
    graph.update()
    with caplog.at_level(logging.WARNING):
        drive(graph, TRUTH)
    assert 'odometry stamps jumped back by 32.' in caplog.text
    assert graph.num_resets == 1
    assert graph.decisions == {}
    next_id = graph.add_closure(closure(TRUTH, LAP, 0))
    graph.update()
    assert next_id == 1
    assert outcomes(graph) == {1: Outcome.ACCEPTED}


def test_a_jump_of_odometry_is_not_believed(caplog):
    """The robot was carried off by the odometry, not in truth: one closure puts it right."""
    graph = PoseGraph()
    with caplog.at_level(logging.WARNING):
        for i in range(20):
            jump = 1000.0 if i >= 10 else 0.0
            graph.add_odometry((1 + i) * S, np.array([i + jump, 0, 0]), UPRIGHT)
    assert 'odometry jumped before 11.000 s' in caplog.text
    graph.add_closure(Closure(20 * S, S, Kind.METRIC, pose_of_x(19.0), np.eye(6) * 1e-4))
    graph.update()
    assert outcomes(graph) == {0: Outcome.ACCEPTED}
    assert graph.trajectory().positions[-1] == pytest.approx([19, 0, 0], abs=0.1)


# --- what is wrong


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'covariance': np.zeros((6, 6))}, 'its covariance is none'),
        ({'covariance': -np.eye(6)}, 'smallest eigenvalue -1'),
        ({'match_from_query': np.full((4, 4), np.nan)}, 'not finite'),
        ({'kind': Kind.DIRECTION, 'match_from_query': pose_of_x(3.0)}, 'length 3 instead of 1'),
    ],
)
def test_malformed_closures_are_rejected(change, words):
    graph = PoseGraph()
    drive(graph, TRUTH)
    graph.add_closure(replace(closure(TRUTH, LAP, 0), **change))
    (decision,) = graph.update()
    assert (decision.outcome, decision.code) == (Outcome.REJECTED, 'malformed')
    assert words in decision.reason


@pytest.mark.parametrize(
    ('position', 'quaternion'), [([np.nan, 0, 0], UPRIGHT), ([0, 0, 0], np.zeros(4))]
)
def test_odometry_that_is_no_pose_is_an_error_that_shows_it(position, quaternion):
    with pytest.raises(ValueError, match='is no pose: a value is not finite, or'):
        PoseGraph().add_odometry(S, np.array(position, float), quaternion)


def test_without_gtsam_the_error_names_the_command():
    program = (
        'import sys; sys.modules["gtsam"] = None\n'
        'from vpr_ros.errors import PoseGraphError\n'
        'from vpr_ros.pose_graph.graph import PoseGraph\n'
        'try:\n'
        '    PoseGraph()\n'
        'except PoseGraphError as error:\n'
        '    print(error)\n'
    )
    output = subprocess.check_output([sys.executable, '-c', program], text=True)
    assert 'pip install -r requirements/slam.txt' in output
