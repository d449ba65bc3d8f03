# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from evaluation.made_runs import NS, answer, dropped, random_outcomes

from vpr_ros.evaluation.outcomes import judge
from vpr_ros.evaluation.scores import (
    INTERVALS_OF,
    coverage,
    finite,
    intervals,
    number_names,
    numbers,
    recall_at,
    resamples,
    segments,
    stages,
)
from vpr_ros.evaluation.truth import Truth
from vpr_ros.recognizer import Status

REJECTED = Status.REJECTED


def run_of(answers, *positives):
    rows = tuple(None if p is None else np.array(p, int) for p in positives)
    return judge(answers, Truth('a rule', rows))


def test_recall_asks_what_was_answered_and_judged():
    outcomes = run_of(
        [answer(0, (1, 0.9)), answer(1, (5, 0.9), (1, 0.8)), answer(2, (5, 0.9)), answer(3)],
        [1], [1], [], None,
    )  # fmt: skip
    assert recall_at(outcomes, only_mapped=False) == pytest.approx(
        {1: 1 / 3, 5: 2 / 3, 10: 2 / 3, 20: 2 / 3}
    )
    assert recall_at(outcomes, only_mapped=True)[1] == 0.5
    outcomes = run_of([answer(0, (1, 0.9)), dropped(1)], [1], [1])
    assert recall_at(outcomes, only_mapped=False)[1] == 1.0  # what was dropped is told apart
    assert np.isnan(recall_at(judge([answer(0)], None), only_mapped=False)[1])


def test_every_stage_that_was_reached_is_judged():
    answers = [
        answer(0, (1, 0.9), status=Status.VERIFIED),
        answer(1, (9, 0.8), status=Status.CONSISTENT),
        answer(2, (1, 0.7), status=Status.CONSISTENT),
        answer(3, (1, 0.6)),
        answer(4, (9, 0.8), status=REJECTED),  # by geometry: retrieval had accepted it
        answer(5, (1, 0.1), status=REJECTED),
    ]
    found = stages(run_of(answers, *[[1]] * 6), threshold=0.5)
    assert list(found) == ['retrieved', 'consistent', 'verified']
    assert (found['retrieved'].accepted, found['retrieved'].right) == (5, 3)
    assert (found['consistent'].accepted, found['consistent'].right) == (3, 2)
    assert (found['verified'].precision, found['verified'].recall) == (1.0, 1 / 6)
    assert found['consistent'].curve.thresholds.tolist() == [0.9, 0.8, 0.7]
    retrieved_only = stages(run_of([answer(0, (1, 0.9))], [1]), threshold=0.5)
    assert list(retrieved_only) == ['retrieved']


def test_a_later_stage_is_ordered_by_its_probability():
    answers = [
        answer(0, (1, 0.5), status=Status.CONSISTENT, probability=0.99),
        answer(1, (9, 0.9), status=Status.CONSISTENT, probability=0.6),
    ]
    curve = stages(run_of(answers, [1], [1]), threshold=0.4)['consistent'].curve
    assert curve.thresholds.tolist() == [0.99, 0.6] and curve.precision.tolist() == [1.0, 0.5]


def test_final_precision_is_of_what_is_published_not_of_retrieval():
    outcomes = run_of(
        [answer(0, (1, 0.9)), answer(1, (9, 0.9), status=REJECTED), answer(2, (9, 0.9))],
        [1], [1], None,
    )  # fmt: skip
    found = numbers(outcomes, threshold=0.5, only_mapped=False)
    assert found['precision_at_threshold'] == 0.5
    assert found['precision'] == 1.0 and found['recall'] == 0.5


