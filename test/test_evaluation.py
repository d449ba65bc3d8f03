# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from vpr_ros.evaluation.metrics import (
    best_similarities,
    evaluate,
    is_true,
    matched_rows,
    precision_recall,
    recall_at_k,
)
from vpr_ros.evaluation.truth import positives_by_order
from vpr_ros.place_map import Match
from vpr_ros.recognizer import Recognition, Status


def answer(*found):
    """A recognition whose matches are (row, similarity) pairs."""
    matches = tuple(
        Match(row, row, similarity, 0, '', np.zeros(3), np.zeros(4)) for row, similarity in found
    )
    return Recognition(0, 0, 0, Status.CANDIDATE, '', matches, None, None)


def test_positives_by_order():
    positives = positives_by_order(3, 5, 1)
    assert [list(rows) for rows in positives] == [[0, 1], [0, 1, 2], [1, 2, 3]]
    assert list(positives_by_order(8, 5, 1)[7]) == []
    with pytest.raises(ValueError, match='tolerance'):
        positives_by_order(1, 1, -1)


def test_recall_of_a_hand_made_case():
    rows = np.array([[0, 5], [5, 1], [5, 6], [7, 8]])
    positives = [np.array([0]), np.array([1]), np.array([9]), np.array([], int)]
    assert recall_at_k(rows, positives, (1, 2, 10)) == {1: 0.25, 2: 0.5, 10: 0.5}


def test_recall_refuses_nonsense():
    with pytest.raises(ValueError, match='no queries'):
        recall_at_k(np.empty((0, 1)), [])
    with pytest.raises(ValueError, match='at least 1'):
        recall_at_k(np.zeros((1, 1)), [np.array([0])], (0,))
    with pytest.raises(ValueError, match='2 queries were matched, truth is known for 1'):
        is_true(np.zeros((2, 1)), [np.array([0])])


def test_precision_recall_of_a_hand_made_case():
    similarity, true = np.array([0.9, 0.5, 0.8, 0.7]), np.array([True, True, False, True])
    curve = precision_recall(similarity, true, num_with_truth=4)
    np.testing.assert_allclose(curve.thresholds, [0.9, 0.8, 0.7, 0.5])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 3 / 4])
    np.testing.assert_allclose(curve.recall, [1 / 4, 1 / 4, 2 / 4, 3 / 4])
    assert curve.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert curve.recall_at_full_precision == 0.25


def test_equal_scores_are_accepted_together():
    curve = precision_recall(np.array([0.5, 0.5]), np.array([True, False]), num_with_truth=2)
    assert list(curve.precision) == [0.5] and list(curve.recall) == [0.5]
    assert curve.recall_at_full_precision == 0.0


def test_no_queries_make_an_empty_curve():
    curve = precision_recall(np.array([]), np.array([], bool), num_with_truth=0)
    assert len(curve.thresholds) == 0 and curve.average_precision == 0.0


def test_average_precision_agrees_with_counting():
    rng = np.random.default_rng(0)
    similarity, true = rng.choice(np.linspace(0, 1, 20), 200), rng.random(200) < 0.6
    curve = precision_recall(similarity, true, num_with_truth=180)
    expected, before = 0.0, 0.0
    for threshold in sorted(set(similarity), reverse=True):
        accepted = similarity >= threshold
        precision, recall = true[accepted].mean(), true[accepted].sum() / 180
        expected, before = expected + precision * (recall - before), recall
    assert curve.average_precision == pytest.approx(expected, abs=1e-12)


def test_evaluate_scores_answers():
    answers = [answer((0, 0.9), (3, 0.8)), answer((5, 0.85)), answer((2, 0.2)), answer()]
    result = evaluate(answers, positives_by_order(4, 4, 0), threshold=0.5)
    assert result.recall == {1: 0.5, 5: 0.5, 10: 0.5}
    assert result.precision_at_threshold == 0.5 and result.recall_at_threshold == 0.25
    np.testing.assert_array_equal(matched_rows(answers, 2), [[0, 3], [5, -1], [2, -1], [-1, -1]])
    np.testing.assert_array_equal(best_similarities(answers), [0.9, 0.85, 0.2, -1])


def test_nothing_accepted_has_no_precision():
    result = evaluate([answer((0, 0.1))], positives_by_order(1, 1, 0), threshold=0.5)
    assert np.isnan(result.precision_at_threshold) and result.recall_at_threshold == 0