def test_coverage_counts_from_the_start_to_the_end_of_the_run():
    bad = {'status': REJECTED}
    answers = [answer(0, (1, 0.1), **bad), answer(1, (1, 0.9)), answer(2, (9, 0.9)), dropped(3)]
    answers += [answer(4, (1, 0.9)), answer(5, (1, 0.1), **bad)]
    outcomes = run_of(answers, *[[1]] * 6)
    positions = np.array([[0, 0, 0], [2, 0, 0], [3, 0, 0], [np.nan] * 3, [9, 0, 0], [10, 0, 0.0]])
    found = coverage(outcomes, positions, has_times=True)
    assert found.share == pytest.approx(2 / 6)  # picture 2 was wrong: no fix
    assert (found.first_fix, found.first_fix_s) == (1, 1.0)
    assert (found.longest_gap, found.longest_gap_s, found.longest_gap_m) == (2, 3.0, 7.0)
    never = coverage(run_of([answer(0), answer(1)], [1], [1]), None, has_times=True)
    assert np.isnan(never.first_fix_s) and never.longest_gap == 2 and never.longest_gap_s == 1.0
    assert np.isnan(coverage(outcomes, None, has_times=False).longest_gap_s)


def test_unjudged_but_accepted_is_a_fix():
    found = coverage(judge([answer(0, (1, 0.9))], None), None, has_times=True)
    assert found.share == 1.0 and found.first_fix_s == 0.0


def test_segments_hold_every_picture_once_in_order():
    for num, count in ((30, 10), (45, 15), (90, 30), (613, 30)):
        parts = segments(num)
        np.testing.assert_array_equal(np.concatenate(parts), np.arange(num))
        assert len(parts) == count
    assert segments(29) == [] and list(resamples(29)) == []
    assert all(len(rows) == 60 for rows in resamples(60))
    assert any((a != b).any() for a, b in zip(resamples(60), resamples(60, seed=1), strict=True))


def test_names_of_numbers_are_those_that_a_run_has():
    found = numbers(random_outcomes(40, seed=1), threshold=0.5, only_mapped=False)
    assert number_names() == list(found)


def test_where_all_resamples_agree_there_is_no_interval():
    outcomes = random_outcomes(100, seed=1)
    object.__setattr__(outcomes, 'rank', np.ones(100, np.int32))
    found = intervals(outcomes, threshold=0.5, only_mapped=False)
    assert np.isnan(found['recall@1']).all() and np.isfinite(found['coverage']).all()


def test_intervals_hold_the_number_and_shrink_with_the_run():
    widths = []
    for num in (120, 1200):
        outcomes = random_outcomes(num, seed=5)
        found = intervals(outcomes, threshold=0.5, only_mapped=False)
        values = numbers(outcomes, threshold=0.5, only_mapped=False)
        assert set(found) == set(INTERVALS_OF)
        for name in ('recall@1', 'average_precision', 'precision', 'recall', 'coverage'):
            low, high = found[name]
            assert low <= values[name] <= high, name
        widths.append(found['recall@1'][1] - found['recall@1'][0])
    assert widths[1] < 0.7 * widths[0]


def test_the_interval_of_recall_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(40):
        rank = np.repeat(np.random.default_rng(1000 + seed).random(30) < 0.7, 10)
        outcomes = random_outcomes(300, seed=seed)
        object.__setattr__(outcomes, 'rank', rank.astype(np.int32))
        low, high = intervals(outcomes, threshold=0.5, only_mapped=False)['recall@1']
        inside += low <= 0.7 <= high
    assert 34 <= inside <= 40  # 95 % of 40 is 38; a bootstrap of 30 segments is a little narrow


def test_undefined_numbers_are_null():
    outcomes = judge([answer(0, status=REJECTED)], None)
    found = finite(numbers(outcomes, threshold=0.5, only_mapped=False))
    assert found['precision'] is None and found['recall@1'] is None
    assert found['coverage'] == 0.0 and found['position_error_m.median'] is None


def test_stamps_need_not_begin_at_zero():
    outcomes = run_of([answer(0), answer(1, (1, 0.9))], [1], [1])
    object.__setattr__(outcomes, 'stamp_ns', outcomes.stamp_ns + 10**18 + 5 * NS)
    assert coverage(outcomes, None, has_times=True).first_fix_s == pytest.approx(1.0, abs=1e-9)
